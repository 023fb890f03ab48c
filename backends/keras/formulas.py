"""Activations by formulas of ours.

TensorFlow's own (2.21) hold their constants in float32. Its gelu is these operations too, in both
precisions; its leaky_relu is replaced in float64 alone. Keras' prelu (3.15) has the derivative 0 at
0.
"""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from ..contract import DType
from .lowered import Call

REPLACED: dict[DType, tuple[str, ...]] = {
    "float32": ("prelu", "gelu"),
    "float64": ("leaky_relu", "prelu", "gelu"),
}


def leaky_relu(slope: float) -> Call:
    return lambda x, run: tf.where(x > 0, x, slope * x)


def prelu(module: keras.layers.PReLU) -> Call:
    return lambda x, run: tf.where(x > 0, x, module.alpha.value * x)


def gelu(approximation: str) -> Call:
    if approximation == "none":
        return lambda x, run: x * (1 + tf.math.erf(x * 0.5**0.5)) / 2
    scale = (2 / np.pi) ** 0.5
    return lambda x, run: x * (1 + tf.tanh(scale * (x + 0.044715 * x * x * x))) / 2
