"""From measurements to ratios: between backends, over a rival's own code, across batch sizes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, Literal

import numpy as np
from msgspec import structs

from ..results.speeds import Speed, compared, fields, ratio
from ..results.stats import bootstrap_median, by_process, verdict
from ..results.summary import Comparison, Measurement
from . import analysis
from .race import Race

_CLIFF = 0.5  # of the speed with one thread
_LEAST_SIZES = 3  # that a line is fitted through


def between_backends(
    measurements: Sequence[Measurement], asked: Sequence[str]
) -> Iterator[Comparison]:
    """Compare those of the same work with each other, in the modes `asked` for."""
    for _, group in groupby(sorted(measurements, key=_work), key=_work):
        for alike in fields(list(group), asked):
            yield from compared(alike, alike[0].phase, alike[0].batch_size)


def with_rival(race: Race, kind: Literal["native", "peers"]) -> Comparison | None:
    """Compare an adapter with the rival that it took turns with; None if one did not finish."""
    if not race.alive:
        return None
    task = race.task
    turns = [analysis.turns(entrant.processes, task, task.feeds[0]) for entrant in race.entrants]
    ours, theirs = (Speed(by_process(speeds), turns=speeds) for speeds in turns)
    times = ratio(ours, theirs)
    return Comparison(
        kind=kind,
        workload=task.name,
        phase=task.phase,
        batch_size=task.batch_size,
        device=task.execution.device,
        threads=task.execution.threads,
        mode=task.execution.mode,
        subject=task.backend,
        rival=str(task.rival),
        ratio=times,
        samples_per_second=bootstrap_median(ours.blocks),
        rival_samples_per_second=bootstrap_median(theirs.blocks),
        verdict=verdict(times),
    )


def with_overheads(measurements: Sequence[Measurement]) -> list[Measurement]:
    """Add the host's overhead per step: a, of seconds = a + b · batch, over three sizes or more.

    Least squares of the relative errors, a >= 0.
    """
    overheads: dict[tuple[Any, ...], float] = {}
    for series, group in groupby(sorted(measurements, key=_series), key=_series):
        points = [(m.batch_size, m.step_seconds.median) for m in group if m.step_seconds]
        if len(points) >= _LEAST_SIZES:
            sizes, seconds = np.array(points, float).T
            terms = np.stack([1 / seconds, sizes / seconds], axis=1)
            overheads[series] = max(0.0, float(np.linalg.lstsq(terms, np.ones(len(points)))[0][0]))
    return [structs.replace(m, overhead_seconds=overheads.get(_series(m))) for m in measurements]


def with_cliffs(measurements: Sequence[Measurement]) -> list[Measurement]:
    """Flag what is less than half as fast with more threads than with one."""
    single = {_less(m, "threads"): _speed(m) for m in measurements if m.threads == 1}

    def flagged(m: Measurement) -> Measurement:
        before = single.get(_less(m, "threads"), 0.0)
        if not m.samples_per_second or _speed(m) >= _CLIFF * before:
            return m
        words = (
            f"a cliff: {_speed(m) / before:.2f} of the speed with 1 thread; threads that wait for "
            "one another asleep are slow to wake, and those that spin starve when a core is taken"
        )
        return structs.replace(m, flags=[*m.flags, words])

    return [flagged(m) for m in measurements]


def _speed(measurement: Measurement) -> float:
    rate = measurement.samples_per_second
    return rate.median if rate else 0.0


def _work(m: Measurement) -> tuple[Any, ...]:
    return m.workload, m.phase, m.batch_size, m.threads, m.device, m.dtype


def _series(m: Measurement) -> tuple[Any, ...]:
    return _less(m, "batch_size")


def _less(m: Measurement, part: str) -> tuple[Any, ...]:
    parts = ("workload", "backend", "mode", "phase", "device", "dtype", "threads", "batch_size")
    return tuple(getattr(m, name) for name in parts if name != part)
