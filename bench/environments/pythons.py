"""Which Python interpreters are here to make environments with: this one, those on the PATH, those
of pyenv and of uv.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from .process import clean_environment
from .requirements import NEWEST, OLDEST, Requirements

_NAME = re.compile(r"python3\.(\d+)")
_ANY = Requirements(pins=(), oldest=OLDEST, newest=NEWEST)
_PROBE_SECONDS = 60
# Debian has Pythons without `ensurepip`, which make no environments.
_PROBE = """
import ensurepip, sys, venv
print(sys.implementation.name, *sys.version_info[:2])
"""


class Python(NamedTuple):
    """An interpreter of Python 3.`minor`."""

    path: Path
    minor: int

    def __str__(self) -> str:
        return f"Python 3.{self.minor} ({self.path})"


def fitting(needed: Requirements) -> Iterator[Python]:
    """Yield an interpreter of each Python that fits: this one first, then from the newest on."""
    here = sys.version_info.minor
    if needed.oldest <= here <= needed.newest:
        yield Python(Path(sys.executable), here)
    named = [path for path in _named() if needed.oldest <= _minor(path) <= needed.newest]
    for minor in sorted({*map(_minor, named)} - {here}, reverse=True):
        if path := next((p for p in named if _minor(p) == minor and _works(p)), None):
            yield Python(path, minor)


def lacking(needed: Requirements) -> str | None:
    """Say in a line which Python is not here and cannot be had by uv; None if there is one."""
    if uv() or next(fitting(needed), None):
        return None
    here = ", ".join(f"3.{python.minor}" for python in fitting(_ANY))
    return f"it needs {words(needed)}, and none is here (only {here})"


def words(needed: Requirements) -> str:
    """Return which Pythons fit: `Python 3.11 to 3.13`."""
    newest = "" if needed.newest == needed.oldest else f" to 3.{needed.newest}"
    return f"Python 3.{needed.oldest}{' or newer' if needed.newest == NEWEST else newest}"


def how_to_get(needed: Requirements) -> str:
    """Return the command that brings a Python that fits: pyenv's, or that which brings uv."""
    if shutil.which("pyenv"):
        return f"pyenv install 3.{needed.newest}"
    return f"{sys.executable} -m pip install uv"


def uv() -> str | None:
    """Return the path of uv, which can bring a Python: on the PATH, or beside this one."""
    return shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))


def _named() -> list[Path]:
    """Return what is named as an interpreter is: pyenv's own before its shims on the PATH, which
    fail unless their version is selected.
    """
    pyenv = Path(os.environ.get("PYENV_ROOT") or "~/.pyenv").expanduser()
    folders = [*pyenv.glob("versions/3.*/bin"), *_uv_folder().glob("*/bin")]
    folders += map(Path, os.get_exec_path())
    found = [path for folder in folders for path in folder.glob("python3.*")]
    return [path for path in found if _NAME.fullmatch(path.name) and os.access(path, os.X_OK)]


def _minor(path: Path) -> int:
    return int(path.name.rpartition(".")[2])


def _uv_folder() -> Path:
    if given := os.environ.get("UV_PYTHON_INSTALL_DIR"):
        return Path(given)
    data = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(data).expanduser() / "uv" / "python"


def _works(path: Path) -> bool:
    """Say whether an interpreter is what its name says, and can make environments."""
    command = [str(path), "-I", "-c", _PROBE]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=_PROBE_SECONDS,
            env=clean_environment(),
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return done.stdout.split() == ["cpython", "3", str(_minor(path))]
