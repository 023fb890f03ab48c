"""What tests of real processes need: to wait for them, and to interrupt them."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from contextlib import suppress

import psutil


def mind_interrupts() -> None:
    """What a shell puts in the background is deaf to SIGINT, and so are all its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def children_with(word: str, pid: int) -> list[psutil.Process]:
    """Return what a process has started, and all that these have, with a word in its command."""
    found = []
    for child in psutil.Process(pid).children(recursive=True):
        with suppress(psutil.Error):  # it has ended meanwhile
            if any(word in part for part in child.cmdline()):
                found.append(child)
    return found
