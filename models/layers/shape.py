"""Layers that move numbers and change none."""

from __future__ import annotations

import math

from ..shapes import Natural, PositiveInt, Shape, show
from .base import BaseLayer


class Flatten(BaseLayer, frozen=True, kw_only=True, tag="flatten"):
    """All axes in one, in the order C, H, W. [C, H, W] -> [C·H·W]."""

    def output_shape(self, input_shape: Shape) -> Shape:
        return (math.prod(input_shape),)


class Reshape(BaseLayer, frozen=True, kw_only=True, tag="reshape"):
    """The same numbers in row-major order under another shape. [...] -> [*shape]."""

    shape: tuple[PositiveInt, ...]

    def output_shape(self, input_shape: Shape) -> Shape:
        if math.prod(self.shape) != math.prod(input_shape):
            raise ValueError(
                f"reshape of {show(input_shape)} ({math.prod(input_shape)} numbers) "
                f"to {show(self.shape)} ({math.prod(self.shape)} numbers)"
            )
        return self.shape


class Permute(BaseLayer, frozen=True, kw_only=True, tag="permute"):
    """Axis i of the output is axis axes[i] of the input, without the batch: [T, D] -> [D, T]."""

    axes: tuple[Natural, ...]

    def output_shape(self, input_shape: Shape) -> Shape:
        if sorted(self.axes) != list(range(len(input_shape))):
            raise ValueError(
                f"permute by {show(self.axes)} is no order of the axes of {show(input_shape)}"
            )
        return tuple(input_shape[axis] for axis in self.axes)
