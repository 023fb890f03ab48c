"""The session: which heat is run when, until the budget is spent or every interval is narrow."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from statistics import median, median_high
from time import monotonic

from ..job import clean_environment, worker_variables
from ..records import Record
from ..stats import Interval, Turns, bootstrap_median, by_process, turn_ratio
from . import analysis
from .heat import Heat
from .task import Task

_SECONDS = 5.0  # of turns, for each case, unless the budget is smaller
_LEAST_PROCESSES = 3  # of a case, before its interval is believed
_MOST_PROCESSES = 20
_NARROW = 0.015  # half an interval over its median

Begin = Callable[[Heat], None]
End = Callable[[Task, int, list[Record]], None]  # of a case's process, of that number


def run(
    heats: Sequence[Heat],
    code: Path,
    peaks: dict[int, list[float]],
    *,
    budget: float,
    timeout: float,
    begin: Begin,
    end: End,
) -> None:
    """Run the heats in rounds; write the SGEMM peaks that are measured to `peaks`, by threads.

    Every heat is run once, whatever the budget in seconds; then on, in rounds that alternate in
    direction, those that were not run three times, or whose intervals are the wider half of those
    that are not narrow enough.
    """
    deadline = monotonic() + budget
    rounds = 0
    while due := _due(heats):
        for threads in sorted({heat.task.execution.threads for heat in heats}):
            peaks.setdefault(threads, []).append(_peak(threads, code))
        for heat in due if rounds % 2 == 0 else reversed(due):
            if rounds and monotonic() > deadline:
                return
            cases = heat.alive
            begin(heat)
            heat.run(min(_SECONDS * len(cases), budget / len(heats)), timeout)
            for case in cases:
                end(case.task, len(case.processes), case.processes[-1])
        rounds += 1


def _due(heats: Sequence[Heat]) -> list[Heat]:
    """Return which to run in the next round, in the order of all."""
    alive = [heat for heat in heats if heat.alive]
    if few := [heat for heat in alive if _runs(heat) < _LEAST_PROCESSES]:
        return few
    widths = {
        id(heat): found
        for heat in alive
        if _runs(heat) < _MOST_PROCESSES and (found := width(heat)) > _NARROW
    }
    middle = median_high(widths.values()) if widths else 0.0
    return [heat for heat in alive if widths.get(id(heat), -1.0) >= middle]


def _runs(heat: Heat) -> int:
    return len(heat.alive[0].processes)


def width(heat: Heat) -> float:
    """Return half the widest interval over its median: of the ratios of the fastest to the others,
    as it is those that are compared; of its speed, if it is alone.
    """
    feed = heat.task.feeds[0]
    found = [analysis.turns(case.processes, case.task, feed) for case in heat.alive]
    fastest = max(found, key=_speed)
    intervals = [turn_ratio(fastest, other) for other in found if other is not fastest]
    if not intervals:
        intervals = [bootstrap_median(by_process(fastest))]
    return max(_relative_width(interval) for interval in intervals)


def _speed(turns: Turns) -> float:
    return median(chain.from_iterable(by_process(turns)))


def _relative_width(interval: Interval | None) -> float:
    return (interval.high - interval.low) / (2 * interval.median) if interval else float("inf")


def _peak(threads: int, code: Path) -> float:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "bakeoff.bench.timing.peak"],
        env=clean_environment() | worker_variables(threads, str(code)),
        capture_output=True,
        check=True,
        text=True,
    )
    return float(done.stdout)
