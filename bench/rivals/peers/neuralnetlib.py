"""neuralnetlib: Keras' interface on NumPy, with its own layers, losses and optimizers.

All is float64 and channels are last. Its LSTM clips gradients, whatever it is told.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from neuralnetlib.layers import (
    LSTM,
    Activation,
    Conv2D,
    Dense,
    Flatten,
    Input,
    Layer,
    MaxPooling2D,
)
from neuralnetlib.losses import SparseCategoricalCrossentropy
from neuralnetlib.models import Sequential
from neuralnetlib.optimizers import Adam, Momentum, Optimizer

MODES = ("eager",)

_BATCH = 64  # its gradients are sums over a batch


def _activated(layer: Layer, activation: str) -> list[Layer]:
    return [layer, Activation.from_name(activation)]


def _dense(*units: int) -> list[Layer]:
    layers = []
    for hidden in units:
        layers += _activated(Dense(hidden, weights_init="he_normal"), "relu")
    return [*layers, *_activated(Dense(10), "softmax")]


def _conv(filters: int, size: int, padding: str) -> list[Layer]:
    conv = Conv2D(filters, size, padding=padding, weights_init="he")
    return [*_activated(conv, "relu"), MaxPooling2D(2)]


def _net(shape: tuple[int, ...], layers: Sequence[Layer], optimizer: Optimizer) -> Sequential:
    net = Sequential(gradient_clip_threshold=0)
    for layer in (Input(shape), *layers):
        net.add(layer)
    net.compile(SparseCategoricalCrossentropy(), optimizer)
    return net


def mnist_mlp() -> Sequential:
    return _net((784,), _dense(256, 128), Momentum(2**-5 / _BATCH, momentum=0.875))


def lenet5() -> Sequential:
    layers = [*_conv(6, 5, "same"), *_conv(16, 5, "valid"), Flatten(), *_dense(120, 84)]
    return _net((28, 28, 1), layers, Adam(3 * 2**-13))


def convnet() -> Sequential:
    convs = [layer for filters in (32, 64, 128) for layer in _conv(filters, 3, "same")]
    return _net((28, 28, 1), [*convs, Flatten(), *_dense(128)], Adam(2**-11))


def mnist_rows_lstm() -> Sequential:
    return _net((28, 28), [LSTM(64), *_dense()], Adam(2**-10))


WORKLOADS = {
    "mnist-mlp": mnist_mlp,
    "lenet5": lenet5,
    "convnet": convnet,
    "mnist-rows-lstm": mnist_rows_lstm,
}


def prepare(
    workload: str, x: np.ndarray, y: np.ndarray, *, mode: str, threads: int
) -> Callable[[np.ndarray], np.ndarray]:
    """Return `train(order)`: int64 [steps, batch] -> losses [steps]. BLAS has its own threads."""
    if workload == "mnist-rows-lstm":
        x = x.reshape(-1, 28, 28)  # an image is a sequence of its rows
    net = WORKLOADS[workload]()
    x = x.astype(np.float64)  # once, where NumPy would do it in every product with a weight
    x = x.reshape(len(x), *net.layers[0].input_shape)  # one channel, so first is last
    return lambda order: np.array([net.train_on_batch(x[batch], y[batch]) for batch in order])
