"""NumPy by hand: every layer knows its way forward and back, and nothing asks for the gradient of
the data.

The batch is the last axis: images are [C, H, W, N], features [I, N]. So a convolution is one
product of its weight with the image's columns, and every slice has long runs of memory.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

MODES: tuple[str, ...] = ("eager",)


class Layer:
    """A function of x and of its weights, each beside its gradient; most have none."""

    weights: tuple[np.ndarray, ...] = ()
    gradients: tuple[np.ndarray, ...] = ()

    def initialize(self, units: int, *fans: int) -> None:
        """Draw a weight [units, fan] for each fan, by He, and add a bias of zeros."""
        draw = np.random.default_rng(0).standard_normal
        drawn = [draw((units, fan), np.float32) * np.float32(np.sqrt(2 / fan)) for fan in fans]
        self.weights = (*drawn, np.zeros((units, 1), np.float32))
        self.gradients = tuple(np.empty_like(weight) for weight in self.weights)

    def forward(self, x: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def learn(self, dy: np.ndarray) -> None:
        """Compute the gradients of the weights."""

    def backward(self, dy: np.ndarray) -> np.ndarray:
        """Return the gradient of the input."""
        raise NotImplementedError


class Dense(Layer):
    """y = W x + b: [I, N], or images with I values, -> [O, N]."""

    def __init__(self, inputs: int, units: int) -> None:
        self.initialize(units, inputs)

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.shape = x.shape
        self.x = x.reshape(-1, x.shape[-1])
        y = self.weights[0] @ self.x
        y += self.weights[1]
        return y

    def learn(self, dy: np.ndarray) -> None:
        np.matmul(dy, self.x.T, out=self.gradients[0])
        dy.sum(axis=1, keepdims=True, out=self.gradients[1])

    def backward(self, dy: np.ndarray) -> np.ndarray:
        return (self.weights[0].T @ dy).reshape(self.shape)


class Convolution(Layer):
    """Stride 1: [C, H, W, N] -> [O, H + 2p - k + 1, W + 2p - k + 1, N]."""

    def __init__(self, channels: int, filters: int, kernel: int, padding: int = 0) -> None:
        self.initialize(filters, channels * kernel**2)
        self.kernel, self.padding = kernel, padding

    def forward(self, x: np.ndarray) -> np.ndarray:
        k, p = self.kernel, self.padding
        x = np.pad(x, ((0, 0), (p, p), (p, p), (0, 0)))
        self.padded = x.shape
        windows = sliding_window_view(x, (k, k), axis=(1, 2)).transpose(0, 4, 5, 1, 2, 3)
        self.windows = windows.shape  # [C, k, k, H, W, N]
        self.columns = windows.reshape(len(x) * k * k, -1)
        y = self.weights[0] @ self.columns
        y += self.weights[1]
        return y.reshape(-1, *self.windows[3:])

    def learn(self, dy: np.ndarray) -> None:
        dy = dy.reshape(len(dy), -1)
        np.matmul(dy, self.columns.T, out=self.gradients[0])
        dy.sum(axis=1, keepdims=True, out=self.gradients[1])

    def backward(self, dy: np.ndarray) -> np.ndarray:
        k, p = self.kernel, self.padding
        _, height, width, _ = dy.shape
        columns = (self.weights[0].T @ dy.reshape(len(dy), -1)).reshape(self.windows)
        dx: np.ndarray = np.zeros(self.padded, np.float32)
        for i, j in np.ndindex(k, k):
            dx[:, i : i + height, j : j + width] += columns[:, i, j]
        return dx[:, p : dx.shape[1] - p, p : dx.shape[2] - p]


class ReLU(Layer):
    def forward(self, x: np.ndarray) -> np.ndarray:
        self.y = np.maximum(x, 0)
        return self.y

    def backward(self, dy: np.ndarray) -> np.ndarray:
        return dy * (self.y > 0)


class MaxPool(Layer):
    """The maximum of each 2 × 2 window; the gradient goes to the first of equals."""

    def _places(self, x: np.ndarray) -> list[np.ndarray]:
        height, width = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
        return [x[:, i:height:2, j:width:2] for i, j in np.ndindex(2, 2)]

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.x = x
        a, b, c, d = self._places(x)
        self.y = np.maximum(np.maximum(a, b), np.maximum(c, d))
        return self.y

    def backward(self, dy: np.ndarray) -> np.ndarray:
        dx = np.zeros_like(self.x)
        free = np.ones(dy.shape, bool)
        for place, gradient in zip(self._places(self.x), self._places(dx), strict=True):
            chosen = (place == self.y) & free
            np.multiply(dy, chosen, out=gradient)
            free ^= chosen
        return dx


class LSTM(Layer):
    """The last state of [T, I, N]: [H, N]. Gates are in the order i, f, g, o."""

    def __init__(self, inputs: int, units: int) -> None:
        self.initialize(4 * units, inputs, units)
        self.units = units

    def forward(self, x: np.ndarray) -> np.ndarray:
        weight, recurrent, bias = self.weights
        inputs = weight @ x + bias  # [T, 4H, N], all steps at once
        h = c = np.zeros((self.units, x.shape[-1]), np.float32)
        self.x, self.steps = x, []
        for z in inputs:
            z += recurrent @ h
            g = np.tanh(z[2 * self.units : 3 * self.units])
            z = 1 / (1 + np.exp(-z))
            i, f, _, o = np.split(z, 4)
            before, c = (h, c), f * c + i * g
            tanh_c = np.tanh(c)
            h = o * tanh_c
            self.steps.append((before, (i, f, g, o), tanh_c))
        return h

    def learn(self, dy: np.ndarray) -> None:
        weight, recurrent, _ = self.weights
        dz = np.empty((len(self.x), len(weight), dy.shape[-1]), np.float32)
        dh, dc = dy, np.zeros_like(dy)
        for t, ((_, c), (i, f, g, o), tanh_c) in reversed(list(enumerate(self.steps))):
            dc = dc + dh * o * (1 - tanh_c**2)
            di, df, dg, do = np.split(dz[t], 4)
            di[:] = dc * g * i * (1 - i)
            df[:] = dc * c * f * (1 - f)
            dg[:] = dc * i * (1 - g**2)
            do[:] = dh * tanh_c * o * (1 - o)
            dh, dc = recurrent.T @ dz[t], dc * f
        states = np.stack([h for (h, _), _, _ in self.steps])
        self.gradients[0][:] = np.tensordot(dz, self.x, ((0, 2), (0, 2)))
        self.gradients[1][:] = np.tensordot(dz, states, ((0, 2), (0, 2)))
        dz.sum(axis=(0, 2), out=self.gradients[2][:, 0])


def _weights(layers: list[Layer]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return every weight with its gradient."""
    return [pair for a in layers for pair in zip(a.weights, a.gradients, strict=True)]


