"""Reads IDX files, the format of MNIST: plain or gzipped, and never trusted."""

from __future__ import annotations

import gzip
import math
import zlib

import numpy as np
from numpy.typing import NDArray

from ..models.errors import InputError
from .source import File

GZIP_MAGIC = b"\x1f\x8b"
KINDS = {1: "labels", 3: "images"}  # by number of dimensions


def read_images(file: File) -> NDArray[np.uint8]:
    """Return the images of an IDX file: uint8 [N, 1, H, W]; raises InputError."""
    return _read(file, dimensions=3)[:, None]


def read_labels(file: File, num_classes: int) -> NDArray[np.int64]:
    """Return the labels of an IDX file: int64 [N], each below num_classes; raises InputError."""
    labels = _read(file, dimensions=1).astype(np.int64)
    if labels.max() >= num_classes:
        raise _error(file, f"holds the label {labels.max()}", f"labels from 0 to {num_classes - 1}")
    return labels


def _read(file: File, dimensions: int) -> NDArray[np.uint8]:
    data = _decompressed(file)
    expected = f"an IDX file of unsigned bytes with {dimensions} dimensions ({KINDS[dimensions]})"
    if len(data) < 4 or data[:3] != b"\0\0\x08":
        raise _error(file, f"starts with {data[:4]!r}", expected)
    if data[3] != dimensions:
        kind = KINDS.get(data[3])
        raise _error(file, f"has {data[3]} dimensions" + f" ({kind})" * bool(kind), expected)
    start = 4 + 4 * dimensions
    if len(data) < start:
        raise _error(file, f"ends inside its header, after {len(data)} bytes", expected)
    shape = tuple(int(size) for size in np.frombuffer(data, ">u4", dimensions, offset=4))
    if 0 in shape:
        raise _error(file, f"promises the shape {shape}", "no dimension of size 0")
    if len(data) - start != math.prod(shape):
        promised = f"{math.prod(shape)} for the shape {shape}"
        raise _error(file, f"holds {len(data) - start} bytes after its header", promised)
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def _decompressed(file: File) -> bytes:
    if not file.data.startswith(GZIP_MAGIC):
        return file.data
    try:
        return gzip.decompress(file.data)
    except (OSError, EOFError, zlib.error) as error:
        raise _error(file, f"cannot be decompressed ({error})", "a whole gzip file") from error


def _error(file: File, problem: str, expected: str) -> InputError:
    return InputError(f'"{file.path}" {problem}, expected {expected}; download the file again')
