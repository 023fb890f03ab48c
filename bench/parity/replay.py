"""Replays of a block of steps that was timed: what it should have come to, and how surely.

The oracle is the plan that the NumPy backend trains with, in float64: it is many times as fast as
the formulas, to which an audit holds it first. What rounding makes of a whole block is measured:
the same plan in the precision that is judged, with every weight disturbed by a few of its roundings
before each step, and every gradient by the noise of its sums, which others take in other orders
(`noise`). So the spread of these replays grows as the net's own chaos does. Where it has
outgrown half of what the last step moved, the block does not decide whether that step was taken.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np

from ...backends import numpy as plan
from ...backends.contract import DType, Execution, Weights
from ...models import Model
from ...models.init import dropout_masks
from .formulas import FLOAT64, Batch, Formulas, State, largest, on_cpu
from .ladder import compare
from .noise import MULTIPLE, UNIT, Meter
from .rounding import Roundings
from .tolerance import Expected, Oracle

_FLOPS = 5e8  # what the formulas may spend on one step
_REPLAYS, _CAREFUL_REPLAYS = 3, 12
_DISTURBED_BY = 4  # roundings of a weight, before each step: as many as one step makes of it
_KICKED_BY = 16  # of them, to meet the kinks


Relative = Mapping[str, float]  # noise, in roundings of a tensor's largest element


class Course(NamedTuple):
    """A training: the loss of each step, and where it stood behind some of them, by their count."""

    losses: np.ndarray
    states: dict[int, State]


class Replay(NamedTuple):
    """What is expected of a block, and whether it decides that the last step was taken."""

    losses: Expected
    arrays: dict[str, Expected]
    decides: bool


class Replays:
    """All replays of one block of steps, on these batches, from a state; made when asked for."""

    def __init__(
        self, model: Model, start: State, batches: Sequence[Batch], dtype: DType, noise: Relative
    ) -> None:
        self._model, self._start, self._batches, self._dtype = model, start, batches, dtype
        self._noise = noise
        self._marks = {len(batches) - back for back in (0, 1)}

    def expected(self, *, careful: bool = False) -> Replay:
        """Return what the block comes to; `careful` looks for the kinks that rounding may cross.

        A ReLU that flips in one sample is a rare event, and moves a weight far: weights disturbed
        by more meet all that lie near, each in every second replay or so.
        """
        return self._after(len(self._batches), careful=careful)

    def deciding_steps(self) -> int:
        """Return how many steps from the start decide, halved from all until they do."""
        halves = [len(self._batches)]
        while halves[-1] > 3:
            halves.append(halves[-1] // 2)
        self._marks = {steps - back for steps in halves for back in (0, 1)}
        return next((n for n in halves if self._after(n, careful=False).decides), halves[-1])

    def _after(self, steps: int, *, careful: bool) -> Replay:
        """Once apart, replays stay apart: a loss may be off as far as any was before."""
        unit, exact = UNIT[self._dtype], self._exact
        losses = exact.losses[:steps]
        spreads = [(MULTIPLE, self._disturbed), *([(2, self._kicked)] if careful else [])]
        loss_unit = unit * max(1.0, self._noise["loss"])
        off = MULTIPLE * loss_unit * np.maximum.accumulate(np.abs(losses))
        for times, courses in spreads:
            apart = np.max([np.abs(course.losses[:steps] - losses) for course in courses], axis=0)
            off = np.maximum(off, times * np.maximum.accumulate(apart))
        before = exact.states[steps - 1].arrays
        arrays, decides = {}, False
        for name, value in exact.states[steps].arrays.items():
            moving = self._noise.get(name.replace("weights/", "statistics/"), 1.0)
            allowed = MULTIPLE * unit * moving * largest(value)
            for times, courses in spreads:
                apart = max(largest(c.states[steps].arrays[name] - value) for c in courses)
                allowed = max(allowed, times * apart)
            arrays[name] = Expected(value, np.full(value.shape, allowed))
            moved = largest(value - before[name])
            decides |= name.startswith("weights/") and moved > 2 * allowed
        return Replay(Expected(losses, off), arrays, decides)

    @cached_property
    def _exact(self) -> Course:
        return follow(self._model, self._start, self._batches, FLOAT64, self._marks)

    @cached_property
    def _disturbed(self) -> list[Course]:
        return self._courses(_REPLAYS, _DISTURBED_BY)

    @cached_property
    def _kicked(self) -> list[Course]:
        return self._courses(_CAREFUL_REPLAYS, _KICKED_BY)

    def _courses(self, count: int, roundings: int) -> list[Course]:
        execution = on_cpu(self._dtype)
        return [
            follow(
                self._model, self._start, self._batches, execution, self._marks,
                seed=seed, roundings=roundings, noise=self._noise,
            )
            for seed in range(count)
        ]  # fmt: skip


def follow(
    model: Model,
    start: State,
    batches: Sequence[Batch],
    execution: Execution,
    marks: Collection[int],
    *,
    seed: int = 0,
    roundings: int = 0,
    noise: Relative | None = None,
) -> Course:
    """Train with the plan; the states behind as many steps as are `marks` are kept.

    `seed` is for the masks that it draws, and for what disturbs every weight before each step, by
    as many of its roundings at most, and every gradient, by its `noise` and as many times more as
    these are more than the usual.
    """
    dtype = np.dtype(execution.dtype)
    slots = {**_cast(start.slots, dtype), "step": np.array(start.step)}
    trainer = plan.build(model, _cast(start.weights, dtype), execution, seed=seed, state=slots)
    rng = np.random.default_rng(seed)
    unit = roundings * UNIT[execution.dtype]
    losses: list[float] = []
    states = {0: start}
    for x, y, masks in batches:
        if roundings:
            trainable = trainer.parameters.flat
            trainable *= (1 + unit * rng.uniform(-1, 1, trainable.shape)).astype(dtype)
        targets = y if y.dtype.kind == "i" else y.astype(dtype)
        losses.append(float(trainer.derive((x.astype(dtype), targets, masks))))
        if noise:
            size = roundings / _DISTURBED_BY * UNIT[execution.dtype]
            for name, gradient in trainer.parameters.gradients.items():
                scale = size * noise[f"gradients/{name}"] * largest(gradient)
                gradient += (scale * rng.uniform(-1, 1, gradient.shape)).astype(dtype)
        trainer.update()
        if len(losses) in marks:
            states[len(losses)] = State.of(trainer.weights(), trainer.state())
    return Course(np.array(losses), states)


def predictions(model: Model, weights: Weights, x: np.ndarray, dtype: DType) -> Expected:
    """Return the logits of some rows in evaluation mode, by the plan, likewise."""

    def ask(execution: Execution, seed: int | None = None) -> np.ndarray:
        rng = np.random.default_rng(seed)
        unit = 0.0 if seed is None else _DISTURBED_BY * UNIT[execution.dtype]
        drawn = {
            name: (w * (1 + unit * rng.uniform(-1, 1, w.shape))).astype(execution.dtype)
            for name, w in weights.items()
        }
        trainer = plan.build(model, drawn, execution, seed=0, state=None)
        return np.asarray(trainer.predict(x.astype(execution.dtype)), np.float64)

    exact = ask(FLOAT64)
    execution = on_cpu(dtype)
    off = max(largest(ask(execution, seed) - exact) for seed in range(_REPLAYS))
    allowed = MULTIPLE * max(off, UNIT[dtype] * largest(exact))
    return Expected(exact, np.full(exact.shape, allowed))


def proved(model: Model, state: State, batch: Batch) -> Relative:
    """Hold the plan to the formulas, in float64, on one step; return the noise of that step.

    A costly net is held on fewer samples; its sums over the batch are as much longer.
    """
    x, y, _ = batch
    rows = max(2, min(len(x), int(_FLOPS / (model.cost.training_flops or 1))))
    longer = len(x) / rows
    x, y = x[:rows].astype(np.float64), y[:rows]
    masks = dropout_masks(model, rows, seed=0, step=0)
    part = x, y if y.dtype.kind == "i" else y.astype(np.float64), masks
    noises = Meter(model, "float64", careful=False).training(state, [part])
    expected = Oracle(model, "float64").after(state, [part], noises)
    planned = follow(model, state, [part], FLOAT64, {1})
    actual = {**planned.states[1].arrays, "losses": planned.losses}
    actual["state/step"] = np.array(planned.states[1].step)
    for check in compare("trajectory", 1, actual, expected, "float64"):
        if not check.passes:
            raise RuntimeError(f"the plan does not follow the formulas: {check}")
    formulas, unit = Formulas(model), UNIT["float64"]
    derived = formulas.derivatives(state, part)
    found = {
        name: longer * noise.rounding / (unit * (largest(derived[name]) or 1.0))
        for name, noise in noises[0].items()
    }
    # A small loss is what is left of logarithms near 1; what they are off by alike stays in a mean.
    for seed in range(_REPLAYS):
        off = formulas.disturbed_derivatives(state, part, Roundings(unit, seed, common=True))
        apart = abs(float(off["loss"] - derived["loss"]))
        found["loss"] = max(found["loss"], apart / (unit * (largest(derived["loss"]) or 1.0)))
    return found


def _cast(arrays: Weights, dtype: np.dtype) -> Weights:
    return {name: array.astype(dtype) for name, array in arrays.items()}
