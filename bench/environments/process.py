"""Worker processes: in which environment one is started, what it writes, and how it ended."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from ..worker import parent, records
from ..worker.records import Failed, Interrupted, Record, TimedOut

_POLL_SECONDS = 0.05
_TETHERED: set[subprocess.Popen[str]] = set()

Show = Callable[[Record], None]


class NotStarted(Exception):  # noqa: N818  a result with a reason
    """A worker that could not be started."""


@contextmanager
def started(
    arguments: list[str],
    folder: Path,
    environment: Mapping[str, str],
    *,
    hears: bool = False,
    answers: bool = False,
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a worker; at the end, end it and all that it started. Its output goes to `log.txt`.

    `environment` comes on top of the user's. `hears`: its stdin is the caller's, and if it
    `answers`, its stdout. Raises NotStarted.
    """
    with (folder / "log.txt").open("ab") as log:
        try:
            process = subprocess.Popen(
                arguments,
                cwd=folder,
                env=clean_environment() | dict(environment),
                stdin=subprocess.PIPE if hears else subprocess.DEVNULL,
                stdout=subprocess.PIPE if answers else log,
                stderr=log,
                bufsize=0,
                start_new_session=True,  # Ctrl-C is for the parent, which ends the whole session
            )
        except OSError as error:
            raise NotStarted(f"{arguments[0]} cannot be started: {error.strerror}") from None
    with process:  # which closes its pipes
        try:
            yield process
        finally:
            end(process)


