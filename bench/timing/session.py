"""The session: which case is timed when, until the budget is spent or every interval is narrow."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from .. import process, records
from ..job import clean_environment, worker_variables
from ..records import Measured, Record
from ..stats import Interval
from . import analysis
from .task import Task
from .task import write as write_task

_LEAST_PROCESSES = 3  # of a case, before its interval is believed
_MOST_PROCESSES = 20
_NARROW = 0.015  # half an interval over its median

Show = Callable[[Task, int, list[Record]], None]


@dataclass
class Case:
    """A task, where its processes work, and what each of them recorded."""

    task: Task
    folder: Path
    processes: list[list[Record]] = field(default_factory=list)

    def run(self, timeout: float) -> None:
        """Time it once more, in a fresh process."""
        folder = self.folder / str(len(self.processes))
        write_task(self.task, folder)
        process.work(self.task.arguments, folder, self.task.environment, timeout, lambda _: None)
        self.processes.append(records.read(folder / "records.jsonl"))

    @property
    def ended_badly(self) -> bool:
        """Whether it did not finish: that is its result, and it is not tried again."""
        return any(not isinstance(found[-1], Measured) for found in self.processes)

    @property
    def width(self) -> float:
        """Half the interval over its median, of its speed, or of its ratio to that of a rival."""
        if len(self.processes) < _LEAST_PROCESSES:
            return float("inf")
        if self.task.rival:
            found: Interval | None = analysis.ratio(self.processes)
        else:
            found = analysis.speed(self.processes, self.task)
        return (found.high - found.low) / (2 * found.median) if found else float("inf")


def run(
    cases: Sequence[Case],
    code: Path,
    peaks: dict[int, list[float]],
    *,
    budget: float,
    timeout: float,
    show: Show,
) -> None:
    """Time the cases in rounds; write the SGEMM peaks that are measured to `peaks`, by threads.

    Every case is timed once, whatever the budget in seconds; then on, in rounds that alternate in
    direction, those that do not have three processes, or whose intervals are the wider half of
    those that are not narrow enough.
    """
    deadline = monotonic() + budget
    rounds = 0
    while due := list(_due(cases)):
        for threads in sorted({case.task.execution.threads for case in cases}):
            peaks.setdefault(threads, []).append(_peak(threads, code))
        for case in due if rounds % 2 == 0 else reversed(due):
            if rounds and monotonic() > deadline:
                return
            case.run(timeout)
            show(case.task, rounds, case.processes[-1])
        rounds += 1


def _due(cases: Sequence[Case]) -> Iterable[Case]:
    """Return whom to time in the next round, in the order of all."""
    alive = [case for case in cases if not case.ended_badly]
    if few := [case for case in alive if len(case.processes) < _LEAST_PROCESSES]:
        return few
    widths = {
        id(case): case.width
        for case in alive
        if len(case.processes) < _MOST_PROCESSES and case.width > _NARROW
    }
    median = sorted(widths.values())[len(widths) // 2] if widths else 0.0
    return [case for case in alive if widths.get(id(case), -1.0) >= median]


def _peak(threads: int, code: Path) -> float:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "bakeoff.bench.timing.peak"],
        env=clean_environment() | worker_variables(threads, str(code)),
        capture_output=True,
        check=True,
        text=True,
    )
    return float(done.stdout)
