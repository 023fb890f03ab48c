"""Replays of a block of steps that was timed: what it should have come to, and how surely.

The oracle is the plan that the NumPy backend trains with, in float64: it is many times as fast as
the formulas, to which an audit holds it first. What rounding makes of a whole block is measured:
the same plan in the precision that is judged, with every weight disturbed by a few of its roundings
before each step. So the spread of these replays grows as the net's own chaos does. Where it has
outgrown half of what the last step moved, the block does not decide whether that step was taken.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from ...backends import numpy as plan
from ...backends.contract import DType, Execution, Weights
from ...models import Model
from .formulas import FLOAT64, Batch, State
from .noise import MULTIPLE, UNIT
from .tolerance import Expected

_REPLAYS = 3
_DISTURBED_BY = 4  # roundings of a weight, before each step: as many as one step makes of it


class Course(NamedTuple):
    """A training: the loss of each step, and where it stood behind some of them, by their count."""

    losses: np.ndarray
    states: dict[int, State]


class Replay(NamedTuple):
    """What is expected of a block, and whether it decides that the last step was taken."""

    losses: Expected
    arrays: dict[str, Expected]
    decides: bool


def replay(model: Model, start: State, batches: Sequence[Batch], dtype: DType) -> Replay:
    """Return what a block of steps, from a state, on these batches comes to."""
    steps = len(batches)
    return _expected(_courses(model, start, batches, dtype, {steps - 1, steps}), steps, dtype)


def deciding_steps(model: Model, start: State, batches: Sequence[Batch], dtype: DType) -> int:
    """Return how many steps from the start decide, of those given: halved until they do."""
    halves = [len(batches)]
    while halves[-1] > 3:
        halves.append(halves[-1] // 2)
    marks = {steps - back for steps in halves for back in (0, 1)}
    courses = _courses(model, start, batches, dtype, marks)
    return next((n for n in halves if _expected(courses, n, dtype).decides), halves[-1])


def _courses(
    model: Model, start: State, batches: Sequence[Batch], dtype: DType, marks: Collection[int]
) -> list[Course]:
    """Return the exact course, and behind it those that are disturbed."""
    judged = Execution(device="cpu", dtype=dtype, mode="eager", threads=1)
    return [
        follow(model, start, batches, FLOAT64, marks),
        *(
            follow(model, start, batches, judged, marks, disturbed=number)
            for number in range(_REPLAYS)
        ),
    ]


def follow(
    model: Model,
    start: State,
    batches: Sequence[Batch],
    execution: Execution,
    marks: Collection[int],
    *,
    seed: int = 0,
    disturbed: int | None = None,
) -> Course:
    """Train with the plan; the states behind as many steps as are `marks` are kept.

    `seed` is for the masks that it draws. `disturbed` is the seed of what disturbs the weights
    before each step, if anything does.
    """
    dtype = np.dtype(execution.dtype)
    slots = {**_cast(start.slots, dtype), "step": np.array(start.step)}
    trainer = plan.build(model, _cast(start.weights, dtype), execution, seed=seed, state=slots)
    rng = np.random.default_rng(disturbed)
    losses: list[float] = []
    states = {0: start}
    for x, y, masks in batches:
        if disturbed is not None:
            trainable = trainer.parameters.flat
            unit = _DISTURBED_BY * UNIT[execution.dtype]
            trainable *= (1 + unit * rng.uniform(-1, 1, trainable.shape)).astype(dtype)
        targets = y if y.dtype.kind == "i" else y.astype(dtype)
        losses.append(float(trainer.train([(x.astype(dtype), targets, masks)])[0]))
        if len(losses) in marks:
            states[len(losses)] = State.of(trainer.weights(), trainer.state())
    return Course(np.array(losses), states)


def _expected(courses: Sequence[Course], steps: int, dtype: DType) -> Replay:
    """Return what is expected behind some steps. Once apart, replays stay apart: a loss may be off
    as far as any was before.
    """
    exact, *spread = courses
    unit = UNIT[dtype]
    losses = exact.losses[:steps]
    apart = np.max([np.abs(course.losses[:steps] - losses) for course in spread], axis=0)
    apart = np.maximum.accumulate(np.maximum(apart, unit * np.maximum.accumulate(np.abs(losses))))
    before = exact.states[steps - 1].arrays
    arrays, decides = {}, False
    for name, value in exact.states[steps].arrays.items():
        off = max(_largest(course.states[steps].arrays[name] - value) for course in spread)
        allowed = MULTIPLE * max(off, unit * _largest(value))
        arrays[name] = Expected(value, np.full(value.shape, allowed))
        moved = _largest(value - before[name])
        decides |= name.startswith("weights/") and moved > 2 * allowed
    return Replay(Expected(losses, MULTIPLE * apart), arrays, decides)


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
    execution = Execution(device="cpu", dtype=dtype, mode="eager", threads=1)
    off = max(_largest(ask(execution, seed) - exact) for seed in range(_REPLAYS))
    allowed = MULTIPLE * max(off, UNIT[dtype] * _largest(exact))
    return Expected(exact, np.full(exact.shape, allowed))


def _cast(arrays: Weights, dtype: np.dtype) -> Weights:
    return {name: array.astype(dtype) for name, array in arrays.items()}


def _largest(value: np.ndarray) -> float:
    return float(np.max(np.abs(value), initial=0.0))
