"""Processes that judge: of one BLAS thread each, and gone when the parent goes on.

Each is an interpreter that is sent what to call, through pipes of its own. No `multiprocessing`: it
would run the script that imported us again in each of them, and its queues outlive no death.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from queue import SimpleQueue
from typing import Any

from ...models import InputError
from ..environments import machine
from ..environments.process import end, same_modules
from ..worker.parent import end_with_parent

_Process = subprocess.Popen[bytes]


@contextmanager
def judges(tasks: int, *, few: int = 1) -> Iterator[Executor]:
    """Give an executor with as many processes as there are cores; for a few tasks, a thread, as
    processes take a second to start. Whatever is not done at the end is dropped.

    A future raises InputError when the process that had its task was killed.
    """
    if tasks <= few:
        with ThreadPoolExecutor(1) as thread:
            yield thread
        return
    count = min(tasks, machine.usable_cores())
    # Processes end, and so the threads that wait for them, and then nothing reads the pipes.
    with ExitStack() as pipes, ThreadPoolExecutor(count) as threads, ExitStack() as processes:
        idle: SimpleQueue[_Process] = SimpleQueue()
        for _ in range(count):
            process = _start()
            processes.callback(end, process)
            pipes.callback(_close, process)
            idle.put(process)
        yield _Judges(threads, idle)


class _Judges(Executor):
    """As many threads as processes: each sends its call to a process that is idle."""

    def __init__(self, threads: Executor, idle: SimpleQueue[_Process]) -> None:
        self._threads, self._idle = threads, idle

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return self._threads.submit(self._ask, pickle.dumps((fn, args, kwargs)))

    def _ask(self, call: bytes) -> Any:
        process = self._idle.get()
        assert process.stdin
        assert process.stdout
        try:
            process.stdin.write(call)
            process.stdin.flush()
            value, error = pickle.load(process.stdout)
        except (OSError, EOFError, pickle.UnpicklingError):
            raise InputError(
                "a process that judges was killed (often: out of memory); free some memory, "
                "and go on: what was recorded is kept"
            ) from None
        finally:
            self._idle.put(process)
        if error is not None:
            raise error
        return value


def _start() -> _Process:
    """Start a process that judges and finds the modules that this one does."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", __name__],
        env=same_modules() | {"OPENBLAS_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for this process, which ends the whole session
    )


def _close(process: _Process) -> None:
    for pipe in (process.stdin, process.stdout):
        with suppress(OSError):  # what was not sent, nobody reads
            assert pipe
            pipe.close()


def _serve() -> None:
    """Call what comes, and answer with its value or its error, until nothing comes any more."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    while True:
        try:
            function, arguments, named = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        answer: tuple[Any, Exception | None]
        try:
            answer = function(*arguments, **named), None
        except Exception as error:
            error.add_note(traceback.format_exc())
            answer = None, error
        answers.write(pickle.dumps(answer))
        answers.flush()


if __name__ == "__main__":
    end_with_parent()
    _serve()
