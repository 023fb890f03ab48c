"""Grouped convolutions in TensorFlow's operators, with the weights of Keras's layer.

Keras (3.15) compiles its own anew at every eager call.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from .lowered import Call, Pass, Tensor, composed


def by_group(module: Any) -> Call:
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
