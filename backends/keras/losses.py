"""Each loss as Keras has it: a function of (targets, logits) that gives the mean."""

from __future__ import annotations

import keras

from ...models import losses
from ..contract import DType, lowering
from .engine import own
from .lowered import MeanLoss


def mse(loss: losses.MSE, dtype: DType) -> MeanLoss:
    return keras.losses.MeanSquaredError(dtype=dtype)


def mae(loss: losses.MAE, dtype: DType) -> MeanLoss:
    return own("operators").mean_absolute_error(dtype)


def huber(loss: losses.Huber, dtype: DType) -> MeanLoss:
    return keras.losses.Huber(loss.delta, dtype=dtype)


def softmax_cross_entropy(loss: losses.SoftmaxCrossEntropy, dtype: DType) -> MeanLoss:
    if smooth := loss.label_smoothing:
        native = keras.losses.CategoricalCrossentropy(True, smooth, dtype=dtype)
        return lambda y, z: native(keras.ops.one_hot(y, z.shape[-1], dtype=dtype), z)
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True, dtype=dtype)


def binary_cross_entropy(loss: losses.BinaryCrossEntropy, dtype: DType) -> MeanLoss:
    return own("operators").binary_cross_entropy(dtype)


LOSSES = lowering(losses.Loss, globals())
