"""From the records of a run's jobs to its summary."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean, mean, median

import msgspec
from msgspec import Struct

from ..backends.contract import Mode
from ..models import InputError
from . import records
from .environments import Backend
from .parity import of_run as certificates
from .parity.certificate import Certificate, in_words
from .parity.ladder import BEYOND
from .plan import RunSpec, job_name, read_run
from .records import (
    Block,
    Built,
    Epoch,
    Failed,
    Finished,
    Interrupted,
    Measured,
    Refused,
    Started,
    TimedOut,
)
from .stats import (
    Interval,
    bootstrap_median,
    bootstrap_ratio,
    equivalence,
    mann_whitney,
    mean_interval,
    verdict,
)
from .summary import (
    SCHEMA_VERSION,
    Comparison,
    LayerError,
    LossPoint,
    LossRange,
    Metric,
    Parity,
    Point,
    Row,
    Rung,
    Status,
    Summary,
    TimeToTarget,
    WorkloadFacts,
)

_MARGINS = {"accuracy": 0.005, "macro_f1": 0.005}  # half a point
_RELATIVE_MARGIN = 0.01  # of NumPy's value, for other metrics
_MOST_POINTS = 200  # of a curve of losses
_WORST_FIRST: tuple[Status, ...] = ("failed", "timeout", "interrupted", "unsupported", "ok")


class _JobResult(Struct, frozen=True):
    """The records of one job by kind."""

    seed: int
    status: Status
    reason: str | None
    started: Started | None
    built: Built | None
    blocks: list[Block]
    epochs: list[Epoch]
    finished: Finished | None


def summarize(folder: Path) -> Summary:
    """Read a run folder, finished or not, and return its summary. InputError if it is no run."""
    spec = read_run(folder)
    rows = [
        _row(folder, spec, facts, backend, mode)
        for facts in spec.workloads
        for backend in spec.backends
        for mode in spec.modes
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
        comparisons=list(_comparisons(folder, spec, rows)),
    )


def read(path: Path) -> Summary:
    """Read a `summary.json`. InputError if it is none, or one of another version."""
    try:
        summary = msgspec.json.decode(path.read_bytes(), type=Summary)
    except (OSError, msgspec.DecodeError) as error:
        raise InputError(f"{path} is not a summary: {error}; expected one of bakeoff's") from None
    if summary.schema_version != SCHEMA_VERSION:
        raise InputError(
            f"{path} has schema version {summary.schema_version}, this bakeoff reads "
            f"{SCHEMA_VERSION}; use bakeoff {summary.bakeoff_version}"
        )
    return summary


def write(summary: Summary, path: Path) -> None:
    """Write `summary.json`, whole or not at all."""
    partial = path.with_suffix(".partial")
    partial.write_bytes(msgspec.json.format(msgspec.json.encode(summary)) + b"\n")
    partial.replace(path)


def _row(folder: Path, spec: RunSpec, facts: WorkloadFacts, backend: Backend, mode: Mode) -> Row:
    results = []
    if backend.python:
        results = [
            _read_job(folder / "jobs" / job_name(facts.name, backend.name, mode, seed), seed)
            for seed in spec.seeds
        ]
    status, reason = (
        _verdict(results) if results else ("missing", f"{backend.reason}; {backend.fix}")
    )
    complete = [result for result in results if result.finished]
    metrics = _metrics(complete)
    curve = _curve(complete, facts.metric)
    started = [result.started for result in results if result.started]
    built = [result.built for result in results if result.built]
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
        samples_per_second=_samples_per_second(complete),
        first_block_seconds=_median([r.blocks[0].train_seconds for r in complete]),
        import_seconds=_median([record.import_seconds for record in started]),
        build_seconds=_median([record.build_seconds for record in built]),
        peak_rss_mb=_median([r.finished.peak_rss_mb for r in complete if r.finished]),
        parameters=facts.parameters,
        curve=curve,
        stage_seconds=_median([sum(b.stage_seconds for b in r.blocks) for r in complete]),
        seconds_to_target=_time_to_target(complete, facts),
        losses=_losses(complete),
    )


def _with_parity(folder: Path, row: Row, rows: list[Row]) -> Row:
    certificate = certificates.read(folder, row.workload, row.backend, row.mode)
    if certificate is None:
        return row
    parity = parity_of(certificate)
    if certificate.rungs:
        accuracy = _accuracy(row, rows)
        parity = msgspec.structs.replace(parity, rungs=[*parity.rungs, accuracy])
        if parity.verdict == "pass" and accuracy.passes is False:
            reason = "accuracy: not equivalent to NumPy's over the paired seeds"
            parity = msgspec.structs.replace(parity, verdict="fail", reason=reason)
    return msgspec.structs.replace(row, parity=parity)


def parity_of(certificate: Certificate) -> Parity:
    """Return what a summary says of a certificate."""
    reason = certificate.reason
    if failure := certificate.first_failure:
        reason = "; ".join(part for part in (in_words(failure), certificate.cause) if part)
    worst = max(certificate.checks, key=lambda check: check.ratio, default=None)
    return Parity(
        verdict=str(certificate.verdict),
        rungs=[Rung(rung.name, rung.passes, rung.worst.ratio) for rung in certificate.rungs],
        worst=in_words(worst) if worst else "",
        noise_ratio=certificate.noise_ratio,
        certificate=certificate.key,
        reason=reason,
        deviations=certificate.deviations,
        layers=_layers(certificate),
    )


def _accuracy(row: Row, rows: list[Row]) -> Rung:
    """Compare a row's metric with NumPy's, seed by seed, if it can be."""
    oracle = next((r for r in rows if (r.workload, r.backend) == (row.workload, "numpy")), None)
    if oracle is None or row.metric is None or oracle.metric is None:
        return Rung("accuracy", None, None)
    mine, theirs = row.metric.values, oracle.metric.values
    if not len(mine) == len(theirs) == row.seeds:
        return Rung("accuracy", None, None)  # some seeds did not finish: there are no pairs
    margin = _MARGINS.get(row.metric.name, _RELATIVE_MARGIN * abs(oracle.metric.mean))
    differences = [a - b for a, b in zip(mine, theirs, strict=True)]
    return Rung("accuracy", equivalence(differences, margin), None, margin)


def _layers(certificate: Certificate) -> list[LayerError]:
    """Return the worst errors by layer, in the order of the model, which that of outputs is."""
    forward: dict[str, float] = {}
    gradients: dict[str, float] = {}
    for check in certificate.checks:
        ratio = BEYOND if check.problem else check.ratio
        if check.rung == "forward":
            forward[check.tensor] = ratio
        elif check.rung == "gradients":
            layer = check.tensor.rpartition(".")[0]
            gradients[layer] = max(ratio, gradients.get(layer, 0.0))
    return [
        LayerError(layer, forward.get(layer), gradients.get(layer))
        for layer in dict.fromkeys([*forward, *gradients])
    ]


def _comparisons(folder: Path, spec: RunSpec, rows: list[Row]) -> Iterator[Comparison]:
    """Compare the fastest row of each workload and mode with every other that is comparable."""
    for facts in spec.workloads:
        for mode in spec.modes:
            speeds = [
                (row.samples_per_second.median, row)
                for row in rows
                if (row.workload, row.mode) == (facts.name, mode)
                and row.comparable
                and row.samples_per_second
            ]
            ranked = [row for _, row in sorted(speeds, key=lambda speed: -speed[0])]
            found = [(row.backend, rates(folder, row)) for row in ranked]
            for rival, theirs in found[1:]:
                subject, ours = found[0]
                ratio = bootstrap_ratio(ours, theirs)
                p_value, effect = mann_whitney(ours, theirs)
                yield Comparison(
                    kind="backends",
                    workload=facts.name,
                    phase="train",
                    batch_size=facts.batch_size,
                    threads=spec.threads,
                    mode=mode,
                    subject=subject,
                    rival=rival,
                    ratio=ratio,
                    p_value=p_value,
                    effect=effect,
                    verdict=verdict(ratio),
                )


def _read_job(folder: Path, seed: int) -> _JobResult:
    found = records.read(folder / "records.jsonl")
    status, reason = status_of(records.ending(found))
    return _JobResult(
        seed=seed,
        status=status,
        reason=reason,
        started=next((r for r in found if isinstance(r, Started)), None),
        built=next((r for r in found if isinstance(r, Built)), None),
        blocks=[r for r in found if isinstance(r, Block)],
        epochs=[r for r in found if isinstance(r, Epoch)],
        finished=next((r for r in found if isinstance(r, Finished)), None),
    )


def status_of(end: records.Ending | None) -> tuple[Status, str | None]:
    """Return how a job ended, and why if it did not finish."""
    match end:
        case Finished() | Measured():
            return "ok", None
        case Refused(reason=reason):
            return "unsupported", reason
        case Failed(reason=reason):
            return "failed", reason
        case TimedOut(seconds=seconds):
            return "timeout", f"ended after {seconds:g} s; give it longer with --timeout"
        case Interrupted():
            return "interrupted", "stopped by the user; go on with --resume"
        case None:
            return "interrupted", "not run yet; go on with --resume"


def _verdict(results: Sequence[_JobResult]) -> tuple[Status, str | None]:
    """Return the worst status, and the reason of the first seed that has it."""
    worst = min(results, key=lambda result: _WORST_FIRST.index(result.status))
    same_for_all = all(result.reason == worst.reason for result in results)
    if worst.reason is None or same_for_all:
        return worst.status, worst.reason
    return worst.status, f"seed {worst.seed}: {worst.reason}"


def _metrics(complete: Sequence[_JobResult]) -> dict[str, Metric]:
    scores = [result.finished.metrics for result in complete if result.finished]
    names = scores[0].keys() if scores else ()
    return {
        name: Metric(name, *mean_interval(values), values)
        for name in names
        if len(values := [score[name] for score in scores if name in score]) == len(scores)
    }


def _curve(complete: Sequence[_JobResult], metric: str) -> list[Point]:
    if not complete:
        return []
    seconds = [_seconds_by_epoch(result) for result in complete]
    return [
        Point(
            epoch=epochs[0].epoch,
            loss=mean(epoch.loss for epoch in epochs),
            metric=mean(epoch.metrics[metric] for epoch in epochs),
            seconds=mean(by_epoch[epochs[0].epoch] for by_epoch in seconds),
        )
        for epochs in zip(*(result.epochs for result in complete), strict=True)
    ]


def _losses(complete: Sequence[_JobResult]) -> list[LossPoint]:
    curves = [_loss_curve(result.blocks) for result in complete]
    return [
        LossPoint(
            step=points[0].step,
            seconds=fmean(point.seconds for point in points),
            loss=fmean(point.loss for point in points),
        )
        for points in zip(*curves, strict=True)
    ]


def _loss_curve(blocks: Sequence[Block]) -> list[LossPoint]:
    """Return the mean loss of every few blocks, so few that there are not too many points."""
    size = math.ceil(len(blocks) / _MOST_POINTS)
    points, step, seconds = [], 0, 0.0
    for first in range(0, len(blocks), size):
        group = blocks[first : first + size]
        losses = [loss for block in group for loss in block.losses]
        step += len(losses)
        seconds += sum(block.train_seconds for block in group)
        points.append(LossPoint(step, seconds, fmean(losses)))
    return points


def _time_to_target(complete: Sequence[_JobResult], facts: WorkloadFacts) -> TimeToTarget | None:
    from_the_start = all(result.epochs[0].epoch == 1 for result in complete)
    if facts.target is None or not complete or not from_the_start:
        return None
    values = [_seconds_until(facts.target, result, facts) for result in complete]
    reached = [value for value in values if value is not None]
    middle, low, high = mean_interval(reached) if reached else (None, None, None)
    return TimeToTarget(middle, low, high, values)


def _seconds_until(target: float, result: _JobResult, facts: WorkloadFacts) -> float | None:
    """Return the seconds of build, staging and training until the target; None if it is missed."""
    reaches = operator.le if facts.lower_is_better else operator.ge
    for epoch in result.epochs:
        if result.built and reaches(epoch.metrics[facts.metric], target):
            return result.built.build_seconds + sum(
                block.stage_seconds + block.train_seconds
                for block in result.blocks
                if block.epoch <= epoch.epoch
            )
    return None


def _seconds_by_epoch(result: _JobResult) -> dict[int, float]:
    total, seconds = 0.0, {}
    for block in result.blocks:
        total += block.train_seconds
        seconds[block.epoch] = total
    return seconds


def rates(folder: Path, row: Row) -> list[list[float]]:
    """Return a row's samples/s, block by block, of every job of it that finished."""
    seeds = read_run(folder).seeds
    jobs = folder / "jobs"
    results = [
        _read_job(jobs / job_name(row.workload, row.backend, row.mode, seed), seed)  # type: ignore[arg-type]
        for seed in seeds
    ]
    return _rates([result for result in results if result.finished])


def _rates(complete: Sequence[_JobResult]) -> list[list[float]]:
    """Return the rates of all blocks but the first of each process, which holds compilation."""
    found = [
        [block.samples / block.train_seconds for block in result.blocks[1:]] for result in complete
    ]
    return [values for values in found if values]


def _samples_per_second(complete: Sequence[_JobResult]) -> Interval | None:
    found = _rates(complete)
    return bootstrap_median(found) if found else None


def _median(values: Sequence[float]) -> float | None:
    return median(values) if values else None
