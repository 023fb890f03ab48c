"""Each loss by its formula: the mean loss, and its gradient for the logits."""

from __future__ import annotations

import numpy as np

from ...models import losses
from ..contract import lowering
from . import functions
from .passes import Array


def mse(loss: losses.MSE, z: Array, y: Array) -> tuple[Array, Array]:
    d = z - y
    return np.mean(d * d), 2 * d / d.size


def mae(loss: losses.MAE, z: Array, y: Array) -> tuple[Array, Array]:
    d = z - y
    return np.mean(np.abs(d)), np.sign(d) / d.size


def huber(loss: losses.Huber, z: Array, y: Array) -> tuple[Array, Array]:
    d = z - y
    inner = np.clip(d, -loss.delta, loss.delta)
    return np.mean(inner * (d - inner / 2)), inner / d.size


def softmax_cross_entropy(
    loss: losses.SoftmaxCrossEntropy, z: Array, y: Array
) -> tuple[Array, Array]:
    rows = np.arange(len(z))
    shifted = z - z.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    sums = exponentials.sum(axis=1, keepdims=True)
    smooth = loss.label_smoothing
    q = np.full_like(z, smooth / z.shape[1])
    q[rows, y] += 1 - smooth
    per_sample = np.log(sums[:, 0]) - (q * shifted).sum(axis=1)
    return np.mean(per_sample), (exponentials / sums - q) / len(z)


def binary_cross_entropy(
    loss: losses.BinaryCrossEntropy, z: Array, y: Array
) -> tuple[Array, Array]:
    return np.mean(functions.softplus(z) - z * y), (functions.sigmoid(z) - y) / z.size


LOSSES = lowering(losses.Loss, globals())
