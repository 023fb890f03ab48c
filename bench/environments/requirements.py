"""What an environment is made of, by which Pythons, and how large it is: read from
`backends/requirements/`.

A file has pins, a line each, and lines of comment in a fixed form: the Pythons that all of them
have wheels for; what an environment takes, measured on Linux x86-64 with Python 3.11; where pip
finds builds for CPUs, and what those for GPUs take, if those are others.
"""

from __future__ import annotations

import re
from importlib.resources import files

from msgspec import Struct

_PYTHON = re.compile(r"^# Python 3\.(\d+)(?: to 3\.(\d+))?$", re.MULTILINE)
_SIZE = r"([\d,]+) MB to download, ([\d,]+) MB on disk$"
_CPU_SIZE = re.compile(f"^# {_SIZE}", re.MULTILINE)
_GPU_SIZE = re.compile(f"^# for GPUs: {_SIZE}", re.MULTILINE)
_CPU_INDEX = re.compile(r"^# for CPUs: (\S+)$", re.MULTILINE)


class Size(Struct, frozen=True):
    """What an environment takes, in MB."""

    download: int
    disk: int

    def __str__(self) -> str:
        return f"{self.download:,} MB to download, {self.disk:,} MB on disk"


class Requirements(Struct, frozen=True):
    """The pins of an environment, a line each, and the Pythons that they have wheels for: those
    from 3.`oldest` to 3.`newest`.

    `size` is what it takes as far as that was measured; `cpu_index` where pip finds builds for CPUs
    of what it would otherwise take for GPUs, with `gpu_size`.
    """

    pins: tuple[str, ...]
    oldest: int
    newest: int
    size: Size | None = None
    cpu_index: str | None = None
    gpu_size: Size | None = None

    @property
    def text(self) -> str:
        """The pins as pip reads them."""
        return "".join(f"{pin}\n" for pin in self.pins)


def read(name: str) -> Requirements:
    """Return what an environment is made of: the content of its requirements file."""
    text = (files("bakeoff.backends") / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
    pythons, index = _PYTHON.search(text), _CPU_INDEX.search(text)
    assert pythons, f"{name}.txt says of no Python"
    oldest, newest = pythons.groups()
    return Requirements(
        pins=pins_of(text),
        oldest=int(oldest),
        newest=int(newest or oldest),
        size=_size(_CPU_SIZE, text),
        cpu_index=index and index[1],
        gpu_size=_size(_GPU_SIZE, text),
    )


def pins_of(text: str) -> tuple[str, ...]:
    """Return the lines that are for pip."""
    return tuple(line for line in text.splitlines() if line and not line.startswith("#"))


def _size(pattern: re.Pattern[str], text: str) -> Size | None:
    match = pattern.search(text)
    return match and Size(*(int(number.replace(",", "")) for number in match.groups()))
