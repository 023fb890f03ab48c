"""From the records of a run's jobs to its summary."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

from msgspec.structs import replace

from ...backends.contract import Mode
from ..environments.find import Backend
from ..parity.certificate import Certificate
from ..parity.digest import parity_of
from ..results.speeds import compared, fields
from ..results.stats import UNBOUNDED, bootstrap_median, equivalence, mean_interval, metric_margin
from ..results.summary import (
    SCHEMA_VERSION,
    Audits,
    Comparison,
    LossRange,
    Metric,
    Parity,
    Row,
    RungResult,
    Status,
    Summary,
    WorkloadFacts,
    is_comparable,
)
from ..worker.metrics import BOUNDS
from . import certificates, curves
from .journal import JobResult, read_row
from .run_folder import RunSpec, job_name, read_run

_WORST_FIRST: tuple[Status, ...] = ("failed", "timeout", "interrupted", "unsupported", "ok")


def summarize(folder: Path) -> Summary:
    """Read a run folder, finished or not, and return its summary. InputError if it is no run."""
    spec = read_run(folder)
    rows = [
        _row(folder, spec, facts, backend, mode)
        for facts in spec.workloads
        for backend in spec.backends
        for mode in spec.modes[backend.name]
    ]
    rows = [_with_parity(folder, row, rows) for row in rows]
    return Summary(
        schema_version=SCHEMA_VERSION,
        bakeoff_version=spec.bakeoff_version,
        created=spec.created,
        command=spec.command,
        machine=spec.machine,
        workloads=spec.workloads,
        rows=rows,
        modes=spec.asked_modes,
        comparisons=list(_comparisons(spec, rows)),
    )


def _row(folder: Path, spec: RunSpec, facts: WorkloadFacts, backend: Backend, mode: Mode) -> Row:
    jobs = {}
    if backend.python:
        jobs = {
            seed: folder / "jobs" / job_name(facts.name, backend.name, mode, seed)
            for seed in spec.seeds
        }
    results = read_row(list(jobs.values()), list(jobs), facts.metric)
    judged = [result.audits for result in results if result.audits]
    status, reason = _worst(results) if results else ("missing", f"{backend.reason}; {backend.fix}")
    complete = [result for result in results if result.finished]
    metrics = _metrics(complete)
    curve = curves.by_epoch(complete, facts.metric)
    started = [result.started for result in results if result.started]
    built = [result.built for result in results if result.built]
    blocks = _rates(complete)
    return Row(
        workload=facts.name,
        backend=backend.name,
        framework_version=started[0].framework_version if started else None,
        device=spec.device,
        dtype=spec.dtype,
        mode=mode,
        threads=spec.threads,
        seeds=len(spec.seeds),
        status=status,
        reason=reason,
        metric=metrics.get(facts.metric),
        metrics=metrics,
        loss=LossRange(curve[0].loss, curve[-1].loss) if curve else None,
        epochs=facts.epochs,
        samples_per_second=bootstrap_median(blocks) if blocks else None,
        first_block_seconds=_median([r.blocks[0].train_seconds for r in complete]),
        import_seconds=_median([record.import_seconds for record in started]),
        settings=built[0].settings if built else {},
        build_seconds=_median([record.build_seconds for record in built]),
        peak_rss_mb=_median([r.finished.peak_rss_mb for r in complete if r.finished]),
        parameters=facts.parameters,
        curve=curve,
        stage_seconds=_median([sum(b.stage_seconds for b in r.blocks) for r in complete]),
        audits=_audits(judged),
        seconds_to_target=curves.time_to_target(complete, facts),
        losses=curves.by_step(complete),
        blocks=blocks,
        finished_seeds=[result.seed for result in complete],
    )


def _with_parity(folder: Path, row: Row, rows: list[Row]) -> Row:
    certificate = _certificate(folder, row, row.dtype)
    if certificate is None:
        return row
    float64 = _certificate(folder, row, "float64") if row.dtype != "float64" else None
    if float64 is None and row.dtype != "float64":
        float64 = _missing("the certificate in float64 is missing")
    parity = _parity(certificate)
    if isinstance(certificate, Certificate) and certificate.rungs:
        accuracy = _accuracy(row, rows)
        parity = replace(parity, rungs=[*parity.rungs, accuracy])
        if parity.verdict == "pass" and accuracy.passes is False:
            reason = "accuracy: not equivalent to NumPy's over the paired seeds"
            parity = replace(parity, verdict="fail", reason=reason)
    row = replace(row, parity=parity, parity_float64=float64 and _parity(float64))
    return replace(row, comparable=is_comparable(row))


def _certificate(folder: Path, row: Row, dtype: str) -> Certificate | Parity | None:
    """Return a row's certificate in a dtype if it has one, or what is said of a damaged one."""
    try:
        return certificates.read(folder, row.workload, row.backend, row.mode, dtype)
    except ValueError as error:
        return _missing(str(error))


