"""Arrays that begin at a multiple of 64 bytes: a line of the cache, a register of AVX-512.

NumPy's own begin at a multiple of 16. XLA and TensorFlow copy those; NumPy's loops and OpenBLAS
read most of them across two lines, which made a training step of LeNet a tenth slower.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

ALIGNMENT = 64  # bytes


def empty(shape: int | tuple[int, ...], dtype: npt.DTypeLike) -> np.ndarray:
    """As np.empty."""
    whole, kind = (shape,) if isinstance(shape, int) else shape, np.dtype(dtype)
    size = math.prod(whole) * kind.itemsize
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -address(memory) % ALIGNMENT
    return memory[start : start + size].view(kind).reshape(whole)


def zeros(shape: int | tuple[int, ...], dtype: npt.DTypeLike) -> np.ndarray:
    """As np.zeros."""
    array = empty(shape, dtype)
    array.fill(0)
    return array


def empty_like(array: np.ndarray, dtype: npt.DTypeLike | None = None) -> np.ndarray:
    """As np.empty_like: the axes lie in memory in the order in which those of `array` do."""
    inwards = np.argsort([-stride for stride in array.strides], kind="stable")
    memory = empty(tuple(array.shape[axis] for axis in inwards), dtype or array.dtype)
    return memory.transpose(np.argsort(inwards))


def address(array: np.ndarray) -> int:
    """Return where the first element lies."""
    first: int = array.__array_interface__["data"][0]
    return first
