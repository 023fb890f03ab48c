"""Signals that end a command: the first asks it to stop, the next ends it where it is."""

from __future__ import annotations

import atexit
import os
import signal
import sys
from contextlib import suppress
from time import monotonic
from types import FrameType

_APART = 0.1  # seconds: `timeout` sends one signal to its command, and again to the command's group
_SHOW_CURSOR = b"\x1b[?25h"
EXIT_CODE = 130
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def listen() -> None:
    """Turn the first of SIGINT and SIGTERM into KeyboardInterrupt, said at once on stderr.

    Any later one ends the process there and then, and with it, as the system has it, all that it
    started. A signal that is ignored, as SIGINT in a shell's background, stays so.
    """
    asked: list[float] = []

    def stop(signum: int, frame: FrameType | None) -> None:
        if not asked:
            asked.append(monotonic())
            _say(b"bakeoff: stopping; once more ends it at once\n")
            raise KeyboardInterrupt
        if monotonic() - asked[0] > _APART:
            _say((_SHOW_CURSOR if sys.stderr.isatty() else b"") + b"bakeoff: interrupted\n")
            os._exit(EXIT_CODE)

    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, stop)
    atexit.register(_ignore)


def _ignore() -> None:
    """Python drops its handlers when it ends; a late signal would then decide the exit code."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _say(line: bytes) -> None:
    """Write past Python's buffers, which the signal may have found half-written."""
    with suppress(OSError, ValueError):  # the terminal is gone, or stderr is no file
        os.write(sys.stderr.fileno(), line)
