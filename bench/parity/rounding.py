"""The oracle's formulas in other roundings: the same NumPy code, its sums taken in another order.

Every contraction of the reference is a `matmul` or an `add.reduce`; an array of the class below
does these in the order that it carries, and hands the order on to all that is computed from it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

PATTERNS = ((math.sqrt(5) - 1) / 2, math.sqrt(3))  # irrational steps: no two places are alike

Order = Callable[[int], list[slice]]  # the length of a sum -> the parts that are summed apart


def as_it_comes(length: int) -> list[slice]:
    return [slice(None)]


def backwards(length: int) -> list[slice]:
    return [slice(None, None, -1)]


def in_halves(length: int) -> list[slice]:
    return [slice(None, length // 2), slice(length // 2, None)] if length > 1 else [slice(None)]


def every_other(length: int) -> list[slice]:
    return [slice(None, None, 2), slice(1, None, 2)] if length > 1 else [slice(None)]


def one_by_one(length: int) -> list[slice]:
    """Plain recursive summation: what NumPy's is not, and a framework's may be."""
    return [slice(None)]


ORDERS: tuple[Order, ...] = (as_it_comes, backwards, in_halves, every_other, one_by_one)


class Rounded(np.ndarray):
    """An array whose sums are taken in its own order, or disturbed.

    `disturbance` is the size of the error that is put on the result of every `matmul`, in units of
    its root mean square times √n, as the rounding of a sum of n terms grows. The errors of
    `disturbance` and `-disturbance` are opposite in every place; where several errors meet and
    cancel, those of another pattern do not.
    """

    order: Order = staticmethod(as_it_comes)
    disturbance: float = 0.0
    pattern: float = PATTERNS[0]

    def __array_finalize__(self, parent: Any) -> None:
        self.order = getattr(parent, "order", as_it_comes)
        self.disturbance = getattr(parent, "disturbance", 0.0)
        self.pattern = getattr(parent, "pattern", PATTERNS[0])

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        plain = [_plain(a) for a in inputs]
        out = options.get("out")
        if out is not None:
            options["out"] = tuple(_plain(a) for a in out)
        if ufunc is np.matmul and method == "__call__":
            a, b = plain
            result = self._disturbed(_matmul(a, b, self.order), terms=a.shape[-1])
        elif ufunc is np.add and method == "reduce":
            result = _sum(plain[0], self.order, **options)
        else:
            result = getattr(ufunc, method)(*plain, **options)
        return self._like(result) if out is None or out[0] is None else out[0]

    def __array_function__(self, function: Any, types: Any, arguments: Any, options: Any) -> Any:
        result = super().__array_function__(function, types, arguments, options)
        return self._like(result) if isinstance(result, np.ndarray) else result

    def _like(self, result: Any) -> Any:
        if isinstance(result, tuple):
            return tuple(self._like(part) for part in result)
        rounded = np.asarray(result).view(Rounded)
        rounded.order, rounded.disturbance = self.order, self.disturbance
        rounded.pattern = self.pattern
        return rounded

    def _disturbed(self, sums: Any, terms: int) -> Any:
        """Sums that nearly cancel carry the rounding of their terms: the error is absolute.

        It is one to two times the size, so that what is near the kink of a ReLU crosses it one way
        or the other; and it differs from place to place, by an irrational step, so that of any two
        neighbours that nearly tie in a max pool each wins once.
        """
        if not self.disturbance:
            return sums
        sums = np.asarray(sums)
        scale = math.sqrt(terms * float(np.mean(np.square(sums, dtype=np.float64))))
        place = np.arange(sums.size).reshape(sums.shape)
        sign = np.where(place * (self.pattern + math.sqrt(2)) % 1 < 0.5, -1, 1)
        error = self.disturbance * scale * sign * (1 + place * self.pattern % 1)
        return sums + error.astype(sums.dtype)


def rounded(
    array: np.ndarray,
    order: Order = as_it_comes,
    disturbance: float = 0.0,
    pattern: float = PATTERNS[0],
) -> Rounded:
    """Return a float32 copy of an array that carries an order and a disturbance."""
    copy = array.astype(np.float32).view(Rounded)
    copy.order, copy.disturbance, copy.pattern = order, disturbance, pattern
    return copy


def _plain(a: Any) -> Any:
    return a.view(np.ndarray) if isinstance(a, Rounded) else a


def _matmul(a: np.ndarray, b: np.ndarray, order: Order) -> np.ndarray:
    parts = [a[..., part] @ b[..., part, :] for part in order(a.shape[-1])]
    total: np.ndarray = sum(parts[1:], parts[0])
    return total


def _sum(a: np.ndarray, order: Order, axis: Any = 0, **options: Any) -> Any:
    """Sum over `axis` in parts of its first axis; a sum over all is over the flat array."""
    if axis is None:
        a, axis = a.reshape(-1), 0
    axes = axis if isinstance(axis, tuple) else (axis,)
    if order is one_by_one and a.dtype.kind == "f":
        return _sum_one_by_one(a, axes, keepdims=options.get("keepdims", False))
    index = [slice(None)] * a.ndim
    total = None
    for part in order(a.shape[axes[0]]):
        index[axes[0]] = part
        part_sum = np.add.reduce(a[tuple(index)], axis=axis, **options)
        total = part_sum if total is None else total + part_sum
    return total


def _sum_one_by_one(a: np.ndarray, axes: tuple[int, ...], *, keepdims: bool) -> np.ndarray:
    last = np.moveaxis(a, axes, range(-len(axes), 0)).reshape(*_others(a, axes), -1)
    total = np.add.accumulate(last, axis=-1)[..., -1]
    return np.expand_dims(total, axes) if keepdims else total


def _others(a: np.ndarray, axes: tuple[int, ...]) -> list[int]:
    summed = {axis % a.ndim for axis in axes}
    return [size for axis, size in enumerate(a.shape) if axis not in summed]
