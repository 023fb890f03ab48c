"""Processes that judge: of one BLAS thread each, and gone when the parent goes on."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

from ...models import InputError
from ..environments import machine
from ..worker.parent import end_with_parent


@contextmanager
def judges(tasks: int, *, few: int = 1) -> Iterator[Executor]:
    """Give an executor with as many processes as there are cores; for a few tasks, a thread, as
    processes take a second to start. Whatever is not done at the end is dropped.

    Raises InputError when one of them was killed.
    """
    if tasks <= few:
        with ThreadPoolExecutor(1) as thread:
            yield thread
        return
    before = os.environ.get("OPENBLAS_NUM_THREADS")
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # NumPy reads it when it is loaded
    executor = ProcessPoolExecutor(
        min(tasks, machine.usable_cores()),
        multiprocessing.get_context("spawn"),
        initializer=_begin,
        initargs=(os.getpid(),),
    )
    try:
        yield executor
    except BrokenProcessPool:
        raise InputError(
            "a process that judges was killed (often: out of memory); free some memory, "
            "and go on: what was recorded is kept"
        ) from None
    finally:
        # Not by its queue: a process that died with the lock of it would be waited for for ever.
        for process in multiprocessing.active_children():
            process.kill()
        executor.shutdown(wait=False, cancel_futures=True)
        if before is None:
            del os.environ["OPENBLAS_NUM_THREADS"]
        else:
            os.environ["OPENBLAS_NUM_THREADS"] = before


def _begin(parent: int) -> None:
    end_with_parent(parent)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # are for the parent, which ends this process
