"""A worker ends with the process that started it, however that one ends."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

VARIABLE = "BAKEOFF_PARENT"  # the process that started this one; by hand there is none
_PR_SET_PDEATHSIG = 1  # prctl(2)


def end_with_parent() -> None:
    """Have the system kill this process when its parent is gone; end now if that is so already.

    Linux does it when the thread that started this process ends: who starts one waits for it.
    """
    parent = os.environ.get(VARIABLE)
    if parent is None:
        return
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):
        os._exit(1)