def _parity(certificate: Certificate | Parity) -> Parity:
    return certificate if isinstance(certificate, Parity) else parity_of(certificate)


def _missing(why: str) -> Parity:
    return Parity(
        verdict="error",
        rungs=[],
        worst="",
        noise_ratio=0.0,
        certificate="",
        reason=f"{why}; it is judged again with --resume",
    )


def _audits(found: Sequence[Audits]) -> Audits | None:
    """Add up what was found in the processes of a row."""
    if not found:
        return None
    return Audits(
        blocks=sum(each.blocks for each in found),
        steps=sum(each.steps for each in found),
        undecided=sum(each.undecided for each in found),
        worst=max(each.worst for each in found),
        failure=next((each.failure for each in found if each.failure), ""),
        seconds=sum(each.seconds for each in found),
    )


def _accuracy(row: Row, rows: list[Row]) -> RungResult:
    """Compare a row's metric with NumPy's, seed by seed, if it can be."""
    oracle = next((r for r in rows if (r.workload, r.backend) == (row.workload, "numpy")), None)
    if oracle is None or row.metric is None or oracle.metric is None:
        return RungResult("accuracy", None, None)
    mine, theirs = row.metric.values, oracle.metric.values
    if not len(mine) == len(theirs) == row.seeds:
        return RungResult("accuracy", None, None)  # some seeds did not finish: there are no pairs
    margin = metric_margin(row.metric.name, oracle.metric.mean)
    differences = [a - b for a, b in zip(mine, theirs, strict=True)]
    return RungResult("accuracy", equivalence(differences, margin), None, margin)


def _comparisons(spec: RunSpec, rows: list[Row]) -> Iterator[Comparison]:
    """Compare the rows of each workload that may be compared with each other."""
    for facts in spec.workloads:
        for alike in fields([r for r in rows if r.workload == facts.name], spec.asked_modes):
            yield from compared(alike, "train", facts.batch_size)


def _worst(results: Sequence[JobResult]) -> tuple[Status, str | None]:
    """Return the worst status, and the reason of the first seed that has it."""
    if damaged := [result.reason for result in results if result.damage]:
        return "failed", ", ".join(map(str, damaged))
    worst = min(results, key=lambda result: _WORST_FIRST.index(result.status))
    same_for_all = all(result.reason == worst.reason for result in results)
    if worst.reason is None or same_for_all:
        return worst.status, worst.reason
    return worst.status, f"seed {worst.seed}: {worst.reason}"


def _metrics(complete: Sequence[JobResult]) -> dict[str, Metric]:
    scores = [result.finished.metrics for result in complete if result.finished]
    names = scores[0].keys() if scores else ()
    return {
        name: Metric(name, *mean_interval(values, BOUNDS.get(name, UNBOUNDED)), values)
        for name in names
        if len(values := [score[name] for score in scores if name in score]) == len(scores)
    }


def _rates(complete: Sequence[JobResult]) -> list[list[float]]:
    """Return the samples/s of all blocks but the first of each job, which holds compilation."""
    by_job = [
        [block.samples / block.train_seconds for block in result.blocks[1:]] for result in complete
    ]
    return [rates for rates in by_job if rates]


def _median(values: Sequence[float]) -> float | None:
    return median(values) if values else None
