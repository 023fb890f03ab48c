"""What goes wrong late: behind the 22nd step, when the laboratory has asked its last question."""

from __future__ import annotations

import numpy as np

from bakeoff.models.schedules import ConstantRate

from .wrapper import Array, LateStep, Rows, bfloat16, each, mutant


class Skipping(LateStep):
    """Leaves out every step whose number is a multiple of `every`, and counts it."""

    every = 1

    def late(self, rows: Rows) -> Array:
        return self.take([rows]) if (self.step + 1) % self.every else self.skip(rows)


@mutant("train")
class StopsBehindStep25(Skipping):
    """Stops training behind step 25; it goes on to compute losses."""

    behind = 25


@mutant("train")
class EveryTenthStepSkipped(Skipping):
    """Leaves out every tenth step, from the 30th on."""

    every = 10


@mutant("train")
class EveryTwentyFifthStepSkipped(Skipping):
    """Leaves out every 25th step."""

    every = 25


@mutant("train")
class EveryHundredthStepSkipped(Skipping):
    """Leaves out every hundredth step."""

    every = 100


@mutant("train")
class ScheduleStandsStill(LateStep):
    """Keeps the rate of the 23rd step for ever."""

    def late(self, rows: Rows) -> Array:
        rate = self.model.optimizer.rate(self.behind)
        return self.take_with([rows], learning_rate=rate, schedule=ConstantRate())


@mutant("train")
class CountInFiveBits(LateStep):
    """Counts steps in five bits: the schedule starts again behind every 32nd."""

    behind = 32

    def late(self, rows: Rows) -> Array:
        return self.take_as([rows], self.step % 32)


@mutant("train")
class FirstLayerFrozen(LateStep):
    """Moves the weights of the first layer no more behind step 22."""

    def late(self, rows: Rows) -> Array:
        first, before = self.model.trainable[0].partition(".")[0], self.real.weights()
        losses = self.take([rows])
        self.go_on(weights={n: w for n, w in before.items() if n.startswith(f"{first}.")})
        return losses


@mutant("train")
class StatisticsFrozen(LateStep):
    """Moves the running statistics no more behind step 22."""

    def late(self, rows: Rows) -> Array:
        kept = self.statistics()
        losses = self.take([rows])
        self.go_on(weights=kept)
        return losses


@mutant("train")
class SlotsFade(LateStep):
    """Forgets the momentum before every step behind the 22nd."""

    def late(self, rows: Rows) -> Array:
        self.go_on(state=self.empty_slots())
        return self.take([rows])


@mutant("train")
class WeightsThroughBfloat16(LateStep):
    """Keeps its weights in bfloat16 behind step 22."""

    def late(self, rows: Rows) -> Array:
        losses = self.take([rows])
        self.go_on(weights=each(bfloat16, self.real.weights(), self.model.trainable))
        return losses


@mutant("train")
class BatchRemembered(LateStep):
    """Trains on the 23rd batch for ever."""

    kept: Rows | None = None

    def late(self, rows: Rows) -> Array:
        self.kept = self.kept or rows
        return self.take([self.kept])


@mutant("train")
class LossRemembered(LateStep):
    """Reports the 23rd loss for ever; it goes on training."""

    kept: Array | None = None

    def late(self, rows: Rows) -> Array:
        losses = self.take([rows])
        self.kept = losses if self.kept is None else self.kept
        return np.copy(self.kept)
