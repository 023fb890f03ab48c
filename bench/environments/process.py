"""One worker process: in which environment it is started, what it writes, and how it ended."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
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
    arguments: list[str], folder: Path, environment: Mapping[str, str], *, piped: bool = False
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a worker; at the end, end it and all that it started. Its output goes to `log.txt`.

    `environment` comes on top of the user's. `piped`: stdin and stdout are the caller's, to talk
    with the worker. Raises NotStarted.
    """
    with (folder / "log.txt").open("ab") as log:
        try:
            process = subprocess.Popen(
                arguments,
                cwd=folder,
                env=clean_environment() | dict(environment),
                stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
                stdout=subprocess.PIPE if piped else log,
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


def work(
    arguments: list[str], folder: Path, environment: Mapping[str, str], timeout: float, show: Show
) -> None:
    """Run a worker that writes `records.jsonl` in its folder; `show` gets each record as it comes.

    Whatever happens, the last record says how it ended: the parent appends it if the worker could
    not. On KeyboardInterrupt the worker is ended, that record written, and the interrupt raised
    again.
    """
    journal = folder / "records.jsonl"
    death: Record = Interrupted()
    try:
        with started(arguments, folder, environment) as process:
            death = _follow(process, journal, timeout, show)
    except (NotStarted, OSError, ValueError) as error:  # or it wrote what are no records
        death = Failed(reason=str(error))
    finally:
        if conclude(journal, death):
            show(death)


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


def _follow(process: subprocess.Popen[bytes], journal: Path, timeout: float, show: Show) -> Record:
    """Show records as they come until the worker ends; return what its ending is by default."""
    deadline = monotonic() + timeout
    offset = 0
    while True:
        alive = process.poll() is None
        fresh, offset = records.tail(journal, offset)
        for record in fresh:
            show(record)
        if not alive:
            return Failed(reason=cause_of_death(process.returncode))
        if monotonic() > deadline:
            return TimedOut(seconds=timeout)
        sleep(_POLL_SECONDS)


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
