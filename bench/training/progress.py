"""Live progress of a run: a bar per workload and backend on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import mean
from time import monotonic
from typing import Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from ..printing import say
from ..worker.job import Job
from ..worker.records import (
    Block,
    Ending,
    Epoch,
    Failed,
    Finished,
    Interrupted,
    Measured,
    Record,
    Refused,
    TimedOut,
)

_PLAIN_SECONDS = 10.0


class Display(Protocol):
    """Where a run shows what happens."""

    def __enter__(self) -> Display: ...

    def __exit__(self, *exception: object) -> None: ...

    def expect(self, titles: Sequence[str]) -> None:
        """These jobs will be run; those of one title are a row's."""

    def show(self, job: Job, record: Record) -> None:
        """The running job wrote a record."""


def display(console: Console) -> Display:
    """Return what suits the console."""
    return _Live(console) if console.is_terminal else _Plain(console)


def title(workload: str, backend: str, mode: str) -> str:
    """Name what the jobs of all seeds of a row have in common."""
    return f"{workload} {backend} {mode}"


class _Left:
    """How many jobs are left, and for how long, by what those before them took."""

    def __init__(self, titles: Sequence[str]) -> None:
        self.total = len(titles)
        self._waiting = Counter(titles)
        self._took: dict[str, list[float]] = {}
        self._ended = monotonic()  # the job before

    @property
    def done(self) -> int:
        return self.total - self._waiting.total()

    def end(self, ended: str) -> None:
        now = monotonic()
        self._took.setdefault(ended, []).append(now - self._ended)
        self._ended = now
        self._waiting[ended] -= 1

    def __str__(self) -> str:
        words = f"{self.done} of {self.total} jobs"
        if not self._took or self.done == self.total:
            return words
        seconds = {row: mean(took) for row, took in self._took.items()}
        unknown = mean(seconds.values())
        left = sum(seconds.get(row, unknown) * jobs for row, jobs in self._waiting.items())
        minutes, seconds_left = divmod(round(left), 60)
        return f"{words}, about {minutes}:{seconds_left:02} left"


class _Reading:
    """The latest figures of the running job, in words."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.epoch = job.epochs_done
        self._words = ""
        self._rate = ""

    def update(self, record: Record) -> None:
        if isinstance(record, Block) and record.train_seconds:
            self._rate = f"{record.samples / record.train_seconds:,.0f} samples/s"
        elif isinstance(record, Epoch):
            self.epoch = record.epoch
            metric = self.job.metric
            self._words = f"loss {record.loss:.4g}, {metric} {record.metrics[metric]:.4g}"

    def __str__(self) -> str:
        place = f"epoch {self.epoch}/{self.job.epochs}"
        return ", ".join(part for part in (place, self._words, self._rate) if part)


def _reading_of(job: Job, before: _Reading | None) -> _Reading:
    """Return the reading of a job: the one before, if that is of the same."""
    return before if before and before.job is job else _Reading(job)


def _title(job: Job) -> str:
    return title(job.workload, job.backend, job.execution.mode)


def _ending_words(job: Job, record: Ending) -> str:
    match record:
        case Finished():
            return f"test {job.metric} {record.metrics[job.metric]:.4g}"
        case Refused():
            return f"unsupported: {record.reason}"
        case Failed():
            return f"failed: {record.reason}"
        case TimedOut():
            return f"timed out after {record.seconds:g} s"
        case Interrupted():
            return "interrupted"
        case Measured():
            return "measured"


class _Plain:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._reading: _Reading | None = None
        self._left = _Left([])
        self._spoke = 0.0

    def __enter__(self) -> Display:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def expect(self, titles: Sequence[str]) -> None:
        self._left = _Left(titles)
        self._spoke = monotonic()

    def show(self, job: Job, record: Record) -> None:
        self._reading = _reading_of(job, self._reading)
        self._reading.update(record)
        line = f"{_title(job)} seed {job.seed}: {self._reading}"
        if isinstance(record, Ending):
            self._left.end(_title(job))
            self._say(f"{line}, {_ending_words(job, record)} ({self._left})")
        elif monotonic() - self._spoke > _PLAIN_SECONDS:
            self._say(line)

    def _say(self, line: str) -> None:
        self._spoke = monotonic()
        say(self._console, line)


class _Live:
    def __init__(self, console: Console) -> None:
        self._bars = Progress(
            SpinnerColumn(finished_text="·"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[words]}"),
            TimeElapsedColumn(),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {}
        self._jobs: Counter[str] = Counter()
        self._left = _Left([])
        self._all = self._bars.add_task("all", words="", visible=False)
        self._reading: _Reading | None = None

    def __enter__(self) -> Display:
        self._bars.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bars.stop()

    def expect(self, titles: Sequence[str]) -> None:
        self._jobs = Counter(titles)
        self._left = _Left(titles)
        self._bars.update(self._all, total=len(titles), visible=True)

    def show(self, job: Job, record: Record) -> None:
        self._reading = _reading_of(job, self._reading)
        self._reading.update(record)
        row = _title(job)
        if row not in self._tasks:
            total = (job.epochs - job.epochs_done) * self._jobs[row]
            self._tasks[row] = self._bars.add_task(escape(row), total=total, words="")
        task = self._tasks[row]
        words = f"seed {job.seed}: {self._reading}"
        if isinstance(record, Epoch):
            self._bars.advance(task)
        if isinstance(record, Ending):
            self._left.end(_title(job))
            self._bars.advance(task, job.epochs - self._reading.epoch)
            self._bars.update(self._all, completed=self._left.done, words=str(self._left))
            words = f"seed {job.seed}: {_ending_words(job, record)}"
        self._bars.update(task, words=escape(words))
