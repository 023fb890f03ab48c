"""Memory that begins where a line of the cache begins, and otherwise is as NumPy's."""

import numpy as np
import pytest

from bakeoff.backends import aligned


@pytest.mark.parametrize("dtype", ["float32", "float64", bool, np.uint8])
@pytest.mark.parametrize("shape", [(), 7, (3, 5)])
def test_memory_is_aligned_and_as_asked(shape: int | tuple[int, ...], dtype: str | type) -> None:
    for array in (aligned.empty(shape, dtype), aligned.zeros(shape, dtype)):
        expected = np.empty(shape, dtype)
        assert (array.shape, array.dtype) == (expected.shape, expected.dtype)
        assert aligned.address(array) % aligned.ALIGNMENT == 0
        assert array.flags.c_contiguous
        assert array.flags.writeable
    assert not array.any()


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 2, 0), (2, 1, 0)])
def test_the_axes_of_a_like_array_lie_as_in_the_first(axes: tuple[int, ...]) -> None:
    first = np.empty((3, 5, 7), "float32").transpose(axes)
    expected = np.empty_like(first)
    for like in (first, first[1:, ::2]):  # one with gaps is like one without
        found = aligned.empty_like(like)
        assert found.shape == like.shape
        assert np.argsort(found.strides).tolist() == np.argsort(expected.strides).tolist()
        assert found.transpose(np.argsort(axes)).flags.c_contiguous
        assert aligned.address(found) % aligned.ALIGNMENT == 0
    assert aligned.empty_like(first, bool).dtype == bool
