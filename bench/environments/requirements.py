"""What an environment is made of, by which Pythons, and how large it is: read from
`backends/requirements/`.

A file has pins, a line each, the framework's own first, and lines of comment in a fixed form: the
Pythons that all of them have wheels for; what an environment takes, measured on Linux x86-64 with
Python 3.11; where pip finds builds for CPUs, and what those for GPUs take, if those are others; the
oldest version of the framework that its adapter is for.

`torch@2.11.0` is the environment of that version: the framework's pin replaced, and what goes with
it at most as new as its pin; if the version is newer than the pin, at least.
"""

from __future__ import annotations

import re
from importlib.resources import files

from msgspec import Struct
from packaging.version import InvalidVersion, Version

from ...backends import NAMES
from ...models import InputError
from ...models.synonyms import closest

ENVIRONMENTS = (*NAMES, "peers")
OLDEST, NEWEST = 11, 99  # of the Pythons that any version may have wheels for
_OURS = "msgspec"  # which reads what we write: it is the same in every version
_PYTHON = re.compile(r"^# Python 3\.(\d+)(?: to 3\.(\d+))?$", re.MULTILINE)
_SIZE = r"([\d,]+) MB to download(?:, ([\d,]+) MB on disk)?$"
_CPU_SIZE = re.compile(f"^# {_SIZE}", re.MULTILINE)
_GPU_SIZE = re.compile(f"^# for GPUs: {_SIZE}", re.MULTILINE)
_CPU_INDEX = re.compile(r"^# for CPUs: (\S+)$", re.MULTILINE)
_FROM = re.compile(r"^# versions from (\S+)$", re.MULTILINE)


class Size(Struct, frozen=True):
    """What an environment takes, in MB; `disk` is None where it was not measured."""

    download: int
    disk: int | None

    def __str__(self) -> str:
        disk = "" if self.disk is None else f", {self.disk:,} MB on disk"
        return f"{self.download:,} MB to download{disk}"


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


def environment_of(name: str) -> str:
    """Return under which name an environment is kept: a version that is the pinned one has no
    environment but its backend's. Raises InputError if there can be none.
    """
    backend, at, _ = name.partition("@")
    if not at:
        if name not in ENVIRONMENTS:
            raise InputError(f'no environment "{name}"; {closest(name, ENVIRONMENTS)}')
        return name
    if backend not in NAMES:
        raise InputError(
            f'"{name}": versions can be asked of {", ".join(NAMES)} alone, such as torch@2.11.0'
        )
    return backend if _asked(name) in read(backend).pins else name


def is_known(name: str) -> bool:
    """Say whether there can be an environment of this name."""
    try:
        environment_of(name)
    except InputError:
        return False
    return True


def read(name: str) -> Requirements:
    """Return what an environment is made of, by its requirements file. Raises InputError."""
    if "@" in (name := environment_of(name)):
        return _of_version(name)
    text = _text(name)
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


def _of_version(name: str) -> Requirements:
    usual, asked = read(name.partition("@")[0]), _asked(name)
    package, version = _parts(asked)
    pinned = dict(map(_parts, usual.pins))
    older = Version(version.removesuffix(".*")) <= Version(pinned[package])
    pins = [
        asked if name == package else f"{name}{'==' if name == _OURS else bound}{pin}"
        for bound in ["<=" if older else ">="]
        for name, pin in pinned.items()
    ]
    return Requirements(tuple(pins), OLDEST, NEWEST, cpu_index=usual.cpu_index)


def _asked(name: str) -> str:
    """Return the pin that a name asks for: `torch==2.11.0`; of `torch@2.11`, `torch==2.11.*`; of
    `keras@tensorflow-2.20.0`, `tensorflow-cpu==2.20.0`. Raises InputError.
    """
    backend, _, asked = name.partition("@")
    text = _text(backend)
    (first, pin), *others = map(_parts, pins_of(text))
    packages = {"": first, **{package.removesuffix("-cpu"): package for package, _ in others}}
    del packages[_OURS]
    package, _, version = asked.rpartition("-")
    more = "".join(f", or {backend}@{other}-VERSION" for other in packages if other)
    such = f"expected such as {backend}@{pin}{more}"
    try:
        found = Version(version)
        if package not in packages or str(found) != version:
            raise InvalidVersion
    except InvalidVersion:
        raise InputError(f'"{name}" is no version: {such}') from None
    oldest = _FROM.search(text)
    if oldest and not package and found < Version(oldest[1]):
        raise InputError(f'"{name}": the adapter is for {first} {oldest[1]} and newer; {such}')
    is_whole = len(found.release) > 2 or found.local or found.is_prerelease
    return f"{packages[package]}=={version}{'' if is_whole else '.*'}"


def _parts(pin: str) -> tuple[str, str]:
    package, _, version = pin.partition("==")
    return package, version


def _text(name: str) -> str:
    return (files("bakeoff.backends") / "requirements" / f"{name}.txt").read_text(encoding="utf-8")


def _size(pattern: re.Pattern[str], text: str) -> Size | None:
    match = pattern.search(text)
    if match is None:
        return None
    download, disk = match.groups()
    return Size(_number(download), _number(disk) if disk else None)


def _number(text: str) -> int:
    return int(text.replace(",", ""))
