"""The code that travels with a run: a zip of this package that a worker imports.

Parent and worker cannot be of different versions, and a run folder holds exactly what made it.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from ..worker.files import whole

_PACKAGES = ("models", "datasets", "backends", "bench")
_LEFT_OUT = ("__pycache__", "interface")  # which a checkout has here, and no worker can import
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same code gives the same bytes


def write_zip(path: Path) -> None:
    """Write the installed package to `path`, whole or not at all."""
    # In a thread, where no interrupt comes: zipfile cannot close what one has left half-written.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(_write, path).result()


def _write(path: Path) -> None:
    with whole(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in _sources():
            info = zipfile.ZipInfo(name, _EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)


def digest() -> str:
    """Return the hash of all that `write_zip` writes."""
    found = hashlib.sha256()
    for name, content in _sources():
        found.update(f"{name} {len(content)}\n".encode() + content)
    return found.hexdigest()


def _sources() -> Iterator[tuple[str, bytes]]:
    """Yield the name of every file of the installed package in the zip, and what is in it."""
    root = __package__.partition(".")[0]
    # A regular package wins over the namespace package of an installed bakeoff.
    yield f"{root}/__init__.py", b""
    for package in _PACKAGES:
        for name, file in _walk(files(f"{root}.{package}"), f"{root}/{package}"):
            yield name, file.read_bytes()


def _walk(folder: Traversable, name: str) -> Iterator[tuple[str, Traversable]]:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.name in _LEFT_OUT:
            continue
        if entry.is_dir():
            yield from _walk(entry, f"{name}/{entry.name}")
        else:
            yield f"{name}/{entry.name}", entry
