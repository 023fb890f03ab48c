"""A process ends with the one that started it, however that one ends, and may wait for its word.

Run as a script it becomes the command that it is given, which then ends so.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from contextlib import suppress
from typing import IO, NoReturn

VARIABLE = "BAKEOFF_PARENT"  # the process that started this one; by hand there is none
_PR_SET_PDEATHSIG = 1  # prctl(2)


def end_with_parent(parent: int | None = None) -> None:
    """Have the system kill this process when its parent is gone; end now if that is so already.

    The parent is that of the variable, if it is not given.

    Linux does it when the thread that started this process ends: who starts one waits for it.
    """
    if parent is None:
        if VARIABLE not in os.environ:
            return
        parent = int(os.environ[VARIABLE])
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def wait_for_turn() -> None:
    """Wait until the process that started this one lets it go on; one run by hand does at once."""
    if VARIABLE in os.environ and not sys.stdin.buffer.readline():
        os._exit(1)  # nobody will


def let_go(stdin: IO[bytes]) -> None:
    """Let a process go on that waits for its turn, by what it reads."""
    with suppress(BrokenPipeError):  # it is dead
        stdin.write(b"\n")
        stdin.close()


def leave(code: int) -> NoReturn:
    """End this process now: tearing a framework down takes up to 0.7 s, and all is written."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    end_with_parent()  # which holds for what it becomes
    os.execv(sys.argv[1], sys.argv[1:])
