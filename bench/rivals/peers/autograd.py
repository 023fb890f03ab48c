"""autograd (HIPS): the gradient of NumPy code. Its examples write nets as functions, as here.

Its optimizers are whole training loops in float64, so both are written here; so is im2col, as a
primitive of its own, for its `convolve` is an einsum. The gradient of `max` is made in float64; all
else is float32.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import autograd.numpy as np
import numpy
from autograd import value_and_grad
from autograd.extend import defvjp, primitive
from autograd.scipy.special import logsumexp

MODES = ("eager",)

Array = numpy.ndarray
Parameters = Sequence[Array]


def _windows(x: Array, size: int, stride: int) -> Array:
    """Return the windows of x, [N, C, H, W] -> [N, C, K, K, H', W']."""
    windows = numpy.lib.stride_tricks.sliding_window_view(x, (size, size), (2, 3))
    return numpy.ascontiguousarray(windows[:, :, ::stride, ::stride].transpose(0, 1, 4, 5, 2, 3))


def _windows_vjp(patches: Array, x: Array, size: int, stride: int) -> Callable[[Array], Array]:
    high, wide = (stride * n for n in patches.shape[4:])

    def backward(g: Array) -> Array:
        dx = numpy.zeros_like(x)
        for i, j in itertools.product(range(size), repeat=2):
            dx[:, :, i : i + high : stride, j : j + wide : stride] += g[:, :, i, j]
        return dx

    return backward


_patches = primitive(_windows)
defvjp(_patches, _windows_vjp, None, None)


def _relu(x: Array) -> Array:
    return x * (x > 0)  # the gradient of maximum(0, x) is float64


def _sigmoid(x: Array) -> Array:
    return 0.5 * (np.tanh(0.5 * x) + 1)


def conv(p: Parameters, x: Array, *, padding: int) -> Array:
    """Convolve, ReLU, pool by two: [N, C, H, W] -> [N, O, H', W']."""
    weight, bias = p
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)), "constant")
    patches = _patches(x, weight.shape[2], 1)
    samples, *_, high, wide = patches.shape
    columns = patches.reshape(samples, -1, high * wide)
    y = np.matmul(weight.reshape(len(weight), -1), columns).reshape(samples, -1, high, wide)
    return np.max(_patches(_relu(y + bias), 2, 2), axis=(2, 3))


def dense(p: Parameters, x: Array) -> Array:
    """Return y = x W + b of every layer in turn, with ReLU between: [N, ...] -> [N, O]."""
    x = x.reshape(len(x), -1)
    for weight, bias in zip(p[:-2:2], p[1:-2:2], strict=True):
        x = _relu(np.dot(x, weight) + bias)
    return np.dot(x, p[-2]) + p[-1]


def lenet5(p: Parameters, x: Array) -> Array:
    return dense(p[4:], conv(p[2:4], conv(p[:2], x, padding=2), padding=0))


def convnet(p: Parameters, x: Array) -> Array:
    for i in (0, 2, 4):
        x = conv(p[i : i + 2], x, padding=1)
    return dense(p[6:], x)


def lstm(p: Parameters, x: Array) -> Array:
    """c = f c + i g and h = o tanh(c): [N, T, I] -> [N, O]. `split` is far cheaper than slices."""
    recurrent, weight, bias, *output = p
    h = c = numpy.zeros((len(x), 64), np.float32)
    for t in range(x.shape[1]):
        i, f, o, g = np.split(np.dot(x[:, t], weight) + np.dot(h, recurrent) + bias, 4, axis=1)
        c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
        h = _sigmoid(o) * np.tanh(c)
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


def _parameter(shape: tuple[int, ...]) -> Array:
    is_bias = max(shape) == math.prod(shape)
    limit = 0 if is_bias else math.sqrt(6 / (sum(shape[:2]) * math.prod(shape[2:])))
    return numpy.random.default_rng(0).uniform(-limit, limit, shape).astype(np.float32)


def _sgd(parameters: Parameters, rate: float) -> Callable[[Parameters], None]:
    """v ← μ v + g, w ← w − η v."""
    velocities = [numpy.zeros_like(p) for p in parameters]

    def update(gradients: Parameters) -> None:
        for p, v, g in zip(parameters, velocities, gradients, strict=True):
            v *= 0.875
            v += g
            p -= rate * v

    return update


def _adam(parameters: Parameters, rate: float) -> Callable[[Parameters], None]:
    """m and v are running means of g and g², w ← w − η √(1 − β₂ᵗ)/(1 − β₁ᵗ) m / (√v + ε)."""
    slots = [(numpy.zeros_like(p), numpy.zeros_like(p)) for p in parameters]
    steps = itertools.count(1)

    def update(gradients: Parameters) -> None:
        t = next(steps)
        scale = rate * math.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        for p, (m, v), g in zip(parameters, slots, gradients, strict=True):
            m += 0.1 * (g - m)
            v += 0.001 * (g * g - v)
            p -= scale * m / (numpy.sqrt(v) + 1e-8)

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
    one_hot = numpy.eye(10, dtype=np.float32)[y]

    def loss(p: Parameters, batch: Array) -> Array:
        logits = forward(p, x.take(batch, 0))
        return np.mean(logsumexp(logits, axis=1) - np.sum(logits * one_hot[batch], axis=1))

    loss_and_gradients = value_and_grad(loss)

    def step(batch: Array) -> float:
        value, gradients = loss_and_gradients(parameters, batch)
        update(gradients)
        return value

    return lambda order: numpy.array([step(batch) for batch in order])
