"""How a weight starts: one frozen Struct per initializer, drawn in float64 by `init.py`.

`fan_in` and `fan_out` are the inputs and outputs of one unit: (I, O) for a dense layer,
(C·kH·kW, O·kH·kW) for a convolution.
"""

from __future__ import annotations

import math

import numpy as np
from msgspec import Struct

from .shapes import Finite, PositiveFloat, Shape


class WeightSpec(Struct, frozen=True):
    """Shape (canonical: output axis, then input, then space), fans and initializer of a weight."""

    shape: Shape
    fan_in: int
    fan_out: int
    initializer: Initializer
    trainable: bool = True  # false for running statistics, which no optimizer moves


class _Initializer(Struct, frozen=True, tag_field="type", forbid_unknown_fields=True):
    pass


class Zeros(_Initializer, frozen=True, tag="zeros"):
    """w = 0."""

    def draw(self, rng: np.random.Generator, weight: WeightSpec) -> np.ndarray:
        return np.zeros(weight.shape)


class Constant(_Initializer, frozen=True, tag="constant"):
    """w = value."""

    value: Finite

    def draw(self, rng: np.random.Generator, weight: WeightSpec) -> np.ndarray:
        return np.full(weight.shape, self.value)


class Uniform(_Initializer, frozen=True, tag="uniform"):
    """w ~ U[low, high)."""

    low: Finite = -0.05
    high: Finite = 0.05

    def __post_init__(self) -> None:
        if self.low >= self.high:
            raise ValueError(f"uniform: low {self.low} is not below high {self.high}")

    def draw(self, rng: np.random.Generator, weight: WeightSpec) -> np.ndarray:
        return rng.uniform(self.low, self.high, weight.shape)


class Normal(_Initializer, frozen=True, tag="normal"):
    """w ~ N(mean, std²)."""

    mean: Finite = 0.0
    std: PositiveFloat = 0.05

    def draw(self, rng: np.random.Generator, weight: WeightSpec) -> np.ndarray:
        return rng.normal(self.mean, self.std, weight.shape)


class TruncatedNormal(_Initializer, frozen=True, tag="truncated_normal"):
    """w ~ N(mean, std²), drawn again while |w - mean| > 2 std.

    `std` is that of the normal before the cut; the draws' own is 0.880 std.
    """

    mean: Finite = 0.0
    std: PositiveFloat = 0.05

    def draw(self, rng: np.random.Generator, weight: WeightSpec) -> np.ndarray:
        z = rng.standard_normal(weight.shape)
        while (outside := np.abs(z) > 2).any():
            z[outside] = rng.standard_normal(int(outside.sum()))
        return self.mean + self.std * z


class GlorotUniform(_Initializer, frozen=True, tag="glorot_uniform"):
    """w ~ U(-a, a), a = √(6 / (fan_in + fan_out)). Also called Xavier (Glorot & Bengio 2010)."""

    def draw(self, rng: np.random.Generator, weight: WeightSpec) -> np.ndarray:
        return _uniform(rng, weight.shape, 2 / (weight.fan_in + weight.fan_out))


class GlorotNormal(_Initializer, frozen=True, tag="glorot_normal"):
    """w ~ N(0, 2 / (fan_in + fan_out)). Also called Xavier. Not truncated."""

    def draw(self, rng: np.random.Generator, weight: WeightSpec) -> np.ndarray:
        return _normal(rng, weight.shape, 2 / (weight.fan_in + weight.fan_out))


class HeUniform(_Initializer, frozen=True, tag="he_uniform"):
    """w ~ U(-a, a), a = √(6 / fan_in). Also called Kaiming (He et al. 2015)."""

    def draw(self, rng: np.random.Generator, weight: WeightSpec) -> np.ndarray:
        return _uniform(rng, weight.shape, 2 / weight.fan_in)


class HeNormal(_Initializer, frozen=True, tag="he_normal"):
    """w ~ N(0, 2 / fan_in). Also called Kaiming (He et al. 2015). Not truncated."""

    def draw(self, rng: np.random.Generator, weight: WeightSpec) -> np.ndarray:
        return _normal(rng, weight.shape, 2 / weight.fan_in)


class LecunUniform(_Initializer, frozen=True, tag="lecun_uniform"):
    """w ~ U(-a, a), a = √(3 / fan_in) (LeCun et al. 1998, Efficient BackProp)."""

    def draw(self, rng: np.random.Generator, weight: WeightSpec) -> np.ndarray:
        return _uniform(rng, weight.shape, 1 / weight.fan_in)


class LecunNormal(_Initializer, frozen=True, tag="lecun_normal"):
    """w ~ N(0, 1 / fan_in) (LeCun et al. 1998, Efficient BackProp). Not truncated."""

    def draw(self, rng: np.random.Generator, weight: WeightSpec) -> np.ndarray:
        return _normal(rng, weight.shape, 1 / weight.fan_in)


def _uniform(rng: np.random.Generator, shape: Shape, variance: float) -> np.ndarray:
    limit = math.sqrt(3 * variance)
    return rng.uniform(-limit, limit, shape)


def _normal(rng: np.random.Generator, shape: Shape, variance: float) -> np.ndarray:
    return rng.normal(0.0, math.sqrt(variance), shape)


Initializer = (
    Zeros
    | Constant
    | Uniform
    | Normal
    | TruncatedNormal
    | GlorotUniform
    | GlorotNormal
    | HeUniform
    | HeNormal
    | LecunUniform
    | LecunNormal
)
