"""Which build of a framework pip is asked for: for GPUs where there is one, or it is asked for;
else for CPUs, which are a fraction of the size.

On its public index pip finds PyTorch's build for GPUs alone. That for CPUs is `2.13.0+cpu`, which
is the higher version of the two: with its index beside the other, pip takes it by itself.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
import urllib.request
from typing import NamedTuple

from .requirements import Requirements, Size

_SECONDS = 10


class Build(NamedTuple):
    """What pip is told beside the pins, what to tell the user, and how large it will be, if that is
    known.
    """

    options: tuple[str, ...]
    words: str
    size: Size | None


def choose(needed: Requirements, *, cuda: bool) -> Build:
    """Return the build to ask for; `cuda`: that for GPUs, whether or not there is one here."""
    if needed.cpu_index is None:
        return Build((), "", needed.size)
    if cuda or has_gpu():
        return Build((), "the build for GPUs", needed.gpu_size)
    if is_reachable(needed.cpu_index):
        words = f"the build for CPUs, from {needed.cpu_index}"
        return Build(("--extra-index-url", needed.cpu_index), words, needed.size)
    words = f"{needed.cpu_index} cannot be reached: as pip finds it, which may be the one for GPUs"
    return Build((), words, needed.size)


@functools.cache
def has_gpu() -> bool:
    """Say whether there is an NVIDIA GPU here."""
    if not (command := shutil.which("nvidia-smi")):
        return False
    try:
        done = subprocess.run([command, "-L"], capture_output=True, timeout=_SECONDS, text=True)
    except (OSError, subprocess.SubprocessError):
        return False
    return "GPU" in done.stdout


@functools.cache
def is_reachable(index: str) -> bool:
    """Say whether a package index answers."""
    try:
        with urllib.request.urlopen(f"{index}/", timeout=_SECONDS):
            return True
    except (OSError, ValueError):
        return False
