"""mygrad: reverse mode on NumPy arrays, with its own convolution, pooling and loss.

It has no optimizer and no LSTM, so both are written here, the LSTM in its operations. The gradient
of `max_pool` is made in float64; all else is float32.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import mygrad as mg
import numpy as np
from mygrad.nnet.activations import relu, sigmoid, tanh
from mygrad.nnet.initializers import glorot_uniform
from mygrad.nnet.layers import conv_nd, max_pool
from mygrad.nnet.losses import softmax_crossentropy

MODES = ("eager",)

Parameters = Sequence[mg.Tensor]

mg.turn_memory_guarding_off()  # what its documentation advises for speed


def dense(p: Parameters, x: mg.Tensor) -> mg.Tensor:
    """y = x W + b of every layer in turn, with ReLU between: [N, ...] -> [N, O]."""
    x = x.reshape(len(x), -1)
    for weight, bias in zip(p[:-2:2], p[1:-2:2], strict=True):
        x = relu(mg.matmul(x, weight) + bias)
    return mg.matmul(x, p[-2]) + p[-1]


def conv(p: Parameters, x: mg.Tensor, *, padding: int) -> mg.Tensor:
    """Convolve, ReLU, pool by two: [N, I, H, W] -> [N, O, H', W']."""
    weight, bias = p
    y = relu(conv_nd(x, weight, stride=1, padding=padding) + bias)
    if y.shape[2] % 2:  # max_pool refuses a remainder
        y = y[:, :, :-1, :-1]
    return max_pool(y, (2, 2), 2)


def lenet5(p: Parameters, x: np.ndarray) -> mg.Tensor:
    return dense(p[4:], conv(p[2:4], conv(p[:2], x, padding=2), padding=0))


def convnet(p: Parameters, x: np.ndarray) -> mg.Tensor:
    for i in (0, 2, 4):
        x = conv(p[i : i + 2], x, padding=1)
    return dense(p[6:], x)


def lstm(p: Parameters, x: np.ndarray) -> mg.Tensor:
    """c = f c + i g and h = o tanh(c), gates stacked as i, f, o, g: [N, T, I] -> [N, O]."""
    recurrent, weight, bias, *output = p
    h = c = np.zeros((len(x), 64), np.float32)
    for t in range(x.shape[1]):
        z = mg.add_sequence(mg.matmul(x[:, t], weight), mg.matmul(h, recurrent), bias)
        ifo, g = sigmoid(z[:, :192]), tanh(z[:, 192:])
        c = ifo[:, 64:128] * c + ifo[:, :64] * g
        h = ifo[:, 128:] * tanh(c)
    return dense(output, h)


WORKLOADS = {"mnist-mlp": dense, "lenet5": lenet5, "convnet": convnet, "mnist-rows-lstm": lstm}
_RATES = {"mnist-mlp": 2**-5, "lenet5": 3 * 2**-13, "convnet": 2**-11, "mnist-rows-lstm": 2**-10}
_SHAPES = {
    "mnist-mlp": ((784, 256), (256,), (256, 128), (128,), (128, 10), (10,)),
    "lenet5": (
        *((6, 1, 5, 5), (6, 1, 1), (16, 6, 5, 5), (16, 1, 1)),
        *((400, 120), (120,), (120, 84), (84,), (84, 10), (10,)),
    ),
    "convnet": (
        *((32, 1, 3, 3), (32, 1, 1), (64, 32, 3, 3), (64, 1, 1), (128, 64, 3, 3), (128, 1, 1)),
        *((1152, 128), (128,), (128, 10), (10,)),
    ),
    "mnist-rows-lstm": ((64, 256), (28, 256), (256,), (64, 10), (10,)),
}


def _parameter(shape: tuple[int, ...]) -> mg.Tensor:
    is_bias = max(shape) == math.prod(shape)
    return mg.zeros(shape, dtype=np.float32) if is_bias else glorot_uniform(*shape)


def _sgd(parameters: Parameters, rate: float) -> Callable[[], None]:
    """v ← μ v + g, w ← w − η v."""
    velocities = [np.zeros_like(p.data) for p in parameters]

    def update() -> None:
        for p, v in zip(parameters, velocities, strict=True):
            v *= 0.875
            v += p.grad
            p.data -= rate * v

    return update


def _adam(parameters: Parameters, rate: float) -> Callable[[], None]:
    """m and v are running means of g and g², w ← w − η √(1 − β₂ᵗ)/(1 − β₁ᵗ) m / (√v + ε)."""
    slots = [(np.zeros_like(p.data), np.zeros_like(p.data)) for p in parameters]
    steps = itertools.count(1)

    def update() -> None:
        t = next(steps)
        scale = rate * math.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        for p, (m, v) in zip(parameters, slots, strict=True):
            m += 0.1 * (p.grad - m)
            v += 0.001 * (p.grad * p.grad - v)
            p.data -= scale * m / (np.sqrt(v) + 1e-8)

    return update


def prepare(
    workload: str, x: np.ndarray, y: np.ndarray, *, mode: str, threads: int
) -> Callable[[np.ndarray], np.ndarray]:
    """Return `train(order)`: int64 [steps, batch] -> losses [steps]. BLAS has its own threads."""
    if workload == "mnist-rows-lstm":
        x = x.reshape(-1, 28, 28)  # an image is a sequence of its rows
    forward = WORKLOADS[workload]
    parameters = [_parameter(shape) for shape in _SHAPES[workload]]
    update = (_sgd if workload == "mnist-mlp" else _adam)(parameters, _RATES[workload])

    def step(batch: np.ndarray) -> float:
        loss = softmax_crossentropy(forward(parameters, x.take(batch, 0)), y[batch])
        loss.backward()
        update()
        return loss.item()

    return lambda order: np.array([step(batch) for batch in order])
