"""Files that appear whole or not at all, and arrays in them. Needs numpy alone: workers use it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that nobody ever reads a part of it: beside it first, then in its place.

    Raises OSError, and leaves what was there.
    """
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read all arrays of an .npz file."""
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}
