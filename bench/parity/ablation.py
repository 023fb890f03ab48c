"""Say why a backend fails: the oracle is run again with one mutation at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...backends.contract import Deviation, DType
from ..worker.evidence import Evidence, Probe
from .ladder import RUNGS, Check, RungName, climb
from .mutants.mutations import LEAK, MUTATIONS, Mutation
from .tolerance import Oracle

_OF_NOISE = 0.01  # an error that is less of float32's noise is none of a float32 inside


def cause(
    probe: Probe,
    evidence: Evidence,
    dtype: DType,
    checks: Sequence[Check],
    deviations: Sequence[Deviation] = (),
) -> str:
    """Return the mutations with which every check passes, "matches if ...", or, if there are none,
    those with which the first failure is on the highest rung, "closer if ...".
    """
    failing = next(check.rung for check in checks if not check.passes)

    def height(oracle: Oracle) -> int:
        """Return how many rungs are passed; 0 if it is no help on the failing one: most are not."""
        for rungs in ((failing,), RUNGS):
            for check in climb(probe, evidence, dtype, oracle, rungs, careful=False):
                if not check.passes:
                    return RUNGS.index(check.rung) if rungs == RUNGS else 0
        return len(RUNGS)

    heights = {
        suspect.words: height(Oracle(probe.model, dtype, suspect.adapter, deviations))
        for suspect in _suspects(probe, failing)
    }
    if dtype == "float64" and len(RUNGS) not in heights.values():
        rounded = Oracle(probe.model, "float32", deviations=deviations)
        found = climb(probe, evidence, dtype, rounded, (failing,), careful=False)
        if max(check.ratio for check in found) >= _OF_NOISE:
            heights[LEAK] = height(rounded)
    best = max(heights.values(), default=0)
    if best <= RUNGS.index(failing):
        return ""
    likely = "; or if ".join(words for words in heights if heights[words] == best)
    return f"{'matches' if best == len(RUNGS) else 'closer'} if {likely}"


def _suspects(probe: Probe, failing: RungName) -> Iterator[Mutation]:
    """Yield what can be imitated and may show on a rung, if not before."""
    for mutation in MUTATIONS:
        may_show = RUNGS.index(mutation.rung) <= RUNGS.index(failing)
        if mutation.words and may_show and mutation.applies(probe.model):
            yield mutation
