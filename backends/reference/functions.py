"""Functions of arrays that several formulas are made of."""

from __future__ import annotations

import math

import numpy as np

from .passes import Array


def sigmoid(x: Array) -> Array:
    """1 / (1 + e⁻ˣ), with an exponential that cannot overflow."""
    z = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, z) / (1 + z)


def softplus(x: Array) -> Array:
    """log(1 + eˣ), likewise."""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def softmax(x: Array) -> Array:
    exponentials = np.exp(x - x.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def erf(x: Array) -> Array:
    """The error function, which NumPy lacks, from the C library's."""
    return np.vectorize(math.erf, otypes=[x.dtype])(x)
