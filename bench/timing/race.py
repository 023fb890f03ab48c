"""A race: entrants of equal work, each in a process of its own, all alive at once, taking turns.

The turns of a round are neighbours: what a busy machine does to one, it does to the next. Whoever
waits for a turn does nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from random import randrange
from select import select
from subprocess import Popen, TimeoutExpired
from time import monotonic, sleep

from ..environments import process
from ..worker import records
from ..worker.records import Failed, Feed, Interrupted, Measured, Record, TimedOut
from ..worker.task import Task
from ..worker.task import write as write_task

_REST_SECONDS = 0.25  # Intel's OpenMP spins for 0.2 s
_LEAST_ROUNDS = 5
_MOST_SECONDS = 60.0  # then three are enough
_ALL_FEEDS_EVERY = 3  # rounds; else what is compared alone


@dataclass
class Entrant:
    """A task, where its processes work, and what each of them recorded."""

    task: Task
    folder: Path
    processes: list[list[Record]] = field(default_factory=list)

    @property
    def ended_badly(self) -> bool:
        """Whether it did not finish: that is its result, and it is not tried again."""
        return any(not isinstance(journal[-1], Measured) for journal in self.processes)


@dataclass
class Race:
    """Cases of the same work and execution; or an adapter's and its rival's."""

    entrants: list[Entrant]

    @property
    def task(self) -> Task:
        """The first one's: what all have in common is in it."""
        return self.entrants[0].task

    @property
    def alive(self) -> list[Entrant]:
        """Who is run: those that did not end badly, and an adapter and its rival only together."""
        alive = [entrant for entrant in self.entrants if not entrant.ended_badly]
        return alive if len(alive) == len(self.entrants) or not self.task.rival else []

    @property
    def adapters(self) -> list[Entrant]:
        """Those that time an adapter."""
        return [entrant for entrant in self.entrants if not entrant.task.as_rival]

    @property
    def rivals(self) -> list[list[Record]]:
        """What the processes of a rival recorded."""
        return [
            journal
            for entrant in self.entrants
            if entrant.task.as_rival
            for journal in entrant.processes
        ]

    @property
    def was_run(self) -> bool:
        """Whether there is a result."""
        return all(entrant.processes for entrant in self.entrants)

    def run(self, seconds: float, timeout: float) -> None:
        """Time each that is alive once more, in a fresh process: turns for `seconds`, five each at
        least.

        They are made ready one after the other, and measure what is left after the last turn
        likewise. One that takes longer than `timeout` seconds to get ready, for a turn, or for its
        end, is ended: that is its result.
        """
        with ExitStack() as stack:
            runners = [_Runner(entrant, timeout) for entrant in self.alive]
            for runner in runners:
                stack.callback(runner.conclude)
                runner.start(stack)
            drawn = {0, randrange(1, _LEAST_ROUNDS)}
            for number, order, is_last in self._rounds(runners, seconds):
                self._round(order, number, noted=is_last or number in drawn)
            for runner in runners:
                runner.finish()
        for runner in runners:
            runner.entrant.processes.append(runner.recorded())

    def _round(self, runners: Sequence[_Runner], number: int, *, noted: bool) -> None:
        feeds = self.task.feeds if number % _ALL_FEEDS_EVERY == 0 else self.task.feeds[:1]
        for runner in runners:
            for feed in feeds:
                sleep(self._rest)
                runner.take(feed, number, noted=noted)

    @property
    def _rest(self) -> float:
        """Seconds before a turn, in which the threads of others stop spinning."""
        several = len(self.entrants) > 1 and self.task.execution.threads > 1
        return _REST_SECONDS if several else 0.0

    def _rounds(
        self, runners: Sequence[_Runner], enough: float
    ) -> Iterator[tuple[int, list[_Runner], bool]]:
        """Yield number and order of each round, every other one backwards, for `enough` seconds;
        and whether it is the last.
        """
        began = monotonic()
        least = 2 if self.task.rival else 1
        for number in count():
            alive = [runner for runner in runners if runner.is_alive]
            if len(alive) < least:
                return
            is_last = _is_enough(number + 1, monotonic() - began, enough)
            yield number, alive if number % 2 == 0 else alive[::-1], is_last
            if is_last:
                return


def _is_enough(rounds: int, seconds: float, enough: float) -> bool:
    if rounds < _LEAST_ROUNDS:
        return rounds >= 3 and seconds > _MOST_SECONDS
    return seconds > enough


class _Runner:
    """The process of a entrant: it acts when it is told to, and answers when it is done."""

    def __init__(self, entrant: Entrant, timeout: float) -> None:
        self.entrant = entrant
        self.folder = entrant.folder / str(len(entrant.processes))
        self.journal = self.folder / "records.jsonl"
        self._timeout = timeout
        self._worker: Popen[bytes] | None = None  # None as soon as it is known to have ended
        self._death: Record = Interrupted()

    @property
    def is_alive(self) -> bool:
        return self._worker is not None

    def start(self, stack: ExitStack) -> None:
        """Start it, to be ended with the stack, and wait until it is ready."""
        task = self.entrant.task
        try:
            write_task(task, self.folder)
            self._worker = stack.enter_context(
                process.started(
                    task.arguments, self.folder, task.environment, hears=True, answers=True
                )
            )
        except (process.NotStarted, OSError) as error:  # a disk is full
            self._death = Failed(reason=str(error))
            return
        self._await(self._worker)

    def take(self, feed: Feed, number: int, *, noted: bool) -> None:
        """Let it take its turn in a round, if it is alive; its last block is noted, or is not."""
        if self._worker:
            assert self._worker.stdin
            with suppress(BrokenPipeError):
                how = "noted" if noted else "plain"
                self._worker.stdin.write(f"{feed} {number} {how}\n".encode())
            self._await(self._worker)

    def finish(self) -> None:
        """Let it measure what is left, and end."""
        if self._worker:
            assert self._worker.stdin
            self._worker.stdin.close()
            self._await(self._worker)

    def conclude(self) -> None:
        """Write down how it ended, if it could not."""
        process.conclude(self.journal, self._death)

    def recorded(self) -> list[Record]:
        """Return what it recorded; where nothing could be written, how it ended."""
        with suppress(OSError, ValueError):
            if journal := records.read(self.journal):
                return journal
        return [self._death]

    def _await(self, worker: Popen[bytes]) -> None:
        """Wait for its answer, or its end."""
        assert worker.stdout
        ready, _, _ = select([worker.stdout], [], [], self._timeout)
        if ready and os.read(worker.stdout.fileno(), 1):
            return
        self._worker = None
        try:
            code = worker.wait(self._timeout if ready else 0)
            self._death = Failed(reason=process.cause_of_death(code))
        except TimeoutExpired:
            process.end(worker)
            self._death = TimedOut(seconds=self._timeout)
