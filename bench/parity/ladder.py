"""Climb: judge a backend's evidence, rung by rung. The comparison itself is `compare`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from typing import Literal, get_args

import numpy as np
from msgspec import Struct

from ...backends.contract import DType
from ..worker.evidence import Evidence, Probe, under
from .formulas import Batch, State
from .noise import MULTIPLE, AnyMeter, Meter, shared
from .tolerance import Expected, Oracle

RungName = Literal["weights", "forward", "loss", "gradients", "step", "trajectory", "evaluation"]
BEYOND = 1e30  # the ratio of an error where nothing is allowed; JSON has no infinity
RUNGS: tuple[RungName, ...] = get_args(RungName)
_BEFORE_TRAINING: tuple[RungName, ...] = ("forward", "loss", "gradients")


class Diverged(Exception):  # noqa: N818  a result with a reason
    """The oracle's own training leaves the range of float64: no backend can be judged by it."""


class Check(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One tensor on one rung: how many times the noise its worst element is off.

    `step` counts updates from 1. A ratio above MULTIPLE fails; so does a `problem`, which is what
    cannot be said as a distance: a missing name, a wrong shape or dtype, a NaN. Where rounding
    decides, nothing can be said: `undecided`.
    """

    rung: RungName
    tensor: str
    step: int
    ratio: float = 0.0
    index: tuple[int, ...] = ()
    actual: float = 0.0
    expected: float = 0.0
    problem: str = ""
    undecided: bool = False

    @property
    def passes(self) -> bool:
        return not self.problem and self.ratio <= MULTIPLE


def climb(
    probe: Probe,
    evidence: Evidence,
    dtype: DType,
    oracle: Oracle | None = None,
    rungs: Collection[RungName] = RUNGS,
    *,
    careful: bool = True,
) -> Iterator[Check]:
    """Yield every check of a piece of evidence, in the order of the rungs.

    With fewer `rungs`, only theirs: each is judged from the state that the backend reports, so no
    rung needs those below it, save that their evidence is whole. What is beyond the noise of the
    oracle's own training is judged by that of the backend's own state, if one is `careful`. An
    oracle of another dtype than the evidence allows the noise of its own. Raises Diverged.
    """
    oracle = oracle or Oracle(probe.model, dtype)
    meters: list[AnyMeter] = [shared(probe, oracle.dtype)]
    meters += [Meter(probe.model, oracle.dtype, careful=True)] if careful else []
    if "weights" in rungs:
        exact = {name: Expected(w, np.zeros(w.shape)) for name, w in probe.weights.items()}
        yield from compare("weights", 0, under("weights", evidence), exact, dtype)

    state, first = State.start(oracle.model, probe.weights), probe.batches[0]
    for rung in (rung for rung in _BEFORE_TRAINING if rung in rungs):
        actual = under(rung, evidence) if rung != "loss" else _only(rung, evidence)
        yield from _judge(
            rung, 0, actual, meters, dtype, partial(_derived, oracle, state, first, rung)
        )

    stages = [
        (f"steps/{step}", [batch]) for step, batch in enumerate(probe.batches[: probe.singles])
    ]
    stages.append(("block", probe.batches[probe.singles :]))
    for stage, batches in stages:
        rung = "step" if state.step == 0 else "trajectory"
        if rung in rungs:
            reached = state.step + len(batches)
            expect = partial(_trained, oracle, state, batches)
            checks = _judge(rung, reached, under(stage, evidence), meters, dtype, expect)
            yield from checks
            if any(check.problem for check in checks):
                return  # there is no state to go on from
        state = State.of(under(f"{stage}/weights", evidence), under(f"{stage}/state", evidence))

    if "evaluation" in rungs:
        expect = partial(_evaluated, oracle, state, first)
        actual = _only("evaluation", evidence)
        yield from _judge("evaluation", state.step, actual, meters, dtype, expect)


def _judge(
    rung: RungName,
    step: int,
    actual: Evidence,
    meters: Sequence[AnyMeter],
    dtype: DType,
    expect: Callable[[AnyMeter], dict[str, Expected]],
) -> list[Check]:
    """Compare with what is expected by the first meter, and by the next if that is not enough."""
    for meter in meters:
        checks = list(compare(rung, step, actual, expect(meter), dtype))
        if all(check.passes for check in checks):
            break
    return checks


def _derived(
    oracle: Oracle, state: State, batch: Batch, rung: str, meter: AnyMeter
) -> dict[str, Expected]:
    (noises,) = meter.training(state, [batch])
    derived = oracle.derivatives(state, batch, noises)
    return {"loss": derived["loss"]} if rung == "loss" else _under(rung, derived)


def _trained(
    oracle: Oracle, state: State, batches: Sequence[Batch], meter: AnyMeter
) -> dict[str, Expected]:
    return oracle.after(state, batches, meter.training(state, batches))


def _evaluated(oracle: Oracle, state: State, batch: Batch, meter: AnyMeter) -> dict[str, Expected]:
    return oracle.evaluation(state, batch, meter.evaluation(state, batch))


def compare(
    rung: RungName,
    step: int,
    actual: Evidence,
    expected: dict[str, Expected],
    dtype: str,
) -> Iterator[Check]:
    """Compare elementwise what a backend says with what is expected; every name must be there."""
    for tensor in sorted(actual.keys() - expected.keys()):
        yield Check(rung=rung, tensor=tensor, step=step, problem="is not expected")
    for tensor, (value, allowed) in expected.items():
        if tensor not in actual:
            yield Check(rung=rung, tensor=tensor, step=step, problem="is missing")
        else:
            wanted = value.dtype.name if value.dtype.kind == "i" else dtype
            yield _compare_one(rung, tensor, step, actual[tensor], value, allowed, wanted)


def _compare_one(
    rung: RungName,
    tensor: str,
    step: int,
    actual: np.ndarray,
    expected: np.ndarray,
    allowed: np.ndarray,
    dtype: str,
) -> Check:
    def wrong(problem: str) -> Check:
        return Check(rung=rung, tensor=tensor, step=step, problem=problem)

    if actual.shape != expected.shape:
        return wrong(f"has the shape {list(actual.shape)}, expected {list(expected.shape)}")
    if actual.dtype.name != dtype:
        return wrong(f"is {actual.dtype.name}, expected {dtype}")
    if not np.isfinite(expected).all():
        raise Diverged(
            f"the training diverges in the oracle itself: {tensor} is not finite at step {step}; "
            "lower the learning rate"
        )
    bad = ~np.isfinite(actual)
    if bad.any():
        place = np.argwhere(bad)[0].tolist()
        return wrong(f"is {actual[tuple(place)]} at {place}, and {int(bad.sum())} times in all")
    error = np.abs(actual.astype(np.float64) - expected)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(error > 0, np.minimum(MULTIPLE * error / allowed, BEYOND), 0.0)
    if not ratio.size or np.isinf(allowed).any():
        return Check(rung=rung, tensor=tensor, step=step, undecided=bool(ratio.size))
    worst = np.unravel_index(np.argmax(ratio), ratio.shape)
    return Check(
        rung=rung,
        tensor=tensor,
        step=step,
        ratio=float(ratio[worst]),
        index=tuple(map(int, worst)),
        actual=float(actual[worst]),
        expected=float(expected[worst]),
    )


def _under(prefix: str, expected: dict[str, Expected]) -> dict[str, Expected]:
    return under(prefix, expected)  # type: ignore[arg-type, return-value]


def _only(name: str, evidence: Evidence) -> Evidence:
    return {name: evidence[name]} if name in evidence else {}
