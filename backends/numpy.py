"""The reference: plain NumPy formulas, in float32 or float64, that every other backend is held to.

A layer function computes its output and returns it with a closure for the way back: `backprop(dy)`
gives the gradient of the input (None where no weight lies before it) and of the layer's weights.
Images are [N, C, H, W]. No framework is imported here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..models import Model, Node
from ..models.layers import (
    AvgPool2D,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool2D,
    Layer,
    LeakyReLU,
    MaxPool2D,
    ReLU,
    Reshape,
    Residual,
    Sigmoid,
    Tanh,
)
from ..models.losses import MAE, MSE, BinaryCrossEntropy, Huber, SoftmaxCrossEntropy
from ..models.optimizers import SGD, Adam
from ..models.shapes import pair
from .contract import Execution, Masks, Mode, Weights, refuse_unsupported, starting_state

Array = np.ndarray
Backprop = Callable[[Array], tuple[Array | None, Weights]]


class _Pass(NamedTuple):
    """One forward pass: what the layer functions need beside their input."""

    weights: Weights
    training: bool
    masks: Masks | None
    rng: np.random.Generator
    outputs: dict[str, Array]

    def weight(self, node: Node[Layer], role: str) -> Array:
        return self.weights[f"{node.key}.{role}"]


def _sequence(nodes: Sequence[Node[Layer]], x: Array, run: _Pass) -> tuple[Array, Backprop]:
    backprops = []
    for node in nodes:
        x, backprop = LAYERS[type(node.layer)](node, x, run)
        run.outputs[node.key] = x
        backprops.append(backprop)

    def backward(dy: Array) -> tuple[Array | None, Weights]:
        gradients: Weights = {}
        dx: Array | None = dy
        for backprop in reversed(backprops):
            if dx is None:
                break
            dx, found = backprop(dx)
            gradients |= found
        return dx, gradients

    return x, backward


# Layers


def dense(node: Node[Dense], x: Array, run: _Pass) -> tuple[Array, Backprop]:
    weight = run.weight(node, "weight")
    y = x @ weight.T
    if node.layer.use_bias:
        y += run.weight(node, "bias")

    def backprop(dy: Array) -> tuple[Array | None, Weights]:
        dx = dy @ weight if node.needs_input_gradient else None
        gradients = {f"{node.key}.weight": dy.T @ x}
        if node.layer.use_bias:
            gradients[f"{node.key}.bias"] = dy.sum(axis=0)
        return dx, gradients

    return y, backprop


def conv2d(node: Node[Conv2D], x: Array, run: _Pass) -> tuple[Array, Backprop]:
    layer, weight = node.layer, run.weight(node, "weight")
    kernel, stride, padding = pair(layer.kernel_size), pair(layer.stride), pair(layer.padding)
    flat_weight = weight.reshape(len(weight), -1)
    columns = _im2col(_pad(x, padding, 0), kernel, stride)
    y = (flat_weight @ columns).reshape(len(x), *node.output_shape)
    if layer.use_bias:
        y += run.weight(node, "bias")[:, None, None]

    def backprop(dy: Array) -> tuple[Array | None, Weights]:
        flat_dy = dy.reshape(len(dy), len(weight), -1)
        dweight = (flat_dy @ columns.transpose(0, 2, 1)).sum(axis=0).reshape(weight.shape)
        gradients = {f"{node.key}.weight": dweight}
        if layer.use_bias:
            gradients[f"{node.key}.bias"] = dy.sum(axis=(0, 2, 3))
        if not node.needs_input_gradient:
            return None, gradients
        dcolumns = (flat_weight.T @ flat_dy).reshape(
            len(dy), x.shape[1], *kernel, *node.output_shape[1:]
        )
        dx = np.zeros_like(_pad(x, padding, 0))
        for (u, v), window in _windows(dx, kernel, stride):
            window += dcolumns[:, :, u, v]
        return _crop(dx, padding), gradients

    return y, backprop


def max_pool2d(node: Node[MaxPool2D], x: Array, run: _Pass) -> tuple[Array, Backprop]:
    layer = node.layer
    kernel, padding = pair(layer.kernel_size), pair(layer.padding)
    stride = pair(layer.stride or layer.kernel_size)
    padded = _pad(x, padding, -np.inf)
    y = np.full((len(x), *node.output_shape), -np.inf, x.dtype)
    for _, window in _windows(padded, kernel, stride):
        np.maximum(y, window, out=y)

    def backprop(dy: Array) -> tuple[Array | None, Weights]:
        dx = np.zeros_like(padded)
        unclaimed = np.ones(y.shape, bool)  # the first maximum of a window takes its gradient
        for (_, window), (_, dwindow) in zip(
            _windows(padded, kernel, stride), _windows(dx, kernel, stride), strict=True
        ):
            first = (window == y) & unclaimed
            unclaimed &= ~first
            dwindow += dy * first
        return _crop(dx, padding), {}

    return y, backprop


def avg_pool2d(node: Node[AvgPool2D], x: Array, run: _Pass) -> tuple[Array, Backprop]:
    kernel = pair(node.layer.kernel_size)
    stride = pair(node.layer.stride or node.layer.kernel_size)
    area = kernel[0] * kernel[1]
    y = np.zeros((len(x), *node.output_shape), x.dtype)
    for _, window in _windows(x, kernel, stride):
        y += window
    y /= area

    def backprop(dy: Array) -> tuple[Array | None, Weights]:
        dx = np.zeros_like(x)
        for _, dwindow in _windows(dx, kernel, stride):
            dwindow += dy / area
        return dx, {}

    return y, backprop


def global_avg_pool2d(node: Node[GlobalAvgPool2D], x: Array, run: _Pass) -> tuple[Array, Backprop]:
    def backprop(dy: Array) -> tuple[Array | None, Weights]:
        dx = dy[:, :, None, None] / (x.shape[2] * x.shape[3])
        return np.broadcast_to(dx, x.shape), {}

    return x.mean(axis=(2, 3)), backprop


def flatten(node: Node[Flatten], x: Array, run: _Pass) -> tuple[Array, Backprop]:
    return x.reshape(len(x), -1), lambda dy: (dy.reshape(x.shape), {})


def reshape(node: Node[Reshape], x: Array, run: _Pass) -> tuple[Array, Backprop]:
    return x.reshape(len(x), *node.output_shape), lambda dy: (dy.reshape(x.shape), {})


def relu(node: Node[ReLU], x: Array, run: _Pass) -> tuple[Array, Backprop]:
    y = np.maximum(x, 0)
    return y, lambda dy: (dy * (y > 0), {})


def leaky_relu(node: Node[LeakyReLU], x: Array, run: _Pass) -> tuple[Array, Backprop]:
    slope = np.where(x > 0, x.dtype.type(1), x.dtype.type(node.layer.negative_slope))
    return x * slope, lambda dy: (dy * slope, {})


def sigmoid(node: Node[Sigmoid], x: Array, run: _Pass) -> tuple[Array, Backprop]:
    y = _sigmoid(x)
    return y, lambda dy: (dy * y * (1 - y), {})


def tanh(node: Node[Tanh], x: Array, run: _Pass) -> tuple[Array, Backprop]:
    y = np.tanh(x)
    return y, lambda dy: (dy * (1 - y * y), {})


def dropout(node: Node[Dropout], x: Array, run: _Pass) -> tuple[Array, Backprop]:
    if not run.training:
        return x, lambda dy: (dy, {})
    rate = node.layer.rate
    mask = run.rng.random(x.shape) >= rate if run.masks is None else run.masks[node.key]
    scale = mask.astype(x.dtype) / (1 - rate)
    return x * scale, lambda dy: (dy * scale, {})


def residual(node: Node[Residual], x: Array, run: _Pass) -> tuple[Array, Backprop]:
    body, body_backprop = _sequence(node.branches["body"], x, run)
    shortcut, shortcut_backprop = _sequence(node.branches["shortcut"], x, run)

    def backprop(dy: Array) -> tuple[Array | None, Weights]:
        dbody, body_gradients = body_backprop(dy)
        dshortcut, shortcut_gradients = shortcut_backprop(dy)
        gradients = body_gradients | shortcut_gradients
        if dbody is None or dshortcut is None:
            return None, gradients
        return dbody + dshortcut, gradients

    return body + shortcut, backprop


def _sigmoid(x: Array) -> Array:
    """1 / (1 + e⁻ˣ), with an exponential that cannot overflow."""
    z = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, z) / (1 + z)


def _pad(x: Array, padding: tuple[int, ...], value: float) -> Array:
    if padding == (0, 0):
        return x
    rows, columns = padding
    widths = ((0, 0), (0, 0), (rows, rows), (columns, columns))
    return np.pad(x, widths, constant_values=value)


def _crop(x: Array, padding: tuple[int, ...]) -> Array:
    rows, columns = padding
    return x[:, :, rows : x.shape[2] - rows, columns : x.shape[3] - columns]


def _windows(
    x: Array, kernel: tuple[int, ...], stride: tuple[int, ...]
) -> Iterator[tuple[tuple[int, int], Array]]:
    """Yield, for each place (u, v) in the kernel, the view of x that it meets, [N, C, OH, OW]."""
    height, width = ((n - k) // s + 1 for n, k, s in zip(x.shape[2:], kernel, stride, strict=True))
    for u in range(kernel[0]):
        for v in range(kernel[1]):
            rows = slice(u, u + stride[0] * (height - 1) + 1, stride[0])
            columns = slice(v, v + stride[1] * (width - 1) + 1, stride[1])
            yield (u, v), x[:, :, rows, columns]


def _im2col(x: Array, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Array:
    """Return every window of x as a column, [N, C·kH·kW, OH·OW]."""
    stacked = np.stack([window for _, window in _windows(x, kernel, stride)], axis=2)
    return stacked.reshape(len(x), x.shape[1] * kernel[0] * kernel[1], -1)


# Losses: the mean loss, and its gradient for the logits


def mse(loss: MSE, z: Array, y: Array) -> tuple[Array, Array]:
    d = z - y
    return np.mean(d * d), 2 * d / d.size


def mae(loss: MAE, z: Array, y: Array) -> tuple[Array, Array]:
    d = z - y
    return np.mean(np.abs(d)), np.sign(d) / d.size


def huber(loss: Huber, z: Array, y: Array) -> tuple[Array, Array]:
    d = z - y
    inner = np.clip(d, -loss.delta, loss.delta)
    return np.mean(inner * (d - inner / 2)), inner / d.size


def softmax_cross_entropy(loss: SoftmaxCrossEntropy, z: Array, y: Array) -> tuple[Array, Array]:
    rows = np.arange(len(z))
    shifted = z - z.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    sums = exponentials.sum(axis=1, keepdims=True)
    dz = exponentials / sums
    dz[rows, y] -= 1
    return np.mean(np.log(sums[:, 0]) - shifted[rows, y]), dz / len(z)


def binary_cross_entropy(loss: BinaryCrossEntropy, z: Array, y: Array) -> tuple[Array, Array]:
    softplus = np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))
    return np.mean(softplus - z * y), (_sigmoid(z) - y) / z.size


# Optimizers: one weight and its slots, in place; step counts from 1


def sgd(optimizer: SGD, w: Array, g: Array, slots: dict[str, Array], step: int) -> None:
    if optimizer.weight_decay:
        g = g + optimizer.weight_decay * w
    if optimizer.momentum:
        v = slots["velocity"]
        v *= optimizer.momentum
        v += g
        g = g + optimizer.momentum * v if optimizer.nesterov else v
    w -= optimizer.learning_rate * g


def adam(optimizer: Adam, w: Array, g: Array, slots: dict[str, Array], step: int) -> None:
    m, v = slots["m"], slots["v"]
    m *= optimizer.beta1
    m += (1 - optimizer.beta1) * g
    v *= optimizer.beta2
    v += (1 - optimizer.beta2) * g * g
    mhat = m / (1 - optimizer.beta1**step)
    vhat = v / (1 - optimizer.beta2**step)
    w -= optimizer.learning_rate * mhat / (np.sqrt(vhat) + optimizer.epsilon)


LAYERS: dict[type, Callable[..., Any]] = {
    Dense: dense,
    Conv2D: conv2d,
    MaxPool2D: max_pool2d,
    AvgPool2D: avg_pool2d,
    GlobalAvgPool2D: global_avg_pool2d,
    Flatten: flatten,
    Reshape: reshape,
    ReLU: relu,
    LeakyReLU: leaky_relu,
    Sigmoid: sigmoid,
    Tanh: tanh,
    Dropout: dropout,
    Residual: residual,
}
LOSSES: dict[type, Callable[..., Any]] = {
    MSE: mse,
    MAE: mae,
    Huber: huber,
    SoftmaxCrossEntropy: softmax_cross_entropy,
    BinaryCrossEntropy: binary_cross_entropy,
}
OPTIMIZERS: dict[type, Callable[..., Any]] = {SGD: sgd, Adam: adam}

MODES: tuple[Mode, ...] = ("eager",)
UNSUPPORTED: dict[type | str, str] = {"compiled": "NumPy has no compiler; use --mode eager"}
DEVIATIONS: dict[str, str] = {}


def version() -> str:
    return np.__version__


def devices() -> list[str]:
    return ["cpu"]


def build(
    model: Model, weights: Weights, execution: Execution, *, seed: int, state: Weights | None
) -> _Trainer:
    refuse_unsupported(sys.modules[__name__], model, execution)
    return _Trainer(model, weights, np.dtype(execution.dtype), seed, state)


class _Trainer:
    def __init__(
        self, model: Model, weights: Weights, dtype: np.dtype, seed: int, state: Weights | None
    ) -> None:
        slots, self._step = starting_state(model, weights, state)
        self._model = model
        self._rng = np.random.Generator(np.random.Philox(key=seed))
        self._weights = {name: weights[name].astype(dtype) for name in model.weights}
        self._slots = {name: slot.astype(dtype) for name, slot in slots.items()}

    def stage(self, x: Array, y: Array, masks: Masks | None) -> tuple[Array, Array, Masks | None]:
        return x, y, masks

    def train(self, batches: Sequence[tuple[Array, Array, Masks | None]]) -> Array:
        return np.stack([self._train_one(*batch) for batch in batches])

    def gradients(self, batch: tuple[Array, Array, Masks | None]) -> tuple[float, Weights]:
        loss, gradients = self._loss_and_gradients(*batch)
        return float(loss), gradients

    def activations(self, batch: tuple[Array, Array, Masks | None]) -> dict[str, Array]:
        x, _, masks = batch
        outputs: dict[str, Array] = {}
        self._forward(x, training=True, masks=masks, outputs=outputs)
        return {key: output.copy() for key, output in outputs.items()}

    def predict(self, x: Array) -> Array:
        return self._forward(x, training=False, masks=None, outputs={})[0]

    def weights(self) -> Weights:
        return {name: weight.copy() for name, weight in self._weights.items()}

    def state(self) -> Weights:
        slots = {name: slot.copy() for name, slot in self._slots.items()}
        return slots | {"step": np.array(self._step)}

    def _forward(
        self, x: Array, *, training: bool, masks: Masks | None, outputs: dict[str, Array]
    ) -> tuple[Array, Backprop]:
        run = _Pass(self._weights, training, masks, self._rng, outputs)
        return _sequence(self._model.nodes, x, run)

    def _loss_and_gradients(self, x: Array, y: Array, masks: Masks | None) -> tuple[Array, Weights]:
        logits, backprop = self._forward(x, training=True, masks=masks, outputs={})
        loss, dlogits = LOSSES[type(self._model.loss)](self._model.loss, logits, y)
        return loss, backprop(dlogits)[1]

    def _train_one(self, x: Array, y: Array, masks: Masks | None) -> Array:
        loss, gradients = self._loss_and_gradients(x, y, masks)
        self._step += 1
        optimizer = self._model.optimizer
        update = OPTIMIZERS[type(optimizer)]
        for name, weight in self._weights.items():
            slots = {slot: self._slots[f"{name}.{slot}"] for slot in optimizer.slots()}
            update(optimizer, weight, gradients[name], slots, self._step)
        return loss
