"""From the samples of a case to its measurement."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median
from typing import NamedTuple, TypeVar

import numpy as np
from msgspec.structs import replace

from ..results.stats import (
    LEAST_PROCESSES,
    Interval,
    bootstrap_median,
    by_process,
    without_interval,
)
from ..results.status import status_of
from ..results.summary import Audits, Measurement, Parity, Status, is_comparable
from ..worker.records import Built, Feed, FirstSteps, Measured, Record, Sample, Started, ending
from ..worker.task import Task

FOREIGN_CORES = 0.25  # by other processes, in a block: then it is discarded
_MATTERS = 0.02  # relative, of speeds that differ
_LEAST = 3  # blocks of a process
_CLUSTER = 0.2  # of the blocks are in the smaller mode, at least

Process = Sequence[Record]
R = TypeVar("R")


class Blocks(NamedTuple):
    """The blocks of a process that count: seconds by round, threads used, and what was found."""

    seconds: dict[int, float]
    threads_used: float
    discarded: int
    busy: bool  # other processes were at work throughout
    drifting: bool
    recompiled: bool


def blocks(process: Process, feed: Feed) -> Blocks | None:
    """Return the clean blocks of the steady state; None if the process has none."""
    samples = [r for r in process if isinstance(r, Sample) and r.feed == feed]
    if not samples:
        return None
    clean = [sample for sample in samples if _is_clean(sample)]
    busy = len(clean) < min(_LEAST, len(samples))
    kept = samples if busy else clean
    start, drifting = steady([sample.seconds for sample in kept])
    kept = kept[start:]
    compilations = {sample.compilations for sample in kept}
    return Blocks(
        seconds={sample.round: sample.seconds for sample in kept},
        threads_used=sum(s.cpu_seconds for s in kept) / sum(s.seconds for s in kept),
        discarded=0 if busy else len(samples) - len(clean),
        busy=busy,
        drifting=drifting,
        recompiled=len(compilations) > 1,
    )


def _is_clean(sample: Sample) -> bool:
    return sample.foreign_cores is None or sample.foreign_cores <= FOREIGN_CORES


def steady(seconds: Sequence[float]) -> tuple[int, bool]:
    """Return where the steady state begins, and whether there is none.

    It begins at the first block from which on the median of the first quarter is within the range
    of the later half, or within 2 % of its median. Without one, the later half of all counts.
    """
    for start in range(len(seconds) // 2 + 1):
        rest = seconds[start:]
        early, late = median(rest[: max(1, len(rest) // 4)]), rest[len(rest) // 2 :]
        is_near = abs(early / median(late) - 1) <= _MATTERS
        if is_near or min(late) <= early <= max(late):
            return start, False
    return len(seconds) // 2, True


def is_bimodal(values: Sequence[float]) -> bool:
    """Return whether values fall into two groups: the widest gap parts them by more than 2 % and
    by more than either group is wide, and a fifth of them or more is on either side.
    """
    ordered = np.sort(np.asarray(values))
    if len(ordered) < 2 / _CLUSTER:
        return False
    cut = int(np.argmax(np.diff(ordered))) + 1
    low, high = ordered[:cut], ordered[cut:]
    gap = high[0] - low[-1]
    wide = max(low[-1] - low[0], high[-1] - high[0], _MATTERS * float(np.median(ordered)))
    return bool(gap > wide and min(len(low), len(high)) >= _CLUSTER * len(ordered))


def turns(processes: Iterable[Process], task: Task, feed: Feed) -> list[dict[int, float]]:
    """Return the steady samples/s by process, then by round."""
    by_process_blocks = [blocks(process, feed) for process in processes]
    return [_rates(blocks_of, task) for blocks_of in by_process_blocks if blocks_of]


def _rates(kept: Blocks, task: Task) -> dict[int, float]:
    samples = task.steps * task.batch_size
    return {number: samples / seconds for number, seconds in kept.seconds.items()}


def speed(processes: Iterable[Process], task: Task, feed: Feed) -> Interval | None:
    """Return the samples/s with its interval."""
    speeds = turns(processes, task, feed)
    return bootstrap_median(by_process(speeds)) if speeds else None


def measurement(
    task: Task,
    processes: Sequence[Process],
    *,
    rivals: Sequence[Process] = (),
    peak: float,
    certificates: tuple[Parity | None, Parity | None] = (None, None),
    audits: Audits | None = None,
) -> Measurement:
    """Return what all processes of a case say; `peak` is the SGEMM's GFLOP/s, `certificates` are
    those in the case's own dtype and in float64.

    The ending of a rival that did not finish is that of the adapter beside it too.
    """
    status, reason = _status([*processes, *rivals])
    done = [process for process in processes if _last(process, Measured)]
    steady_blocks = [kept for process in done if (kept := blocks(process, "staged"))]
    rates = [_rates(kept, task) for kept in steady_blocks]
    staged = by_process(rates)
    fast = bootstrap_median(staged) if staged else None
    flops = task.model.cost
    per_sample = flops.training_flops if task.phase == "train" else flops.forward_flops
    gflops = fast.median * per_sample / 1e9 if fast else None
    ends = _all(done, Measured)
    latencies = [end.latencies for end in ends if end.latencies]
    started = _all(processes, Started)
    splits = [end.split for end in ends if end.split]
    threads_used = _median(kept.threads_used for kept in steady_blocks)
    execution = task.execution
    measured = Measurement(
        workload=task.name,
        backend=task.backend,
        framework_version=started[0].framework_version if started else None,
        device=execution.device,
        dtype=execution.dtype,
        mode=execution.mode,
        threads=execution.threads,
        phase=task.phase,
        batch_size=task.batch_size,
        status=status,
        reason=reason,
        processes=len(done),
        steps_per_block=task.steps,
        import_seconds=_median(r.import_seconds for r in started),
        build_seconds=_median(r.build_seconds for r in _all(done, Built)),
        stage_seconds=_median(r.stage_seconds for r in _all(done, FirstSteps))
        if task.phase == "train"
        else None,
        first_step_seconds=_median(r.step_seconds for r in _all(done, FirstSteps)),
        step_seconds=fast.under(task.batch_size) if fast else None,
        samples_per_second=fast,
        fed_samples_per_second=speed(done, task, "fed"),
        latency_seconds=bootstrap_median(latencies) if latencies else None,
        peak_rss_mb=_median(end.peak_rss_mb for end in ends),
        device_memory_mb=_median(
            end.device_memory_mb for end in ends if end.device_memory_mb is not None
        ),
        gflops=gflops,
        percent_of_peak=100 * gflops / peak
        if gflops is not None and execution.device == "cpu"
        else None,
        threads_used=threads_used,
        split={name: median(split[name] for split in splits) for name in splits[0]}
        if splits
        else {},
        blocks=staged,
        rounds=[list(kept) for kept in rates],
        rival=task.rival,
        discarded=sum(kept.discarded for kept in steady_blocks),
        flags=list(_flags(steady_blocks, staged, threads_used, execution.threads)),
        settings=ends[0].settings if ends else {},
        environment=task.environment,
        parity=certificates[0],
        parity_float64=certificates[1],
        audits=audits,
    )
    return replace(measured, comparable=is_comparable(measured))


def _flags(
    steady_blocks: Sequence[Blocks],
    staged: Sequence[Sequence[float]],
    threads_used: float | None,
    threads: int,
) -> Iterable[str]:
    if threads_used is not None and threads_used > threads + 0.15:
        yield f"used {threads_used:.1f} threads, {threads} asked"
    elif threads_used is not None and threads > 1 and threads_used < 0.6 * threads:
        yield f"used {threads_used:.1f} of {threads} threads"
    for name in ("recompiled", "drifting", "busy"):
        if count := sum(getattr(kept, name) for kept in steady_blocks):
            yield f"{_FLAGS[name]} in {count} of {len(steady_blocks)} processes"
    if 0 < len(steady_blocks) < LEAST_PROCESSES:
        yield without_interval(len(steady_blocks))
    if is_bimodal([rate for kept in staged for rate in kept]):
        yield "two modes: the speed is either of two"


_FLAGS = {
    "recompiled": "compiled in the steady state",
    "drifting": "no steady state",
    "busy": "the machine was busy",
}


def _status(processes: Sequence[Process]) -> tuple[Status, str | None]:
    """Return the ending of the first process that did not finish, or that it is all well."""
    ends = [status_of(ending(list(process))) for process in processes]
    return next((end for end in ends if end[0] != "ok"), ("ok", None))


def _last(process: Process, kind: type[Measured]) -> bool:
    return bool(process) and isinstance(process[-1], kind)


def _all(processes: Iterable[Process], kind: type[R]) -> list[R]:
    return [record for process in processes for record in process if isinstance(record, kind)]


def _median(values: Iterable[float]) -> float | None:
    known = list(values)
    return median(known) if known else None