class Momentum:
    """v ← m v + g; w ← w - η v."""

    def __init__(self, layers: list[Layer], learning_rate: float, momentum: float) -> None:
        self.rate, self.momentum = learning_rate, momentum
        self.parts = [(w, g, np.zeros_like(w)) for w, g in _weights(layers)]

    def step(self) -> None:
        for weight, gradient, velocity in self.parts:
            velocity *= self.momentum
            velocity += gradient
            weight -= self.rate * velocity


class Adam:
    """m ← β₁ m + (1 - β₁) g; v ← β₂ v + (1 - β₂) g²; w ← w - η m̂ / (√v̂ + ε)."""

    def __init__(self, layers: list[Layer], learning_rate: float) -> None:
        self.rate, self.t = learning_rate, 0
        self.parts = [(w, g, np.zeros_like(w), np.zeros_like(w)) for w, g in _weights(layers)]

    def step(self) -> None:
        self.t += 1
        rate = self.rate / (1 - 0.9**self.t)
        scale = 1 / np.sqrt(1 - 0.999**self.t)
        for weight, gradient, m, v in self.parts:
            m *= 0.9
            m += 0.1 * gradient
            v *= 0.999
            v += 0.001 * gradient**2
            root = np.sqrt(v)
            root *= np.float32(scale)
            root += np.float32(1e-8)
            weight -= np.float32(rate) * m / root


Network = tuple[list[Layer], Momentum | Adam]


def mnist_mlp() -> Network:
    layers = [Dense(784, 256), ReLU(), Dense(256, 128), ReLU(), Dense(128, 10)]
    return layers, Momentum(layers, 0.03125, 0.875)


def lenet5() -> Network:
    convolutions = [Convolution(1, 6, 5, padding=2), ReLU(), MaxPool()]
    convolutions += [Convolution(6, 16, 5), ReLU(), MaxPool()]
    layers = [*convolutions, Dense(400, 120), ReLU(), Dense(120, 84), ReLU(), Dense(84, 10)]
    return layers, Adam(layers, 0.0003662109375)


def convnet() -> Network:
    layers: list[Layer] = []
    for channels, filters in ((1, 32), (32, 64), (64, 128)):
        layers += [Convolution(channels, filters, 3, padding=1), ReLU(), MaxPool()]
    layers += [Dense(1152, 128), ReLU(), Dense(128, 10)]
    return layers, Adam(layers, 0.00048828125)


def mnist_rows_lstm() -> Network:
    layers = [LSTM(28, 64), Dense(64, 10)]
    return layers, Adam(layers, 0.0009765625)


WORKLOADS: dict[str, Callable[[], Network]] = {
    "mnist-mlp": mnist_mlp,
    "lenet5": lenet5,
    "convnet": convnet,
    "mnist-rows-lstm": mnist_rows_lstm,
}


def prepare(
    workload: str, x: np.ndarray, y: np.ndarray, *, mode: str, threads: int
) -> Callable[[np.ndarray], np.ndarray]:
    """Return `train(order)`: one step per row of indices into x and y; the losses before each.

    BLAS takes its number of threads from the environment, when the process starts.
    """
    if workload == "mnist-rows-lstm":
        x = x.reshape(-1, 28, 28)  # an image is a sequence of its rows
    layers, optimizer = WORKLOADS[workload]()

    def take_step(inputs: np.ndarray, labels: np.ndarray) -> np.floating:
        for layer in layers:
            inputs = layer.forward(inputs)
        loss, gradient = _cross_entropy(inputs, labels)
        for layer in reversed(layers[1:]):
            layer.learn(gradient)
            gradient = layer.backward(gradient)
        layers[0].learn(gradient)
        optimizer.step()
        return loss

    def train(order: np.ndarray) -> np.ndarray:
        batches = ((np.moveaxis(x.take(i, 0), 0, -1), y.take(i)) for i in order)
        return np.array([take_step(np.ascontiguousarray(a), b) for a, b in batches])

    return train


def _cross_entropy(logits: np.ndarray, labels: np.ndarray) -> tuple[np.floating, np.ndarray]:
    """The mean of -log softmax(logits)[label], and its gradient: [K, N]."""
    samples = np.arange(len(labels))
    logits = logits - logits.max(axis=0)
    exponentials = np.exp(logits)
    total = exponentials.sum(axis=0)
    loss = (np.log(total) - logits[labels, samples]).mean()
    gradient = exponentials / total
    gradient[labels, samples] -= 1
    gradient /= len(labels)
    return loss, gradient
