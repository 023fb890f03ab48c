"""Keras on JAX by hand, as its guide has it: `stateless_call` and `stateless_apply` in a step, op
by op or jitted; without convolutions, which XLA slows down in a loop on the CPU, many in one scan.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

os.environ["KERAS_BACKEND"] = "jax"

import jax
import keras
from jax import Array, lax
from jax import numpy as jnp
from keras import layers, optimizers

Network = tuple[keras.Model, keras.Optimizer]

MODES = ("eager", "compiled")


def mnist_mlp() -> Network:
    net = keras.Sequential(
        [
            layers.Flatten(),
            layers.Dense(256, activation="relu", kernel_initializer="he_normal"),
            layers.Dense(128, activation="relu", kernel_initializer="he_normal"),
            layers.Dense(10),
        ]
    )
    return net, optimizers.SGD(0.03125, momentum=0.875)


def lenet5() -> Network:
    net = keras.Sequential(
        [
            layers.Conv2D(6, 5, padding="same", activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(16, 5, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(120, activation="relu"),
            layers.Dense(84, activation="relu"),
            layers.Dense(10),
        ]
    )
    return net, optimizers.Adam(0.0003662109375, epsilon=1e-8)


def convnet() -> Network:
    net = keras.Sequential(
        [
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(64, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(128, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dense(10),
        ]
    )
    return net, optimizers.Adam(0.00048828125, epsilon=1e-8)


def mnist_rows_lstm() -> Network:
    net = keras.Sequential([layers.LSTM(64), layers.Dense(10)])
    return net, optimizers.Adam(0.0009765625, epsilon=1e-8)


WORKLOADS: dict[str, Callable[[], Network]] = {
    "mnist-mlp": mnist_mlp,
    "lenet5": lenet5,
    "convnet": convnet,
    "mnist-rows-lstm": mnist_rows_lstm,
}


def prepare(
    workload: str, x: np.ndarray, y: np.ndarray, *, mode: str, threads: int
) -> Callable[[np.ndarray], np.ndarray]:
    """Return `train(order)`: a step for each row of indices into x and y, and its mean loss.

    XLA takes its number of threads from the environment, when the process starts.
    """
    if workload == "mnist-rows-lstm":
        x = x.reshape(-1, 28, 28)  # an image is a sequence of its rows
    keras.config.set_floatx("float32")
    keras.utils.set_random_seed(0)
    images = np.ascontiguousarray(x.transpose(0, 2, 3, 1) if x.ndim == 4 else x)
    labels = y.astype(np.int32)
    net, optimizer = WORKLOADS[workload]()
    net.build((None, *images.shape[1:]))
    optimizer.build(net.trainable_variables)
    mean_loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def loss_of(weights: Any, others: Any, inputs: Array, targets: Array) -> tuple[Array, Any]:
        logits, others = net.stateless_call(weights, others, inputs, training=True)
        return mean_loss(targets, logits), others

    def step(state: Any, inputs: Array, targets: Array) -> tuple[Any, Array]:
        weights, others, slots = state
        differentiate = jax.value_and_grad(loss_of, has_aux=True)
        (loss, others), gradients = differentiate(weights, others, inputs, targets)
        weights, slots = optimizer.stateless_apply(slots, gradients, weights)
        return (weights, others, slots), loss

    # Copies: what a jitted step is given, it overwrites.
    variables = (net.trainable_variables, net.non_trainable_variables, optimizer.variables)
    state = tuple([jnp.array(variable.value) for variable in each] for each in variables)
    if mode == "compiled" and not any("conv" in layer.name for layer in net.layers):
        return _scanned(step, state, jnp.asarray(images), jnp.asarray(labels))
    step = jax.jit(step, donate_argnums=0) if mode == "compiled" else step
    return _looped(step, state, images, labels)


def _scanned(step: Any, state: Any, x: Array, y: Array) -> Callable[[np.ndarray], np.ndarray]:
    @partial(jax.jit, donate_argnums=0)
    def take_steps(state: Any, x: Array, y: Array, order: Array) -> tuple[Any, Array]:
        return lax.scan(lambda now, batch: step(now, x[batch], y[batch]), state, order)

    def train(order: np.ndarray) -> np.ndarray:
        nonlocal state
        state, losses = take_steps(state, x, y, order.astype(np.int32))
        jax.block_until_ready(state)
        return np.asarray(losses)

    return train


def _looped(
    step: Any, state: Any, x: np.ndarray, y: np.ndarray
) -> Callable[[np.ndarray], np.ndarray]:
    def train(order: np.ndarray) -> np.ndarray:
        nonlocal state
        losses = []
        for batch in order:
            state, loss = step(state, x.take(batch, 0), y.take(batch))
            losses.append(loss)
        jax.block_until_ready(state)
        return np.array(jax.device_get(losses))

    return train
