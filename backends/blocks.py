"""Blocks of batches in one piece of aligned memory, which a framework takes as it is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import as_strided

from . import aligned
from .aligned import ALIGNMENT, address


def gather(array: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Return array[order], aligned: a batch of samples for each row of order, [steps, batch]."""
    block = aligned.empty((*order.shape, *array.shape[1:]), array.dtype)
    # With "raise", NumPy (2.4) would write to a copy first.
    return np.take(array, order, axis=0, out=block, mode="clip")


def stack(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Stack equal arrays, aligned; not copied where they are the rows of one block, in order."""
    first = arrays[0]
    if first.base is not None and address(first) % ALIGNMENT == 0 and _are_rows(arrays):
        return as_strided(first, (len(arrays), *first.shape), (first.nbytes, *first.strides))
    block = aligned.empty((len(arrays), *first.shape), first.dtype)
    return np.stack(arrays, out=block)


def _are_rows(arrays: Sequence[np.ndarray]) -> bool:
    first = arrays[0]
    places = range(address(first), address(first) + len(arrays) * first.nbytes, first.nbytes)
    return all(
        array.base is first.base and array.flags.c_contiguous and address(array) == place
        for array, place in zip(arrays, places, strict=True)
    )
