"""Blocks of batches: gathered into one aligned memory, or by a backend that holds the split."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bakeoff.backends.aligned import ALIGNMENT
from bakeoff.backends.blocks import gather, stack
from bakeoff.bench.worker import feeding

_RNG = np.random.default_rng(0)
_X = _RNG.normal(size=(11, 3, 5)).astype(np.float32)
_Y = _RNG.integers(4, size=11)
_ORDER = _RNG.integers(11, size=(4, 6))


def _is_aligned(array: np.ndarray) -> bool:
    return array.ctypes.data % ALIGNMENT == 0 and array.flags.c_contiguous


@pytest.mark.parametrize("array", [_X, _Y], ids=["float32", "int64"])
def test_gather_takes_the_rows_into_aligned_memory(array: np.ndarray) -> None:
    block = gather(array, _ORDER)
    np.testing.assert_array_equal(block, array[_ORDER])
    assert block.dtype == array.dtype
    assert _is_aligned(block)


def test_the_rows_of_a_block_are_stacked_without_a_copy() -> None:
    block = gather(_X, _ORDER)
    found = stack(list(block))
    np.testing.assert_array_equal(found, block)
    assert np.shares_memory(found, block)
    some = stack(list(block[:2]))
    np.testing.assert_array_equal(some, block[:2])


def _swapped(block: np.ndarray) -> list[np.ndarray]:
    return [block[1], block[0]]


def _of_two(block: np.ndarray) -> list[np.ndarray]:
    return [block[0], block.copy()[1]]


def _with_gaps(block: np.ndarray) -> list[np.ndarray]:
    return [block[0], block[2]]


def _transposed(block: np.ndarray) -> list[np.ndarray]:
    return [batch.swapaxes(1, 2) for batch in block]


def _wholes(block: np.ndarray) -> list[np.ndarray]:
    return [batch.copy() for batch in block]


@pytest.mark.parametrize("pick", [_swapped, _of_two, _with_gaps, _transposed, _wholes])
def test_other_arrays_are_stacked_into_aligned_memory(
    pick: Callable[[np.ndarray], list[np.ndarray]],
) -> None:
    block = gather(_X, _ORDER)
    arrays = pick(block)
    found = stack(arrays)
    np.testing.assert_array_equal(found, np.stack(arrays))
    assert _is_aligned(found)
    assert not np.shares_memory(found, block)


class _Staging:
    """A trainer whose batches are what it is given."""

    def stage(self, x: np.ndarray, y: np.ndarray, masks: None) -> Any:
        return x, y, masks


class _Holding(_Staging):
    """A trainer that gathers from what it holds."""

    def hold(self, x: np.ndarray, y: np.ndarray) -> feeding.Feeder:
        return lambda order: [("held", x[i], y[i]) for i in order]


def test_batches_are_gathered_converted_and_staged() -> None:
    batches = feeding.feeder(_Staging(), _X, _Y, "float64")(_ORDER)
    assert len(batches) == len(_ORDER)
    for (x, y, masks), indices in zip(batches, _ORDER, strict=True):
        np.testing.assert_array_equal(x, _X[indices])
        np.testing.assert_array_equal(y, _Y[indices])
        assert x.dtype == np.float64
        assert masks is None


def test_a_trainer_that_holds_the_split_is_given_rows() -> None:
    batches = feeding.feeder(_Holding(), _X, _Y, "float64")(_ORDER)
    assert [kind for kind, _, _ in batches] == ["held"] * len(_ORDER)
    assert batches[0][1].dtype == np.float64


def test_what_may_not_fit_is_staged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeding, "_MOST_HELD", _X.nbytes)
    feed = feeding.feeder(_Holding(), _X, _Y, "float32")
    assert feed(_ORDER)[0][0] == "held"
    feed = feeding.feeder(_Holding(), _X, _Y, "float64")
    x, _, masks = feed(_ORDER)[0]
    assert x.shape == (6, 3, 5)
    assert masks is None
