"""Say why a backend fails: the oracle is run again with one mutation at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...backends.contract import Deviation, DType
from .evidence import Evidence, Probe
from .ladder import RUNGS, Check, climb
from .mutations import LEAK, MUTATIONS
from .tolerance import Oracle


def cause(
    probe: Probe,
    found: Evidence,
    dtype: DType,
    checks: Sequence[Check],
    deviations: Sequence[Deviation] = (),
) -> str:
    """Return the mutations with which every check passes: "matches if ..."; if there are none, those
    with which the ladder is climbed farthest, beyond the rung of the first failure: "closer if ...".
    """
    heights = {
        words: _height(climb(probe, found, dtype, oracle))
        for words, oracle in _suspects(probe, dtype, deviations)
    }
    top = len(RUNGS)
    if dtype == "float64" and top not in heights.values():
        leaking = Oracle(probe.model, "float32", deviations=deviations)
        heights[LEAK] = _height(climb(probe, found, dtype, leaking))
    best = max(heights.values())
    if best <= _height(checks):
        return ""
    likely = [words for words, height in heights.items() if height == best]
    return f"{'matches' if best == top else 'closer'} if {'; or if '.join(likely)}"


def _suspects(
    probe: Probe, dtype: DType, deviations: Sequence[Deviation]
) -> Iterator[tuple[str, Oracle]]:
    for mutation in MUTATIONS:
        if mutation.words and mutation.applies(probe.model):
            yield mutation.words, Oracle(probe.model, dtype, mutation.adapter, deviations)


def _height(checks: Sequence[Check] | Iterator[Check]) -> int:
    """Return how many rungs lie below the first check that fails."""
    return next((RUNGS.index(c.rung) for c in checks if not c.passes), len(RUNGS))
