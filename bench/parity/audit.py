"""Audits: did the very processes that were timed compute what the oracle does?

A certificate is earned in a laboratory: a few samples, step by step. An audit looks at blocks of
steps that were timed, with their batch size, their length and their feeding: a worker noted where
it stood before and behind (`worker.notes`), and the oracle replays what lies between (`replay`).
Predictions are recomputed from the weights that the worker left, on rows that are drawn afterwards.
MLPerf's compliance tests (TEST01, results sampled in performance mode; TEST04, caching found out)
are the model; they look at outputs alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
from msgspec import structs

from ...backends.contract import Deviation, DType, Weights
from ...models import Model
from ..results.summary import Audits
from ..worker.evidence import Evidence, under
from ..worker.notes import Note, dropouts
from . import dropout
from .formulas import Batch, State
from .ladder import BEYOND, Check, compare
from .noise import MULTIPLE, UNIT
from .replay import Course, Replays, predictions, proved
from .tolerance import Expected, Oracle

_ROWS = 64  # of predictions

T = TypeVar("T")


class Timed(NamedTuple):
    """A block of steps that was timed, between its notes; `place` is what it is called."""

    place: str
    note: Note
    batches: list[Batch]
    losses: np.ndarray
    is_first: bool = False  # it starts from what every backend was given


class Auditor:
    """Judges what processes noted on one model, in one precision."""

    def __init__(self, model: Model, dtype: DType) -> None:
        self._model, self._dtype = model, dtype
        self._has_dropout = bool(dropouts(model))
        self._rough: list[float] | None = None
        self._first: tuple[Evidence, Any] | None = None  # every backend has the same

    def process(
        self,
        blocks: Iterable[Timed],
        deviations: Sequence[Deviation] = (),
        found: Audits | None = None,
    ) -> Audits:
        """Judge the blocks of one process, and add it to what was found of others."""
        found = found or Audits()
        masks = dropout.Masks(self._model, self._dtype)
        for block in blocks:
            start = _state(block.note.before)
            found = structs.replace(
                found, blocks=found.blocks + 1, steps=found.steps + len(block.batches)
            )
            if self._has_dropout:
                replays = self._once(block, self._drawing, start)
                oddities = [
                    *masks.judge(block.note, block.batches[0][0]),
                    *dropout.judge_block(start, replays, block.losses, _state(block.note.after)),
                ]
                found = _with_oddities(found, block.place, oddities)
            else:
                found = self._replayed(found, start, block, deviations)
        return found

    def repeated(self, found: Audits, noted: Evidence, batch: Batch, losses: np.ndarray) -> Audits:
        """Judge a block of the same batch, from where it was noted to stand: whether each step
        draws its own masks.
        """
        if self._rough is None:  # alike for all backends, wherever their masks took them
            block = [batch] * len(losses)
            replays = dropout.replays_of(self._model, _state(noted), block, self._dtype)
            self._rough = [dropout.roughness(replay.losses) for replay in replays]
        oddity = dropout.judge_repeated(losses, self._rough)
        return _with_oddities(found, "one batch, again and again", [oddity])

    def start(self, found: Audits, note: Note, weights: Weights, state: Weights | None) -> Audits:
        """Judge whether a training began where it was told to: its weights exactly."""
        given = State.of(weights, state) if state else State.start(self._model, weights)
        unit = MULTIPLE * UNIT[self._dtype]
        expected = {f"weights/{name}": _exactly(w) for name, w in given.weights.items()}
        expected |= {f"state/{n}": Expected(s, unit * np.abs(s)) for n, s in given.slots.items()}
        expected["state/step"] = _exactly(np.array(given.step))
        return self.compared(found, "the start", note.before, expected)

    def predictions(
        self,
        found: Audits,
        place: str,
        weights: Weights,
        x: np.ndarray,
        logits: np.ndarray,
        batch: int,
    ) -> Audits:
        """Judge the logits of x, in evaluation mode, as they were asked for: `batch` at a time.

        Of so many, rows that are drawn now, and the first and the last of every call.
        """
        if len(logits) != len(x):
            problem = f"audit of {place}: {len(logits)} rows of logits, expected {len(x)}"
            return structs.replace(found, worst=BEYOND, failure=found.failure or problem)
        drawn = np.random.default_rng().permutation(len(x))[:_ROWS]
        first = np.arange(0, len(x), batch)
        last = np.minimum(first + batch, len(x)) - 1
        rows = np.unique(np.concatenate([drawn, first, last]))
        expected = {"logits": predictions(self._model, weights, np.asarray(x[rows]), self._dtype)}
        return self.compared(found, place, {"logits": logits[rows]}, expected)

    def compared(
        self, found: Audits, place: str, actual: Evidence, expected: dict[str, Expected]
    ) -> Audits:
        """Return what was found, and what a comparison adds to it."""
        checks = list(compare("trajectory", 0, actual, expected, self._dtype))
        failed = next((check for check in checks if not check.passes), None)
        return structs.replace(
            found,
            worst=max(found.worst, *(BEYOND if c.problem else c.ratio for c in checks)),
            failure=found.failure or (_in_words(place, failed) if failed else ""),
        )

    def _replayed(
        self, found: Audits, start: State, block: Timed, deviations: Sequence[Deviation]
    ) -> Audits:
        """Judge a block by its replays, and if that fails by those that look for kinks."""
        oracle = Oracle(self._model, self._dtype, deviations=deviations)
        replays = self._once(block, self._exact, start)
        actual = {"losses": block.losses.astype(self._dtype), **block.note.after}
        for careful in (False, True):
            expected = replays.expected(careful=careful)
            allowed = oracle.with_deviations(start, expected.arrays)
            allowed["losses"] = expected.losses
            allowed["state/step"] = _exactly(np.array(start.step + len(block.batches)))
            judged = self.compared(found, block.place, actual, allowed)
            if judged.failure == found.failure:
                break
        return structs.replace(judged, undecided=judged.undecided + (not expected.decides))

    def _once(self, block: Timed, make: Callable[[Timed, State], T], start: State) -> T:
        """Return what replays a block; the first one's is made once, as every backend has it."""
        if not block.is_first:
            return make(block, start)
        if self._first is None or not _equal(self._first[0], block.note.before):
            self._first = block.note.before, make(block, start)
        return self._first[1]  # type: ignore[no-any-return]

    def _exact(self, block: Timed, start: State) -> Replays:
        noise = proved(self._model, start, block.batches[0])
        return Replays(self._model, start, block.batches, self._dtype, noise)

    def _drawing(self, block: Timed, start: State) -> list[Course]:
        proved(self._model, start, block.batches[0])
        return dropout.replays_of(self._model, start, block.batches, self._dtype)


