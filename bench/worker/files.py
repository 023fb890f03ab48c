"""Files that appear whole or not at all, their hashes, and arrays in them. Workers use it."""

from __future__ import annotations

import hashlib
import os
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ...models.sealed import UNREADABLE


@contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """Give a file to write, so that nobody ever reads a part of it: it is put in its place last.

    Raises OSError, and leaves what was there.
    """
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        with partial.open("wb") as file:
            yield file
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all. Raises OSError, and leaves what was there."""
    with whole(path) as file:
        file.write(content)


def remove(path: Path) -> None:
    """Remove whatever is there: a file, a link (not what it leads to), a folder with all in it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def read_whole(path: Path) -> bytes:
    """Return the content of a file. Raises OSError, and ValueError for what is none, as a pipe."""
    if path.exists() and not path.is_file():
        raise ValueError("it is not a file")
    return path.read_bytes()


def write_array(path: Path, array: np.ndarray) -> None:
    """Write an .npy file, whole or not at all."""
    content = BytesIO()
    np.lib.format.write_array(content, np.asanyarray(array), allow_pickle=False)
    write_whole(path, content.getvalue())


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an .npz file, whole or not at all; the same arrays give the same bytes."""
    with whole(path) as file, zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            member = zipfile.ZipInfo(f"{name}.npy")  # of 1980: `np.savez` writes the time
            with archive.open(member, "w", force_zip64=True) as content:
                np.lib.format.write_array(content, np.asanyarray(array), allow_pickle=False)


def read_array(path: Path) -> np.ndarray:
    """Read an .npy file. Raises OSError, ValueError."""
    with _damage_told(path):
        array: np.ndarray = np.load(path, allow_pickle=False)
        return array


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read all arrays of an .npz file. Raises OSError, ValueError."""
    with _damage_told(path), np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


@contextmanager
def _damage_told(path: Path) -> Iterator[None]:
    """Raise ValueError for all that is raised for a damaged file."""
    try:
        yield
    except UNREADABLE as error:
        raise ValueError(f"{path.name} is damaged ({error})") from None


def sha256(path: Path) -> str:
    """Return the hash of a file. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hashes(folder: Path, *patterns: str) -> dict[str, str]:
    """Return the SHA-256 of each file of a folder that matches, by its path in there."""
    paths = sorted(path for pattern in patterns for path in folder.glob(pattern))
    return {path.relative_to(folder).as_posix(): sha256(path) for path in paths}


def damage(folder: Path, expected: Mapping[str, str]) -> str:
    """Say what is wrong with the files of these hashes, by path in the folder; "" if nothing is."""
    for name, digest in expected.items():
        path = folder / name
        if path.is_symlink():
            return f"{name} is a symbolic link"
        if not path.is_file():
            return f"{name} is missing"
        try:
            if sha256(path) != digest:
                return f"{name} is not what was written"
        except OSError as error:
            return f"{name} cannot be read ({error.strerror})"
    return ""
