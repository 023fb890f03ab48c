"""Blocks of batches in one piece of memory, which a framework takes as it is.

XLA and TensorFlow copy what does not begin at a multiple of 64 bytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import as_strided

ALIGNMENT = 64  # bytes


def gather(array: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Return array[order], aligned: a batch of samples for each row of order, [steps, batch]."""
    block = _aligned((*order.shape, *array.shape[1:]), array.dtype)
    # With "raise", NumPy (2.4) would write to a copy first.
    return np.take(array, order, axis=0, out=block, mode="clip")


def stack(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Stack equal arrays, aligned; not copied where they are the rows of one block, in order."""
    first = arrays[0]
    if first.base is not None and _address(first) % ALIGNMENT == 0 and _are_rows(arrays):
        return as_strided(first, (len(arrays), *first.shape), (first.nbytes, *first.strides))
    block = _aligned((len(arrays), *first.shape), first.dtype)
    return np.stack(arrays, out=block)


def _are_rows(arrays: Sequence[np.ndarray]) -> bool:
    first = arrays[0]
    addresses = range(_address(first), _address(first) + len(arrays) * first.nbytes, first.nbytes)
    return all(
        array.base is first.base and array.flags.c_contiguous and _address(array) == address
        for array, address in zip(arrays, addresses, strict=True)
    )


def _address(array: np.ndarray) -> int:
    address: int = array.__array_interface__["data"][0]
    return address


def _aligned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    size = math.prod(shape) * dtype.itemsize
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -_address(memory) % ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)
