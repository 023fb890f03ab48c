"""What is wrong with a training that goes on: the laboratory gives no state to start from.

Those that keep a slot are wrong for optimizers that have one.
"""

from __future__ import annotations

import numpy as np

from bakeoff.backends.contract import Weights
from bakeoff.models.init import initial_weights

from .wrapper import Array, Rows, Wrapper, each, float16, mutant


class Restored(Wrapper):
    """Goes on from other weights, or another state, than it is given."""

    def other_weights(self, weights: Weights) -> Weights:
        """Return the weights that differ."""
        return {}

    def other_state(self, state: Weights) -> Weights:
        """Return the slots that differ, and the count if it does."""
        return {}

    def restored(self, weights: Weights, state: Weights) -> tuple[Weights, Weights]:
        return weights | self.other_weights(weights), state | self.other_state(state)

    def initial(self) -> Weights:
        return initial_weights(self.model, 0, self.execution.dtype)


def _slots(state: Weights) -> list[str]:
    return [name for name in state if name != "step"]


@mutant("resume")
class SlotsLost(Restored):
    """Goes on with slots of zero."""

    def other_state(self, state: Weights) -> Weights:
        return each(np.zeros_like, state, _slots(state))


@mutant("resume")
class SlotsOfOneWeightLost(Restored):
    """Goes on with slots of zero for the first weight."""

    def other_state(self, state: Weights) -> Weights:
        first = self.model.trainable[0]
        its_own = [f"{first}.{slot}" for slot in self.model.optimizer.slots()]
        return each(np.zeros_like, state, its_own)


@mutant("resume")
class SlotsLostInSecret(Wrapper):
    """Shows the slots that it was given, and has none when it takes its first step."""

    secret = True

    def block(self, block: list[Rows]) -> Array:
        if self.given and self.secret:
            self.go_on(state=self.empty_slots())
        self.secret = False
        return super().block(block)


@mutant("resume")
class SlotsSavedInFloat16(Restored):
    """Goes on with slots that went through float16."""

    def other_state(self, state: Weights) -> Weights:
        return each(float16, state, _slots(state))


@mutant("resume")
class WeightsSavedInFloat16(Restored):
    """Goes on with weights that went through float16."""

    def other_weights(self, weights: Weights) -> Weights:
        return each(float16, weights, self.model.trainable)


@mutant("resume")
class LastWeightAfresh(Restored):
    """Goes on with the last weight as it was drawn."""

    def other_weights(self, weights: Weights) -> Weights:
        last = self.model.trainable[-1]
        return {last: self.initial()[last]}


@mutant("resume")
class StatisticsAfresh(Restored):
    """Goes on with running statistics as if none had been taken."""

    def other_weights(self, weights: Weights) -> Weights:
        names = weights.keys() - set(self.model.trainable)
        return {name: w for name, w in self.initial().items() if name in names}


@mutant("resume")
class CountLost(Restored):
    """Counts steps from 0 again, and so its schedule."""

    def other_state(self, state: Weights) -> Weights:
        return {"step": np.zeros_like(state["step"])}


@mutant("resume")
class CountOneAhead(Restored):
    """Goes on from one step more than were taken."""

    def other_state(self, state: Weights) -> Weights:
        return {"step": state["step"] + 1}


@mutant("resume")
class ScheduleStartsAgain(Wrapper):
    """Shows the right count, and takes its steps as if they were the first."""

    def block(self, block: list[Rows]) -> Array:
        return self.take_as(block, self.step - self.given) if self.given else self.take(block)
