"""Reading and writing `summary.json`; what an older bakeoff wrote is read as today's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from ...models import InputError
from ..worker.files import write_whole
from ..worker.metrics import BOUNDS
from .stats import LEAST_PROCESSES, POSITIVE, UNBOUNDED, Interval, mean_interval, verdict
from .summary import (
    SCHEMA_VERSION,
    Comparison,
    Entry,
    Measurement,
    Metric,
    Row,
    Summary,
    TimeToTarget,
    is_certified,
)

_READABLE = (1, 2, SCHEMA_VERSION)
_Work = tuple[object, ...]


def is_current(path: Path) -> bool:
    """Say whether there is a `summary.json`, and of the version that is written today."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Header).schema_version == SCHEMA_VERSION
    except (OSError, msgspec.DecodeError):
        return False


def read(path: Path) -> Summary:
    """Read a `summary.json` of this version or an older one, as one of this version.

    InputError if it is none, or of another version.
    """
    try:
        content = path.read_bytes()
        header = msgspec.json.decode(content, type=_Header)
        if header.schema_version not in _READABLE:
            raise InputError(
                f"{path} has schema version {header.schema_version}, this bakeoff reads "
                f"{_READABLE[0]} to {_READABLE[-1]}; use bakeoff {header.bakeoff_version}"
            )
        summary = msgspec.json.decode(content, type=Summary)
    except (OSError, msgspec.DecodeError) as error:
        raise InputError(f"{path} is not a summary: {error}; expected one of bakeoff's") from None
    if header.schema_version < SCHEMA_VERSION:
        summary = _judged_by_certificates(summary)
    return replace(_with_supported_intervals(summary), schema_version=SCHEMA_VERSION)


def write(summary: Summary, path: Path) -> None:
    """Write `summary.json`, whole or not at all."""
    write_whole(path, msgspec.json.format(msgspec.json.encode(summary)) + b"\n")


def _judged_by_certificates(summary: Summary) -> Summary:
    """Say of every entry what a version without audits said of it."""
    rows = [replace(row, comparable=is_certified(row)) for row in summary.rows]
    measurements = [replace(m, comparable=is_certified(m)) for m in summary.measurements]
    return replace(summary, rows=rows, measurements=measurements)


def _with_supported_intervals(summary: Summary) -> Summary:
    """Drop the intervals that too few processes gave, and make those of means anew."""
    processes: dict[_Work, int] = {}
    for entry in summary.entries:
        processes[_work_of(entry)] = _processes(entry)
    return replace(
        summary,
        rows=[_supported_row(row) for row in summary.rows],
        measurements=[_supported_measurement(m) for m in summary.measurements],
        comparisons=[_supported_comparison(c, processes) for c in summary.comparisons],
        peaks={
            threads: Interval(peak.median) if peak.low == peak.high else peak
            for threads, peak in summary.peaks.items()
        },
    )


def _processes(entry: Entry) -> int:
    if isinstance(entry, Measurement):
        return len(entry.blocks) or entry.processes
    return len(entry.blocks) or (len(entry.metric.values) if entry.metric else 0)


def _work_of(entry: Entry) -> _Work:
    work = entry.workload, entry.device, entry.mode, entry.threads, entry.backend
    return work if isinstance(entry, Row) else (*work, entry.phase, entry.batch_size)


def _supported_row(row: Row) -> Row:
    metrics = {name: _bounded(metric) for name, metric in row.metrics.items()}
    return replace(
        row,
        samples_per_second=_supported(row.samples_per_second, _processes(row)),
        metric=row.metric and _bounded(row.metric),
        metrics=metrics,
        seconds_to_target=row.seconds_to_target and _positive(row.seconds_to_target),
    )


def _supported_measurement(measured: Measurement) -> Measurement:
    processes = _processes(measured)
    return replace(
        measured,
        step_seconds=_supported(measured.step_seconds, processes),
        samples_per_second=_supported(measured.samples_per_second, processes),
        fed_samples_per_second=_supported(measured.fed_samples_per_second, processes),
        latency_seconds=_supported(measured.latency_seconds, processes),
    )


def _supported_comparison(compared: Comparison, processes: Mapping[_Work, int]) -> Comparison:
    both = [
        (compared.workload, compared.device, mode, compared.threads, backend)
        for backend, mode in (
            (compared.subject, compared.mode),
            (compared.rival, compared.rival_mode or compared.mode),
        )
    ]
    numbers = [
        processes[key]
        for work in both
        for key in (work, (*work, compared.phase, compared.batch_size))
        if key in processes
    ]
    fewest = min(numbers, default=LEAST_PROCESSES)
    ratio = _supported(compared.ratio, fewest) or compared.ratio
    return replace(
        compared,
        ratio=ratio,
        samples_per_second=_supported(compared.samples_per_second, fewest),
        rival_samples_per_second=_supported(compared.rival_samples_per_second, fewest),
        verdict=verdict(ratio),
    )


def _supported(estimate: Interval | None, processes: int) -> Interval | None:
    return Interval(estimate.median) if estimate and processes < LEAST_PROCESSES else estimate


def _bounded(metric: Metric) -> Metric:
    if not metric.values:
        return metric
    interval = mean_interval(metric.values, BOUNDS.get(metric.name, UNBOUNDED))
    return Metric(metric.name, *interval, metric.values)


def _positive(times: TimeToTarget) -> TimeToTarget:
    reached = [value for value in times.values if value is not None]
    return TimeToTarget(*mean_interval(reached, POSITIVE), times.values) if reached else times


class _Header(Struct, frozen=True):
    """What every version of the schema has."""

    schema_version: int
    bakeoff_version: str
