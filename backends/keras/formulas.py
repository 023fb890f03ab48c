"""Layers by formulas of ours, in Keras's operations: an engine's `operators.py` says which.

Keras' prelu (3.15) has the derivative 0 at 0.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from ...models.shapes import Shape
from ..contract import DType
from .engine import own
from .lowered import Call, MeanLoss, Pass, Tensor, borders, chain


def leaky_relu(slope: float) -> Call:
    return lambda x, run: ops.where(x > 0, x, slope * x)


def prelu(module: keras.layers.PReLU) -> Call:
    return lambda x, run: ops.where(x > 0, x, module.alpha.value * x)


def hard_sigmoid(x: Tensor, run: Pass) -> Tensor:
    return ops.relu6(x + 3) / 6


def gelu(approximation: str) -> Call:
    if approximation == "none":
        return lambda x, run: x * (1 + ops.erf(x * 0.5**0.5)) / 2
    scale = float((2 / np.pi) ** 0.5)
    return lambda x, run: x * (1 + ops.tanh(scale * (x + 0.044715 * x * x * x))) / 2


def mean_absolute_error(dtype: DType) -> MeanLoss:
    def call(y: Tensor, z: Tensor) -> Tensor:
        d = z - y
        return ops.mean(d * ops.sign(d))

    return call


def padded_max_pool(kernel: Shape, stride: Shape, padding: Shape, dtype: DType) -> Call:
    """Keras can only pad by the "same" rule, which puts the odd row at the end alone."""
    pool = chain(keras.layers.MaxPooling2D(kernel, stride, dtype=dtype))
    pad, pads = own("operators").pad, borders(tuple((p, p) for p in padding))
    return lambda x, run: pool(pad(x, pads, -np.inf), run)


def conv_transpose(
    module: Any, stride: Shape, padding: Shape, space: Shape, use_bias: bool
) -> Call:
    """Cut the output from a whole one: Keras' own cropping is another, and not every length is
    made by its output_padding.
    """
    pad = own("operators").pad
    crop = (slice(None), *(slice(p, p + n) for p, n in zip(padding, space, strict=True)))

    def call(x: Tensor, run: Pass) -> Tensor:
        y = ops.conv_transpose(x, module.kernel.value, stride, "valid")
        lacking = [max(0, c.stop - n) for c, n in zip(crop[1:], y.shape[1:3], strict=True)]
        if any(lacking):
            y = pad(y, borders(tuple((0, n) for n in lacking)))
        y = y[crop]
        return y + module.bias.value if use_bias else y

    return call
