"""What every mutant is: the NumPy backend behind a trainer, whose hooks are where a fault goes.

It reaches the real trainer through the contract alone. What the contract has no handle for (the
rate, a slot, a count, a gradient) is changed by building another one, of another model or from
another state, that goes on where the last one was.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
from msgspec import structs

from bakeoff.backends import numpy as real
from bakeoff.backends import reference
from bakeoff.backends.contract import Execution, Masks, Trainer, Weights
from bakeoff.models import Model

Array = np.ndarray
Phase = Literal["train", "fed", "infer", "resume", "dropout"]


class Mutant(NamedTuple):
    """A fault: its name, the phase that shows it, what is wrong in words, and its trainer."""

    name: str
    phase: Phase
    words: str
    wrap: type[Wrapper]


MUTANTS: dict[str, Mutant] = {}
CONTROLS: dict[str, Mutant] = {}  # wrapped likewise, and right: no audit may find fault with them


def mutant(phase: Phase, among: dict[str, Mutant] = MUTANTS) -> Callable[[Any], Any]:
    """Enter a trainer as a mutant: its name is that of the class, its words are its docstring."""

    def enter(wrap: type[Wrapper]) -> type[Wrapper]:
        name = re.sub(r"(?<!^)(?=[A-Z])", "_", wrap.__name__).lower()
        assert name not in MUTANTS | CONTROLS
        among[name] = Mutant(name, phase, str(wrap.__doc__), wrap)
        return wrap

    return enter


@dataclass(frozen=True)
class Rows:
    """A batch as it was given to `stage`."""

    x: Array
    y: Array
    masks: Masks | None

    def __len__(self) -> int:
        return len(self.x)

    def pick(self, rows: Sequence[int] | slice) -> Rows:
        """Return the batch of these rows of this one."""
        masks = self.masks and {key: mask[rows] for key, mask in self.masks.items()}
        return Rows(self.x[rows], self.y[rows], masks)

    def with_x(self, x: Array) -> Rows:
        return replace(self, x=x)

    def with_y(self, y: Array) -> Rows:
        return replace(self, y=y)

    def and_then(self, other: Rows) -> Rows:
        """Return one batch of the rows of both."""
        masks = None
        if self.masks is not None and other.masks is not None:
            masks = {k: np.concatenate([m, other.masks[k]]) for k, m in self.masks.items()}
        return Rows(np.concatenate([self.x, other.x]), np.concatenate([self.y, other.y]), masks)


class Wrapper:
    """See `contract.Trainer`. A mutant overrides a hook: `restored`, `batch`, `held`, `native`,
    `block`, or a method of the contract.
    """

    def __init__(
        self,
        model: Model,
        weights: Weights,
        execution: Execution,
        *,
        seed: int,
        state: Weights | None,
    ) -> None:
        self.model, self.execution, self.seed = model, execution, seed
        self.given = 0 if state is None else int(state["step"])
        if state is not None:
            weights, state = self.restored(weights, state)
        self.real = real.build(model, weights, execution, seed=seed, state=state)
        self.step = int(self.real.state()["step"])  # how many were taken

    def restored(self, weights: Weights, state: Weights) -> tuple[Weights, Weights]:
        """Return what a training goes on from."""
        return weights, state

    def batch(self, rows: Rows) -> Rows:
        """Return what is staged for a batch."""
        return rows

    def held(self, x: Array, y: Array, order: Array) -> list[Rows]:
        """Return the batches of a call, of a split that is held."""
        return [Rows(x[rows], y[rows], None) for rows in order]

    def native(self, rows: Rows) -> Any:
        """Return a batch as the real trainer has it."""
        return self.real.stage(rows.x, rows.y, rows.masks)

    def block(self, block: list[Rows]) -> Array:
        """Take the steps of one call of `train`; return their losses."""
        return self.take(block)

    def stage(self, x: Array, y: Array, masks: Masks | None) -> Rows:
        return self.batch(Rows(x, y, masks))

    def hold(self, x: Array, y: Array) -> Callable[[Array], Iterable[Rows]]:
        return lambda order: [self.batch(rows) for rows in self.held(x, y, order)]

    def train(self, batches: Iterable[Rows]) -> Array:
        return self.block(list(batches))

    def gradients(self, batch: Rows) -> tuple[float, Weights]:
        return self.real.gradients(self.native(batch))

    def activations(self, batch: Rows) -> dict[str, Array]:
        return self.real.activations(self.native(batch))

    def predict(self, x: Array) -> Array:
        return self.real.predict(x)

    def weights(self) -> Weights:
        return self.real.weights()

    def state(self) -> Weights:
        return self.real.state()

    def take(self, block: Sequence[Rows]) -> Array:
        """Take a step for each batch, as they should be."""
        self.step += len(block)
        return self.real.train([self.native(rows) for rows in block])

    def fresh(
        self,
        model: Model | None = None,
        weights: Weights | None = None,
        state: Weights | None = None,
    ) -> Trainer:
        """Return another trainer that is where this one is, save for what is given."""
        weights = self.real.weights() | (weights or {})
        state = self.real.state() | (state or {})
        return real.build(model or self.model, weights, self.execution, seed=self.seed, state=state)

    def go_on(self, **changes: Any) -> None:
        """Go on as another trainer: see `fresh`."""
        self.real = self.fresh(**changes)

    def take_with(self, block: Sequence[Rows], **changes: Any) -> Array:
        """Take steps with an optimizer that is changed so."""
        optimizer = structs.replace(self.model.optimizer, **changes)
        self.go_on(model=structs.replace(self.model, optimizer=optimizer))
        losses = self.take(block)
        self.go_on()
        return losses

    def take_as(self, block: Sequence[Rows], step: int) -> Array:
        """Take steps as if so many had been taken before; they are counted right."""
        self.go_on(state={"step": np.array(step)})
        losses = self.take(block)
        self.go_on(state={"step": np.array(self.step)})
        return losses

    def take_along(self, rows: Rows, gradients: Weights) -> Array:
        """Take a step along these gradients."""
        weights, slots, step = self.real.weights(), self.real.state(), self.step
        losses = self.take([rows])
        reference.take_step(self.model.optimizer, weights, gradients, slots, step)
        slots["step"] = np.array(self.step)
        self.go_on(weights=weights | self.statistics(), state=slots)
        return losses

    def skip(self, rows: Rows) -> Array:
        """Count a step that is not taken; return its loss."""
        losses = self.losses([rows])
        self.step += 1
        self.go_on(state={"step": np.array(self.step)})
        return losses

    def losses(self, block: Sequence[Rows]) -> Array:
        """Return the mean loss of each batch; take no step."""
        means = [self.real.gradients(self.native(rows))[0] for rows in block]
        return np.array(means, self.execution.dtype)

    def statistics(self) -> Weights:
        """Return the running statistics."""
        weights = self.real.weights()
        return {name: w for name, w in weights.items() if name not in self.model.trainable}

    def empty_slots(self) -> Weights:
        """Return the optimizer's slots as they were before the first step."""
        slots = self.real.state()
        return {name: np.zeros_like(slot) for name, slot in slots.items() if name != "step"}


