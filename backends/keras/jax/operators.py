"""What Keras's layers and losses on JAX are not taken for: all of it by formula.

JAX's leaky_relu and abs (0.10) have the derivative 1 at 0, and its attention takes the softmax in
float32 whatever its inputs are.
"""

from __future__ import annotations

import keras
import numpy as np
from jax import numpy as jnp

from ...contract import DType
from ..formulas import conv_transpose, mean_absolute_error, padded_max_pool
from ..lowered import MeanLoss, Tensor
from ..lowered import chain as grouped

__all__ = ["conv_transpose", "grouped", "mean_absolute_error", "padded_max_pool"]
BY_FORMULA: dict[DType, tuple[str, ...]] = {
    "float32": ("leaky_relu", "prelu"),
    "float64": ("leaky_relu", "prelu"),
}
ATTENTION_BY_SCORES: tuple[DType, ...] = ("float64",)


def to_numpy(tensor: Tensor) -> np.ndarray:
    return np.asarray(tensor)


def pad(x: Tensor, widths: list[tuple[int, int]], value: float = 0.0) -> Tensor:
    return jnp.pad(x, widths, constant_values=value)


def binary_cross_entropy(dtype: DType) -> MeanLoss:
    return keras.losses.BinaryCrossentropy(from_logits=True, dtype=dtype)


def make_moments_exact(module: keras.layers.BatchNormalization) -> None:
    """Nothing is to be done: they are."""