@contextmanager
def tethered(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    """Run a program that is none of ours, all that it prints piped; at the end, or when this
    process is killed, it is ended, and at the end all that it started.
    """
    process = subprocess.Popen(
        [sys.executable, "-I", parent.__file__, *command],
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,  # Ctrl-C is for this process, which ends the whole session
    )
    _TETHERED.add(process)
    with process:
        try:
            yield process
        finally:
            _TETHERED.discard(process)
            end(process)


def end_tethered() -> None:
    """End the programs that other threads wait for."""
    for process in list(_TETHERED):
        end(process)


def end(worker: subprocess.Popen[Any]) -> None:
    """End a worker that was started here, and all that it started."""
    with suppress(ProcessLookupError):
        os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()


class Worker:
    """A worker that writes `records.jsonl` in its folder: it imports its framework and waits, then
    works to its end, and `show` gets each record as it comes.
    """

    def __init__(
        self, arguments: list[str], folder: Path, environment: Mapping[str, str], show: Show
    ) -> None:
        self._command = arguments, folder, environment
        self._journal = folder / "records.jsonl"
        self._show = show
        self._open = ExitStack()
        self._process: subprocess.Popen[bytes] | None = None
        self._failure = ""
        self._deadline = 0.0

    def start(self, timeout: float) -> None:
        """Have it import, for `timeout` seconds at most."""
        self._deadline = monotonic() + timeout
        try:
            self._process = self._open.enter_context(started(*self._command, hears=True))
        except (NotStarted, OSError) as error:
            self._failure = str(error)

    @property
    def has_imported(self) -> bool:
        """Whether it waits for its turn, or will never come to that."""
        if self._process is None or self._process.poll() is not None:
            return True
        return self._has_told or monotonic() > self._deadline

    @property
    def _has_told(self) -> bool:
        return self._journal.is_file() and self._journal.stat().st_size > 0

    def work(self, timeout: float) -> None:
        """Let it go on, for `timeout` seconds at most.

        Whatever happens, the last record says how it ended: it is appended here if the worker could
        not. On KeyboardInterrupt the worker is ended, and that record written.
        """
        death: Record = Interrupted()
        try:
            death = self._follow(timeout)
        except (OSError, ValueError) as error:  # what it wrote are no records
            death = Failed(reason=str(error))
        finally:
            self._open.close()
            if conclude(self._journal, death):
                self._show(death)

    def drop(self) -> None:
        """End it before its turn, as if it had not been run."""
        if self._process:
            self._open.close()
            self._journal.unlink(missing_ok=True)

    def _follow(self, timeout: float) -> Record:
        """Show records as they come until it ends; return what its ending is by default."""
        process, offset = self._process, 0
        if process is None:
            return Failed(reason=self._failure)
        if self._has_told:
            self._deadline = monotonic() + timeout
            assert process.stdin
            parent.let_go(process.stdin)
        while True:
            alive = process.poll() is None
            fresh, offset = records.tail(self._journal, offset)
            for record in fresh:
                self._show(record)
            if not alive:
                return Failed(reason=cause_of_death(process.returncode))
            if monotonic() > self._deadline:
                return TimedOut(seconds=timeout)
            sleep(_POLL_SECONDS)


def work_in_turn(workers: Sequence[Worker], timeout: float, *, importing: int) -> None:
    """Have workers import, as many at once as `importing`; then have one after another work.

    Nothing else goes on while one works. On KeyboardInterrupt all are ended, and it is raised
    again.
    """
    unborn, idle = deque(workers), deque(workers)
    try:
        young: list[Worker] = []
        while unborn or young:
            young = [worker for worker in young if not worker.has_imported]
            while unborn and len(young) < importing:
                young.append(unborn.popleft())
                young[-1].start(timeout)
            sleep(_POLL_SECONDS)
        while idle:
            idle.popleft().work(timeout)
    finally:
        for worker in idle:
            worker.drop()


def conclude(journal: Path, death: Record) -> bool:
    """Append how the worker ended, unless it could say so itself; return whether that was so.

    Behind what cannot be read, or on a disk without room for another line, it stands alone; if
    there is no room even for that, nowhere: such a job counts as not run yet.
    """
    try:
        if records.ending(records.read(journal)) is not None:
            return False
        records.append(journal, death)
    except (OSError, ValueError):
        with suppress(OSError):
            journal.unlink(missing_ok=True)
            records.append(journal, death)
    return True


def cause_of_death(exit_code: int) -> str:
    """Say in one line how a worker ended that left no ending."""
    if exit_code in (errno.ENOSPC, errno.EDQUOT):  # see `records.fail`
        return f"{os.strerror(exit_code)}: not even that could be written; free space"
    if exit_code >= 0:
        return f"the worker ended with exit code {exit_code}; see log.txt"
    name = signal.Signals(-exit_code).name
    hint = " (often: out of memory)" if name == "SIGKILL" else ""
    return f"the worker was killed by {name}{hint}; see log.txt"


def worker_variables(threads: int, code: str) -> dict[str, str]:
    """Return the variables that a worker gets on top of the user's: its code and its threads."""
    count = str(threads)
    return {
        "PYTHONPATH": code,
        # An adapter that is edited twice in a second would be taken from the bytecode of the first.
        "PYTHONDONTWRITEBYTECODE": "1",
        # glibc, or memory freed after a step goes back to the system and is cleared again for the
        # next: up to a third of a step, in one process and not in another. The last is for heaps of
        # other threads (JAX's, MXNet's): an empty one, of 64 MiB at most, goes back unless more is
        # to be kept. One arena for all would need none such, but there threads wait for each other:
        # Keras's LSTM on two, a tenth of a step.
        "MALLOC_MMAP_THRESHOLD_": str(2**25),
        "MALLOC_TRIM_THRESHOLD_": str(2**30),
        "MALLOC_TOP_PAD_": str(2**26),
        "OMP_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "TF_NUM_INTRAOP_THREADS": count,
        "TF_NUM_INTEROP_THREADS": "1",
        "NPROC": count,  # what XLA's CPU client takes for the number of cores
    }


def same_modules() -> dict[str, str]:
    """Return the environment of a process of this interpreter that finds what this one does."""
    return clean_environment() | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def clean_environment() -> dict[str, str]:
    """Return the environment of a process that is started here: the user's, less what would
    redirect another interpreter's imports, and who it ends with.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return kept | {parent.VARIABLE: str(os.getpid())}