def _with_oddities(found: Audits, place: str, oddities: Sequence[dropout.Oddity]) -> Audits:
    worst = max(oddities, key=lambda oddity: oddity.ratio)
    first = next((oddity for oddity in oddities if not oddity.ratio <= 1), None)
    failure = f"audit of {place}: {first.words}" if first else ""
    return structs.replace(
        found,
        worst=max(found.worst, float(min(MULTIPLE * worst.ratio, BEYOND))),
        failure=found.failure or failure,
    )


def _in_words(place: str, check: Check) -> str:
    what = check.tensor
    if what == "losses" and check.index:
        what = f"loss of step {check.index[0] + 1}"
    elif check.index:
        what += f"[{', '.join(map(str, check.index))}]"
    if check.problem:
        return f"audit of {place}: {what} {check.problem}"
    size = "" if check.ratio >= BEYOND else f" ({check.ratio:.3g}x rounding noise)"
    return f"audit of {place}: {what} is {check.actual:.6g}, expected {check.expected:.6g}{size}"


def _state(noted: Evidence) -> State:
    return State.of(under("weights", noted), under("state", noted))


def _exactly(value: np.ndarray) -> Expected:
    return Expected(value, np.zeros(value.shape))


def _equal(one: Evidence, other: Evidence) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[n], other[n]) for n in one)
