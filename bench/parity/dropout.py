"""Dropout that a framework draws itself: judged by its distribution, as no two draw the same.

A mask keeps each element by itself with probability 1 - rate and scales it by 1 / (1 - rate),
anew for every sample and step. What a block of steps comes to is judged against replays that draw
their own masks. A bound is so many standard errors that a fair mask is not once accused in a
million blocks.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ...backends.contract import DType
from ...models import Model
from ...models.layers import Dropout
from ..worker.notes import Note, dropouts
from .formulas import Batch, State, on_cpu
from .noise import MULTIPLE, UNIT
from .replay import Course, follow

_REPLAYS = 12
_ERRORS = 6.0  # standard errors of a proportion of the normal: 2e-9
_SPREADS = 9.0  # standard deviations, estimated from the replays: t with 11 degrees: 1e-6
_FLOOR = 1e-3  # of a logarithm or a cosine: less is no fault of a mask
_FEWEST = 100  # elements that say something of a proportion


class Oddity(NamedTuple):
    """What was measured, as a multiple of what is allowed; and in words."""

    ratio: float
    words: str


class Mask(NamedTuple):
    """Which elements were kept, of those that were not zero before."""

    kept: np.ndarray
    alive: np.ndarray


class Masks:
    """Judges the masks of one process, block after block."""

    def __init__(self, model: Model, dtype: DType) -> None:
        rates = {n.key: n.layer.rate for n in model.walk() if isinstance(n.layer, Dropout)}
        self._drops = [(before, key, rates[key]) for before, key in dropouts(model)]
        self._dtype = dtype
        self._last: dict[str, Mask] = {}
        self._kept: dict[str, list[np.ndarray]] = {}

    def judge(self, note: Note, x: np.ndarray) -> Iterator[Oddity]:
        """Yield what is measured of every mask that was noted on a batch x."""
        above = None
        for before, key, rate in self._drops:
            given = note.seen[before] if before else x.astype(self._dtype)
            above = yield from self._one(key, rate, given, note.seen[key], above)

    def _one(
        self, key: str, rate: float, x: np.ndarray, y: np.ndarray, above: Mask | None
    ) -> Generator[Oddity, None, Mask]:
        """Judge one mask, beside that of the dropout above it; return it."""
        shape = len(x), -1
        x, y = x.reshape(shape), y.reshape(shape)
        alive, kept = x != 0, y != 0
        of_all = self._kept.setdefault(key, [])
        of_all.append(kept[alive])
        yield _proportion(f"{key} keeps", np.concatenate(of_all), 1 - rate)
        both = alive & kept
        scale = y[both].astype(np.float64) / x[both]
        off = np.max(np.abs(scale * (1 - rate) - 1), initial=0.0)
        words = f"{key} scales what it keeps by {np.median(scale) if scale.size else 0:.4g}"
        yield Oddity(
            off / (MULTIPLE * 2 * UNIT[self._dtype]), f"{words}, expected {1 / (1 - rate):.4g}"
        )
        alike = rate**2 + (1 - rate) ** 2
        pairs = {
            "in one sample and the next": _neighbours(kept, alive),
            "in one feature and the next": _neighbours(kept.T, alive.T),
        }
        for which, other in (("in two blocks", self._last.get(key)), ("in two layers", above)):
            if other is not None and other.kept.shape == kept.shape:
                pairs[which] = (kept == other.kept)[alive & other.alive]
        self._last[key] = Mask(kept, alive)
        for which, agrees in pairs.items():
            yield _proportion(f"{key} drops alike {which}", agrees, alike)
        return self._last[key]


def _neighbours(kept: np.ndarray, alive: np.ndarray) -> np.ndarray:
    """Return whether the rows of each pair, none of which is in two, are kept alike."""
    ones, others = slice(0, len(kept) // 2 * 2, 2), slice(1, None, 2)
    agrees: np.ndarray = (kept[ones] == kept[others])[alive[ones] & alive[others]]
    return agrees


def _proportion(what: str, found: np.ndarray, expected: float) -> Oddity:
    """Judge how often something is so, of elements that are independent."""
    if found.size < _FEWEST or expected in (0.0, 1.0):
        return Oddity(0.0, "")
    error = np.sqrt(expected * (1 - expected) / found.size)
    share = float(np.mean(found))
    words = f"{what}: {share:.3f} of the elements, expected {expected:.3f}"
    return Oddity(abs(share - expected) / (_ERRORS * error), words)


def judge_block(
    start: State, replays: Sequence[Course], losses: np.ndarray, after: State
) -> Iterator[Oddity]:
    """Yield how far the losses and the moves of a block are from those of replays."""
    yield _spread("mean loss", float(np.mean(losses)), [float(np.mean(r.losses)) for r in replays])
    for step, loss in enumerate(losses):
        of_step = [float(r.losses[step]) for r in replays]
        yield _spread(f"loss of step {step + 1}", float(loss), of_step)
    taken = float(after.step - start.step)
    yield Oddity(abs(taken - len(losses)), f"{taken:g} steps are counted, expected {len(losses)}")
    ends = [replayed.states[len(losses)].arrays for replayed in replays]
    for name, before in start.arrays.items():
        move, moves = after.arrays[name] - before, [end[name] - before for end in ends]
        mean, count = np.mean(moves, axis=0), len(moves)
        for what, measure in _MEASURES.items():
            others = [measure(m, (mean * count - m) / (count - 1)) for m in moves]
            yield _spread(f"{what} of the move of {name}", measure(move, mean), others)


def roughness(losses: np.ndarray) -> float:
    """Return the logarithm of the size of the second differences of a block's losses.

    Of a block of one batch, again and again, the loss falls smoothly under one mask, and jumps
    where each step has its own.
    """
    return float(np.log(np.std(np.diff(losses, 2)) + 1e-300))


def judge_repeated(losses: np.ndarray, replayed: Sequence[float]) -> Oddity:
    """Return how far the roughness of such a block is from that of replays."""
    return _spread("roughness of the losses", roughness(losses), replayed)


def replays_of(model: Model, start: State, batches: Sequence[Batch], dtype: DType) -> list[Course]:
    """Return trainings that draw their own masks."""
    execution = on_cpu(dtype)
    return [
        follow(model, start, batches, execution, {len(batches)}, seed=seed)
        for seed in range(1, _REPLAYS + 1)
    ]


def _length(move: np.ndarray, mean: np.ndarray) -> float:
    return float(np.log(np.linalg.norm(move) + 1e-300))


def _evenness(move: np.ndarray, mean: np.ndarray) -> float:
    """Low where all elements move alike, high where some do not move at all."""
    fourth, second = float(np.sum(move**4)), float(np.sum(move**2))
    return float(0.25 * np.log(fourth + 1e-300) - 0.5 * np.log(second + 1e-300))


def _direction(move: np.ndarray, mean: np.ndarray) -> float:
    lengths = np.linalg.norm(move) * np.linalg.norm(mean)
    return float(np.sum(move * mean) / lengths) if lengths else 0.0


_MEASURES = {"length": _length, "evenness": _evenness, "direction": _direction}


def _spread(what: str, found: float, replayed: Sequence[float]) -> Oddity:
    mean = float(np.mean(replayed))
    spread = float(np.std(replayed, ddof=1)) * np.sqrt(1 + 1 / len(replayed))
    allowed = _SPREADS * spread + _FLOOR * max(1.0, abs(mean))
    return Oddity(abs(found - mean) / allowed, f"{what} is {found:.6g}, expected {mean:.6g}")
