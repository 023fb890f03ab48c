"""Keras on PyTorch by hand, as its guide has it: autograd, Keras's layers and optimizer, eager or
under torch.compile.

The batches stay in NumPy: `take` gathers one and `from_numpy` shares its memory.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np

os.environ["KERAS_BACKEND"] = "torch"

import keras
import torch
from keras import layers, optimizers
from torch import Tensor

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
    """Return `train(order)`: a step for each row of indices into x and y, and its mean loss."""
    if workload == "mnist-rows-lstm":
        x = x.reshape(-1, 28, 28)  # an image is a sequence of its rows
    torch.set_num_threads(threads)
    keras.config.set_floatx("float32")
    keras.utils.set_random_seed(0)
    images = np.ascontiguousarray(x.transpose(0, 2, 3, 1) if x.ndim == 4 else x)
    net, optimizer = WORKLOADS[workload]()
    net.build((None, *images.shape[1:]))
    optimizer.build(net.trainable_variables)
    native_loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def mean_loss(inputs: Tensor, labels: Tensor) -> Tensor:
        return native_loss(labels, net(inputs, training=True))

    if mode == "compiled":
        mean_loss = torch.compile(mean_loss)

    def train(order: np.ndarray) -> np.ndarray:
        losses = []
        for batch in order:
            inputs, labels = (
                torch.from_numpy(images.take(batch, 0)),
                torch.from_numpy(y.take(batch)),
            )
            loss = mean_loss(inputs, labels)
            net.zero_grad()
            loss.backward()
            with torch.no_grad():
                gradients = [weight.value.grad for weight in net.trainable_weights]
                optimizer.apply(gradients, net.trainable_weights)
            losses.append(loss.detach())
        return torch.stack(losses).numpy()

    return train
