"""What is done in TensorFlow's own operators, or by formula, where Keras's layer is not taken.

TensorFlow's activations (2.21) hold their constants in float32: its gelu, which is the operations
of the formula too, in both precisions, its leaky_relu in float64 alone.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ....models.shapes import Shape
from ...contract import DType
from ..lowered import Call, MeanLoss, Pass, Tensor, borders, composed

BY_FORMULA: dict[DType, tuple[str, ...]] = {
    "float32": ("prelu", "gelu"),
    "float64": ("leaky_relu", "prelu", "gelu"),
}
ATTENTION_BY_SCORES: tuple[DType, ...] = ()


def to_numpy(tensor: Tensor) -> np.ndarray:
    # A batch of a compiled loop on the CPU is NumPy's already.
    return tensor if isinstance(tensor, np.ndarray) else tensor.numpy()


def pad(x: Tensor, widths: list[tuple[int, int]], value: float = 0.0) -> Tensor:
    return tf.pad(x, widths, constant_values=value)


def mean_absolute_error(dtype: DType) -> MeanLoss:
    return keras.losses.MeanAbsoluteError(dtype=dtype)


def padded_max_pool(kernel: Shape, stride: Shape, padding: Shape, dtype: DType) -> Call:
    pads = borders(tuple((p, p) for p in padding))
    return lambda x, run: tf.nn.max_pool2d(x, kernel, stride, pads)


def conv_transpose(
    module: Any, stride: Shape, padding: Shape, space: Shape, use_bias: bool
) -> Call:
    pads = borders(tuple((p, p) for p in padding))

    def call(x: Tensor, run: Pass) -> Tensor:
        shape = tf.stack([tf.shape(x)[0], *space, module.filters])
        y = tf.nn.conv2d_transpose(x, module.kernel.value, shape, stride, pads)
        return tf.nn.bias_add(y, module.bias.value) if use_bias else y

    return call


def grouped(module: Any) -> Call:
    """Convolve by group: Keras (3.15) compiles its own anew at every eager call."""
    depth = module.kernel.shape[-2]
    square = module.rank == 2 and len(set(module.strides)) == 1  # or TensorFlow refuses
    convolve = (_depthwise if depth == 1 and square else _blockwise)(module)
    if not module.use_bias:
        return convolve
    return composed(convolve, lambda x, run: tf.nn.bias_add(x, module.bias.value))


def _depthwise(module: Any) -> Call:
    options = ((1, *module.strides, 1), module.padding.upper(), None, module.dilation_rate)
    shape = (*module.kernel.shape[:2], module.groups, -1)

    def call(x: Tensor, run: Pass) -> Tensor:
        return tf.nn.depthwise_conv2d(x, tf.reshape(module.kernel.value, shape), *options)

    return call


def _blockwise(module: Any) -> Call:
    options = (module.strides, module.padding.upper(), None, module.dilation_rate)

    def call(x: Tensor, run: Pass) -> Tensor:
        parts = tf.split(x, module.groups, axis=-1)
        kernels = tf.split(module.kernel.value, module.groups, axis=-1)
        pairs = zip(parts, kernels, strict=True)
        return tf.concat([tf.nn.convolution(part, k, *options) for part, k in pairs], axis=-1)

    return call


def binary_cross_entropy(dtype: DType) -> MeanLoss:
    return keras.losses.BinaryCrossentropy(from_logits=True, dtype=dtype)


def make_moments_exact(module: keras.layers.BatchNormalization) -> None:
    """Nothing is to be done: they are."""
