"""The session: which race is run when, until the budget is spent or every interval is narrow."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from statistics import median, median_high
from time import monotonic

from ..environments.process import clean_environment, worker_variables
from ..results.stats import (
    LEAST_PROCESSES,
    Interval,
    Turns,
    bootstrap_median,
    by_process,
    turn_ratio,
)
from ..worker.records import Record
from ..worker.task import Task
from . import analysis
from .race import Race

_SECONDS = 5.0  # of turns, for each entrant, unless the budget is smaller
_MOST_PROCESSES = 20
_NARROW = 0.015  # half an interval over its median

Begin = Callable[[Race], None]
End = Callable[[Task, int, list[Record]], None]  # of a entrant's process, of that number


def run(
    races: Sequence[Race],
    code: Path,
    peaks: dict[int, list[float]],
    *,
    budget: float,
    timeout: float,
    begin: Begin,
    end: End,
    spent: float = 0.0,
) -> None:
    """Run the races in rounds; write the SGEMM peaks that are measured to `peaks`, by threads.

    Every race is run once, whatever the budget in seconds, of which some were `spent` before; then
    on, in rounds that alternate in direction, those that were not run three times, or whose
    intervals are the wider half of those that are not narrow enough.
    """
    counts = sorted({race.task.execution.threads for race in races})
    if not _due(races):
        peaks |= {threads: [_peak(threads, code)] for threads in counts if threads not in peaks}
    deadline = monotonic() + budget - spent
    rounds = 0
    while due := _due(races):
        for threads in counts:
            peaks.setdefault(threads, []).append(_peak(threads, code))
        for race in due if rounds % 2 == 0 else reversed(due):
            if race.was_run and monotonic() > deadline:
                return
            entrants = race.alive
            begin(race)
            race.run(min(_SECONDS * len(entrants), budget / len(races)), timeout)
            for entrant in entrants:
                end(entrant.task, len(entrant.processes), entrant.processes[-1])
        rounds += 1


def _due(races: Sequence[Race]) -> list[Race]:
    """Return which to run in the next round, in the order of all."""
    if new := [race for race in races if not race.was_run]:
        return new
    alive = [race for race in races if race.alive]
    if few := [race for race in alive if _runs(race) < LEAST_PROCESSES]:
        return few
    widths = {
        id(race): half_width
        for race in alive
        if _runs(race) < _MOST_PROCESSES and (half_width := width(race)) > _NARROW
    }
    middle = median_high(widths.values()) if widths else 0.0
    return [race for race in alive if widths.get(id(race), -1.0) >= middle]


def _runs(race: Race) -> int:
    return len(race.alive[0].processes)


def width(race: Race) -> float:
    """Return half the widest interval over its median: of the ratios of the fastest to the others,
    as it is those that are compared; of its speed, if it is alone.
    """
    feed = race.task.feeds[0]
    speeds = [analysis.turns(entrant.processes, entrant.task, feed) for entrant in race.alive]
    fastest = max(speeds, key=_speed)
    intervals = [turn_ratio(fastest, other) for other in speeds if other is not fastest]
    if not intervals:
        intervals = [bootstrap_median(by_process(fastest))]
    return max(_relative_width(interval) for interval in intervals)


def _speed(turns: Turns) -> float:
    return median(chain.from_iterable(by_process(turns)))


def _relative_width(interval: Interval | None) -> float:
    if interval is None or interval.low is None or interval.high is None:
        return math.inf
    return (interval.high - interval.low) / (2 * interval.median)


def _peak(threads: int, code: Path) -> float:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "bakeoff.bench.worker.peak"],
        env=clean_environment() | worker_variables(threads, str(code)),
        capture_output=True,
        check=True,
        text=True,
    )
    return float(done.stdout)
