"""Each loss as optax has it: a function of (loss, logits, targets) that gives the mean."""

from __future__ import annotations

import jax
import optax
from jax import numpy as jnp

from ...models import losses
from ..contract import lowering
from .arrays import Array


def mse(loss: losses.MSE, z: Array, y: Array) -> Array:
    return optax.squared_error(z, y).mean()


def mae(loss: losses.MAE, z: Array, y: Array) -> Array:
    d = z - y
    return (d * jnp.sign(d)).mean()  # jnp.abs (0.10) has the derivative 1 at 0


def huber(loss: losses.Huber, z: Array, y: Array) -> Array:
    return optax.huber_loss(z, y, delta=loss.delta).mean()


def softmax_cross_entropy(loss: losses.SoftmaxCrossEntropy, z: Array, y: Array) -> Array:
    if not loss.label_smoothing:
        return optax.softmax_cross_entropy_with_integer_labels(z, y).mean()
    labels = jax.nn.one_hot(y, z.shape[1], dtype=z.dtype)
    return optax.softmax_cross_entropy(z, optax.smooth_labels(labels, loss.label_smoothing)).mean()


def binary_cross_entropy(loss: losses.BinaryCrossEntropy, z: Array, y: Array) -> Array:
    return optax.sigmoid_binary_cross_entropy(z, y).mean()


LOSSES = lowering(losses.Loss, globals())
