"""Judge an answer: climb the ladder, and look for the cause of a failure."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from msgspec import structs

from ...backends.contract import Execution
from ..environments.find import Backend
from ..worker.evidence import Probe
from ..worker.files import read_arrays
from ..worker.probe import Answer
from .ablation import cause
from .certificate import Certificate
from .ladder import Diverged, climb
from .tolerance import Oracle


class Claim(NamedTuple):
    """That a backend computes what the oracle does; `name` is that of the model or workload."""

    backend: Backend
    name: str
    probe: Probe
    execution: Execution


def judge(claim: Claim, key: str, answer_file: Path) -> Certificate:
    """Return the certificate of a claim, under its key, from the file of the answer to it."""
    answer = msgspec.json.decode(answer_file.read_bytes(), type=Answer)
    judged = Certificate(
        key=key,
        backend=claim.backend.name,
        model=claim.name,
        execution=claim.execution,
        version=answer.version,
        verdict="pass" if answer.status == "ok" else answer.status,
        reason=answer.reason,
        sources=answer.sources,
    )
    if answer.status != "ok":
        return judged
    evidence = read_arrays(answer_file.with_suffix(".npz"))
    dtype = claim.execution.dtype
    oracle = Oracle(claim.probe.model, dtype, deviations=answer.deviations)
    try:
        with np.errstate(all="ignore"):
            checks = list(climb(claim.probe, evidence, dtype, oracle))
    except Diverged as diverged:
        return structs.replace(judged, verdict="error", reason=str(diverged))
    judged = structs.replace(
        judged, checks=checks, deviations=[deviation.reason for deviation in oracle.deviations]
    )
    if all(check.passes for check in checks):
        return judged
    return structs.replace(
        judged, verdict="fail", cause=cause(claim.probe, evidence, dtype, checks, answer.deviations)
    )