class LargeBatch(Wrapper):
    """Takes another kind of step on a batch of more than `over` samples."""

    over = 8

    def large(self, rows: Rows) -> Array:
        raise NotImplementedError

    def block(self, block: list[Rows]) -> Array:
        return one_by_one(
            self.large(rows) if len(rows) > self.over else self.take([rows]) for rows in block
        )


class LongBlock(Wrapper):
    """Takes other steps where one call asks for more than two."""

    def long(self, block: list[Rows]) -> Array:
        raise NotImplementedError

    def block(self, block: list[Rows]) -> Array:
        return self.long(block) if len(block) > 2 else self.take(block)


class LateStep(Wrapper):
    """Takes another kind of step when so many were taken."""

    behind = 22

    def late(self, rows: Rows) -> Array:
        raise NotImplementedError

    def block(self, block: list[Rows]) -> Array:
        return one_by_one(
            self.late(rows) if self.step >= self.behind else self.take([rows]) for rows in block
        )


def one_by_one(losses: Iterable[Array]) -> Array:
    """Return as one the losses of steps that are taken one by one."""
    return np.concatenate(list(losses))


def float16(array: Array) -> Array:
    """Round to half precision."""
    return array.astype(np.float16).astype(array.dtype)


def bfloat16(array: Array) -> Array:
    """Round to the upper half of a float32, to even."""
    bits = array.astype(np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000
    return rounded.view(np.float32).astype(array.dtype)


def each(function: Callable[[Array], Array], weights: Weights, names: Iterable[str]) -> Weights:
    """Return these weights, each through a function."""
    return {name: function(weights[name]) for name in names}
