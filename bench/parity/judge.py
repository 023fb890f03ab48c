"""Judge an answer: climb the ladder, and look for the cause of a failure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from msgspec import structs

from ..files import read_arrays
from .ablation import cause
from .certificate import Certificate
from .ladder import climb
from .prober import Answer
from .tolerance import Oracle

if TYPE_CHECKING:
    from .certify import Subject


class Case(NamedTuple):
    """A subject, the key of its certificate, and the file of its answer."""

    subject: Subject
    key: str
    answer: Path


def judge(case: Case) -> Certificate:
    """Return the certificate of a case."""
    subject = case.subject
    answer = msgspec.json.decode(case.answer.read_bytes(), type=Answer)
    judged = Certificate(
        key=case.key,
        backend=subject.backend.name,
        model=subject.name,
        execution=subject.execution,
        version=answer.version,
        verdict="pass" if answer.status == "ok" else answer.status,
        reason=answer.reason,
    )
    if answer.status != "ok":
        return judged
    found = read_arrays(case.answer.with_suffix(".npz"))
    dtype = subject.execution.dtype
    oracle = Oracle(subject.probe.model, dtype, deviations=answer.deviations)
    checks = list(climb(subject.probe, found, dtype, oracle))
    judged = structs.replace(
        judged, checks=checks, deviations=[deviation.reason for deviation in oracle.deviations]
    )
    if all(check.passes for check in checks):
        return judged
    return structs.replace(
        judged, verdict="fail", cause=cause(subject.probe, found, dtype, checks, answer.deviations)
    )
