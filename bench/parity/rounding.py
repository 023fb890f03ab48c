"""Monte Carlo arithmetic: the oracle's formulas in float64, every result disturbed by a roundoff.

An array of the class below hands its source of disturbance on to all that is computed from it. With
the unit roundoff u of a precision, ξ uniform in [-1, 1] and fresh for every element:

    any ufunc, of result r     r + u r ξ
    exp, log, tanh and so on   r + 4 u r ξ
    a sum of n terms           r + u g(n) (Σ |terms|) ξ: `matmul`, `add.reduce`
    what is exact              r: maximum, negative, comparisons, copies, `where`

Frameworks' own exponentials and their like are within 2 units in the last place, which are up to
4 u: CUDA's by its guide, Eigen's float32 tanh as measured (4.5 u, where it saturates).

g(n) = √n, as roundings that are independent add up; n / 8 beyond 64 terms, where those of like
terms, summed one by one, are not (Higham 2002, §4.2). Equal terms, as a mean pool's gradient has
them, are all rounded the same way while their sum keeps its exponent, and n of them may be off by
n / 2 u. PyTorch's gradient of a convolution's bias was off by n / 4.4 u, n = 1152.

Parker 1997, Monte Carlo Arithmetic, is the model, and so are Verificarlo and CADNA.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

PATTERNS = ((math.sqrt(5) - 1) / 2, math.sqrt(3))  # irrational steps: no two places are alike

Magnitudes = Callable[[], np.ndarray]

_TABLE = 2**17  # random numbers; they are used again, from another place
_INDEPENDENT = 64  # terms whose roundings add up like independent ones
_FUNCTION = 4  # roundoffs of a function that is not rounded correctly: two units in the last place
_FUNCTIONS = {np.exp, np.expm1, np.log, np.log1p, np.tanh, np.power, np.sin, np.cos}
_EXACT = {
    np.maximum, np.minimum, np.negative, np.positive, np.absolute, np.fabs, np.sign, np.copysign,
    np.floor, np.ceil, np.rint, np.trunc, np.conjugate,
}  # fmt: skip


class Source(Protocol):
    """Where the disturbance of results comes from; `magnitudes` are Σ |terms|."""

    def of_result(self, result: np.ndarray) -> np.ndarray:
        """Return the disturbed result of one operation."""

    def of_function(self, result: np.ndarray) -> np.ndarray:
        """Return the disturbed result of a function that is approximated."""

    def of_sum(self, sums: np.ndarray, magnitudes: np.ndarray, terms: int) -> np.ndarray:
        """Return disturbed sums."""

    def of_product(self, products: np.ndarray, magnitudes: Magnitudes, terms: int) -> np.ndarray:
        """Return a disturbed product of matrices."""


class Roundings:
    """Random roundings at a unit roundoff. Each is made once, and draws on as it is used.

    `common`: all elements of one operation are off alike, as by a function (a logarithm near 1)
    that is a few roundings off in the same way for all.
    """

    def __init__(self, unit: float, seed: int, *, common: bool = False) -> None:
        self._rng = np.random.default_rng(seed)
        self._table = unit * self._rng.uniform(-1, 1, 2 * _TABLE)
        self._common = common

    def of_result(self, result: np.ndarray) -> np.ndarray:
        return self._add(result, result, 1.0)

    def of_function(self, result: np.ndarray) -> np.ndarray:
        return self._add(result, result, _FUNCTION)

    def of_sum(self, sums: np.ndarray, magnitudes: np.ndarray, terms: int) -> np.ndarray:
        return self._add(sums, magnitudes, growth(terms))

    def of_product(self, products: np.ndarray, magnitudes: Magnitudes, terms: int) -> np.ndarray:
        return self._add(products, magnitudes(), growth(terms))

    def _add(self, result: np.ndarray, sizes: np.ndarray, factor: float) -> np.ndarray:
        disturbed = np.empty(result.shape)  # what is infinite stays so
        flat, given, scale = disturbed.reshape(-1), np.ravel(result), np.ravel(sizes)
        with np.errstate(invalid="ignore"):
            for start in range(0, flat.size, _TABLE):
                piece = slice(start, start + _TABLE)
                place = int(self._rng.integers(_TABLE))
                xi = self._table[place : place + (1 if self._common else len(flat[piece]))]
                np.multiply(scale[piece], xi, out=flat[piece])
                flat[piece] *= factor
                flat[piece] += given[piece]
        if not np.isfinite(disturbed).all():
            np.copyto(disturbed, result, where=~np.isfinite(result))
        return disturbed


class Kick:
    """An error of a given size on every product of matrices, in units of its roundings.

    The errors of `size` and `-size` are opposite in every place; where several errors meet and
    cancel, those of another pattern do not. Sums that nearly cancel carry the rounding of their
    terms: the error is absolute. It is one to two times the size, so that what is near the kink of
    a ReLU crosses it one way or the other; and it differs from place to place, by an irrational
    step, so that of any two neighbours that nearly tie in a max pool each wins once.
    """

    def __init__(self, size: float, pattern: float) -> None:
        self._size, self._pattern = size, pattern

    def of_result(self, result: np.ndarray) -> np.ndarray:
        return result

    def of_function(self, result: np.ndarray) -> np.ndarray:
        return result

    def of_sum(self, sums: np.ndarray, magnitudes: np.ndarray, terms: int) -> np.ndarray:
        return sums

    def of_product(self, products: np.ndarray, magnitudes: Magnitudes, terms: int) -> np.ndarray:
        scale = self._size * math.sqrt(terms * float(np.mean(np.square(products))))
        place = np.arange(products.size).reshape(products.shape)
        sign = np.where(place * (self._pattern + math.sqrt(2)) % 1 < 0.5, -1, 1)
        kicked: np.ndarray = products + scale * sign * (1 + place * self._pattern % 1)
        return kicked


def growth(terms: int) -> float:
    """Return g(n): how the rounding of a sum grows with its terms."""
    return math.sqrt(terms) if terms <= _INDEPENDENT else terms / math.sqrt(_INDEPENDENT)


class Disturbed(np.ndarray):
    """An array whose results are disturbed by its source, and carry it on."""

    source: Source

    def __array_finalize__(self, parent: Any) -> None:
        if (source := getattr(parent, "source", None)) is not None:
            self.source = source

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        plain = [_plain(a) for a in inputs]
        out = options.pop("out", (None,))[0]
        result = getattr(ufunc, method)(*plain, **options)
        result = self._disturb(result, ufunc, method, plain, options)
        if out is None:
            return self._like(result)
        np.copyto(_plain(out), result)
        return out

    def _disturb(
        self, result: Any, ufunc: Any, method: str, inputs: list[Any], options: dict[str, Any]
    ) -> Any:
        if result is None or isinstance(result, tuple) or np.asarray(result).dtype.kind != "f":
            return result
        result = np.asarray(result)
        if ufunc is np.matmul:
            a, b = inputs
            return self.source.of_product(result, lambda: np.abs(a) @ np.abs(b), a.shape[-1])
        if ufunc is np.add and method == "reduce":
            terms = max(1, inputs[0].size // max(1, result.size))
            magnitudes = np.add.reduce(np.abs(inputs[0]), **options)
            return self.source.of_sum(result, np.asarray(magnitudes), terms)
        if ufunc in _FUNCTIONS:
            return self.source.of_function(result)
        return result if ufunc in _EXACT else self.source.of_result(result)

    def __array_function__(self, function: Any, types: Any, arguments: Any, options: Any) -> Any:
        result = super().__array_function__(function, types, arguments, options)
        return self._like(result) if isinstance(result, np.ndarray) else result

    def _like(self, result: Any) -> Any:
        if isinstance(result, tuple):
            return tuple(self._like(part) for part in result)
        disturbed = np.asarray(result).view(Disturbed)
        disturbed.source = self.source
        return disturbed


def disturbed(array: np.ndarray, source: Source) -> Disturbed:
    """Return a float64 copy of an array whose results its source disturbs."""
    copy = array.astype(np.float64).view(Disturbed)
    copy.source = source
    return copy


def _plain(a: Any) -> Any:
    return a.view(np.ndarray) if isinstance(a, Disturbed) else a
