"""From the races that were run to the summary of a benchmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from statistics import median

from msgspec.structs import replace

from ...backends.contract import Execution
from ..environments.machine import Machine
from ..results.stats import bootstrap_median
from ..results.summary import SCHEMA_VERSION, Audits, Parity, Summary
from ..worker.task import Task
from . import analysis, comparison
from .plan import BenchRequest
from .race import Race
from .work import TimedWork

Certificates = dict[tuple[str, str, Execution], Parity]  # of model, backend, execution


def summarize(
    request: BenchRequest,
    machine: Machine,
    works: Sequence[TimedWork],
    races: Sequence[Race],
    certificates: Certificates,
    peaks: Mapping[int, list[float]],
    audits: Mapping[str, Audits],
) -> Summary:
    """Return the summary; `peaks` are the SGEMM GFLOP/s by threads."""
    finished = [race for race in races if race.was_run]
    timed = [
        analysis.measurement(
            entrant.task,
            entrant.processes,
            rivals=race.rivals,
            peak=median(peaks[entrant.task.execution.threads]),
            certificates=_certificates(entrant.task, certificates),
            audits=audits.get(str(entrant.folder)),
        )
        for race in finished
        for entrant in race.adapters
    ]
    timed = comparison.with_cliffs(comparison.with_overheads(timed))
    comparisons = list(comparison.between_backends(timed, request.modes))
    if request.rivals:
        comparisons = [
            ratio
            for race, measured in zip(finished, timed, strict=True)
            if measured.comparable and (ratio := comparison.with_rival(race, request.rivals))
        ]
    return Summary(
        schema_version=SCHEMA_VERSION,
        bakeoff_version=version("bakeoff"),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=request.command,
        machine=machine,
        workloads=[work.facts for work in works],
        rows=[],
        measurements=timed,
        modes=request.modes,
        comparisons=comparisons,
        peaks={
            str(n): bootstrap_median([[gflops] for gflops in measured])
            for n, measured in peaks.items()
        },
    )


def _certificates(task: Task, certificates: Certificates) -> tuple[Parity | None, Parity | None]:
    """Return the certificates of a case, in its own dtype and in float64, if that is another."""
    execution = task.execution
    own = certificates.get((task.name, task.backend, execution))
    if execution.dtype == "float64":
        return own, None
    float64 = replace(execution, dtype="float64")
    return own, certificates.get((task.name, task.backend, float64))
