"""Finds a data file inside an installed package without importing the package."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from ..models.errors import InputError
from .source import File


def read_package_file(package: str, path: str) -> File:
    """Read a file of an installed package; raises InputError when either is not there."""
    spec = find_spec(package)
    for folder in (spec and spec.submodule_search_locations) or ():
        file = Path(folder) / path
        if file.is_file():
            return File(file, file.read_bytes())
    raise InputError(
        f"{path} of the package {package} was not found, expected it to be installed beside "
        f"bakeoff; run: pip install --force-reinstall {package}"
    )
