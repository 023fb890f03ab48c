"""Layers that mix features: dense and embedding."""

from __future__ import annotations

import math

from ..initializers import GlorotUniform, Initializer, Normal, WeightSpec, Zeros
from ..shapes import PositiveInt, Shape
from .base import BaseLayer, Name, expect_rank, weight_and_bias


class Dense(BaseLayer, frozen=True, kw_only=True, tag="dense"):
    """y = x Wᵀ + b, on the last axis. [..., I] -> [..., units], weight [units, I], bias [units]."""

    name: Name
    units: PositiveInt
    use_bias: bool = True
    weight_initializer: Initializer = GlorotUniform()
    bias_initializer: Initializer = Zeros()

    def output_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) == 3:
            raise ValueError(
                f"dense needs an input [I] or [T, I], got {list(input_shape)}; flatten first"
            )
        return (*input_shape[:-1], self.units)

    def weights(self, input_shape: Shape) -> dict[str, WeightSpec]:
        return weight_and_bias(
            (self.units, input_shape[-1]),
            (input_shape[-1], self.units),
            weight=self.weight_initializer,
            bias=self.bias_initializer if self.use_bias else None,
        )

    def flops(self, input_shape: Shape, output_shape: Shape) -> int:
        return 2 * math.prod(input_shape) * self.units


class Embedding(BaseLayer, frozen=True, kw_only=True, tag="embedding"):
    """y[t] = W[x[t]]. [T] -> [T, units], weight [vocabulary_size, units].

    x holds ids 0 .. vocabulary_size - 1 in the execution's floating dtype (exact below 2²⁴), so it
    can only be the first layer.
    """

    name: Name
    vocabulary_size: PositiveInt
    units: PositiveInt
    weight_initializer: Initializer = Normal(std=0.05)

    def output_shape(self, input_shape: Shape) -> Shape:
        return (*expect_rank(self, input_shape, "[T]"), self.units)

    def weights(self, input_shape: Shape) -> dict[str, WeightSpec]:
        shape = (self.vocabulary_size, self.units)
        return {"weight": WeightSpec(shape, *shape, self.weight_initializer)}
