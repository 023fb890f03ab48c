"""The reference: plain NumPy formulas, in float32 or float64, that every other backend is held to.

A layer function computes its output and returns it with a closure for the way back: `backprop(dy)`
gives the gradient of the input (None where no weight lies before it) and of the layer's weights.
Images are [N, C, H, W]. No framework is imported here.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...models import Model, Node
from ...models.layers import (
    ELU,
    GELU,
    GRU,
    LSTM,
    AvgPool2D,
    BatchNorm,
    Concat,
    Conv1D,
    Conv2D,
    ConvTranspose2D,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    GlobalAvgPool1D,
    GlobalAvgPool2D,
    HardSigmoid,
    Layer,
    LayerNorm,
    LeakyReLU,
    MaxPool2D,
    MultiHeadAttention,
    Permute,
    ReLU,
    Reshape,
    Residual,
    Sigmoid,
    SiLU,
    SimpleRNN,
    Softmax,
    Softplus,
    Tanh,
)
from ...models.layers.convolution import Pads
from ...models.losses import MAE, MSE, BinaryCrossEntropy, Huber, SoftmaxCrossEntropy
from ...models.optimizers import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop
from ...models.shapes import pair
from ..contract import (
    Deviation,
    Execution,
    Gap,
    Masks,
    Mode,
    Weights,
    refuse_unsupported,
    starting_state,
)

Array = np.ndarray
Backprop = Callable[[Array], tuple[Array | None, Weights]]


class Pass(NamedTuple):
    """One forward pass: what the layer functions need beside their input."""

    weights: Weights
    training: bool
    masks: Masks | None
    rng: np.random.Generator
    outputs: dict[str, Array]
    statistics: Weights  # running statistics as they will be, if a step is taken

    def weight(self, node: Node[Layer], role: str) -> Array:
        return self.weights[f"{node.key}.{role}"]


def _sequence(nodes: Sequence[Node[Layer]], x: Array, run: Pass) -> tuple[Array, Backprop]:
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


def dense(node: Node[Dense], x: Array, run: Pass) -> tuple[Array, Backprop]:
    weight = run.weight(node, "weight")
    y = x @ weight.T
    if node.layer.use_bias:
        y += run.weight(node, "bias")

    def backprop(dy: Array) -> tuple[Array | None, Weights]:
        dx = dy @ weight if node.needs_input_gradient else None
        rows = dy.reshape(-1, dy.shape[-1])
        gradients = {f"{node.key}.weight": rows.T @ x.reshape(-1, x.shape[-1])}
        if node.layer.use_bias:
            gradients[f"{node.key}.bias"] = rows.sum(axis=0)
        return dx, gradients

    return y, backprop


def conv1d(node: Node[Conv1D], x: Array, run: Pass) -> tuple[Array, Backprop]:
    """The conv2d of an image one pixel high."""
    layer = node.layer
    weight = run.weight(node, "weight")[:, :, None, :]
    pads = ((0, 0), *layer.pads(node.input_shape))
    y, backprop_image = _convolve(
        node, x[:, :, None, :], weight, run, pads, (1, layer.stride), (1, layer.dilation)
    )

    def backprop(dy: Array) -> tuple[Array | None, Weights]:
        dx, gradients = backprop_image(dy[:, :, None, :])
        gradients[f"{node.key}.weight"] = gradients[f"{node.key}.weight"][:, :, 0]
        return None if dx is None else dx[:, :, 0], gradients

    return y[:, :, 0], backprop


def conv2d(node: Node[Conv2D], x: Array, run: Pass) -> tuple[Array, Backprop]:
    layer = node.layer
    pads = layer.pads(node.input_shape)
    weight = run.weight(node, "weight")
    return _convolve(node, x, weight, run, pads, pair(layer.stride), pair(layer.dilation))


def _convolve(
    node: Node[Conv1D] | Node[Conv2D],
    x: Array,
    weight: Array,
    run: Pass,
    pads: Pads,
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
) -> tuple[Array, Backprop]:
    groups, kernel, count = node.layer.groups, weight.shape[2:], len(x)
    padded = _pad(x, pads, 0)
    # [N, groups, (C / groups)·kH·kW, OH·OW] and [groups, O / groups, (C / groups)·kH·kW]
    columns = _im2col(padded, kernel, stride, dilation)
    space = columns.shape[-2:]
    columns = columns.reshape(count, groups, -1, space[0] * space[1])
    flat_weight = weight.reshape(groups, len(weight) // groups, -1)
    y = (flat_weight @ columns).reshape(count, len(weight), *space)
    if node.layer.use_bias:
        y += run.weight(node, "bias")[:, None, None]

    def backprop(dy: Array) -> tuple[Array | None, Weights]:
        flat_dy = dy.reshape(count, groups, len(weight) // groups, -1)
        dweight = (flat_dy @ columns.swapaxes(2, 3)).sum(axis=0)
        gradients = {f"{node.key}.weight": dweight.reshape(weight.shape)}
        if node.layer.use_bias:
            gradients[f"{node.key}.bias"] = dy.sum(axis=(0, 2, 3))
        if not node.needs_input_gradient:
            return None, gradients
        dcolumns = flat_weight.swapaxes(1, 2) @ flat_dy
        dcolumns = dcolumns.reshape(count, x.shape[1], *kernel, *space)
        dx = _col2im(dcolumns, padded.shape, kernel, stride, dilation)
        return _crop(dx, pads), gradients

    return y, backprop


def conv_transpose2d(node: Node[ConvTranspose2D], x: Array, run: Pass) -> tuple[Array, Backprop]:
    layer, weight = node.layer, run.weight(node, "weight")
    kernel, stride, padding = pair(layer.kernel_size), pair(layer.stride), pair(layer.padding)
    pads = tuple((p, p) for p in padding)
    padded = [n + 2 * p for n, p in zip(node.output_shape[1:], padding, strict=True)]
    flat_weight, flat_x = weight.reshape(len(weight), -1), x.reshape(*x.shape[:2], -1)
    columns = (flat_weight.T @ flat_x).reshape(len(x), layer.filters, *kernel, *x.shape[2:])
    y = _col2im(columns, (len(x), layer.filters, *padded), kernel, stride, (1, 1))
    y = _crop(y, pads)
    if layer.use_bias:
        y = y + run.weight(node, "bias")[:, None, None]

    def backprop(dy: Array) -> tuple[Array | None, Weights]:
        dcolumns = _im2col(_pad(dy, pads, 0), kernel, stride, (1, 1))
        dcolumns = dcolumns.reshape(len(x), flat_weight.shape[1], -1)
        dweight = (flat_x @ dcolumns.swapaxes(1, 2)).sum(axis=0)
        gradients = {f"{node.key}.weight": dweight.reshape(weight.shape)}
        if layer.use_bias:
            gradients[f"{node.key}.bias"] = dy.sum(axis=(0, 2, 3))
        return (flat_weight @ dcolumns).reshape(x.shape), gradients

    return y, backprop


def max_pool2d(node: Node[MaxPool2D], x: Array, run: Pass) -> tuple[Array, Backprop]:
    kernel, stride, pads = _pooling(node.layer)
    padded = _pad(x, pads, -np.inf)
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
        return _crop(dx, pads), {}

    return y, backprop


def avg_pool2d(node: Node[AvgPool2D], x: Array, run: Pass) -> tuple[Array, Backprop]:
    kernel, stride, pads = _pooling(node.layer)
    padded = _pad(x, pads, 0)
    area: Array | int = kernel[0] * kernel[1]
    if not node.layer.count_include_pad:
        inside = _pad(np.ones((1, 1, *x.shape[2:]), x.dtype), pads, 0)
        area = _sum_windows(inside, kernel, stride)
    y = _sum_windows(padded, kernel, stride) / area

    def backprop(dy: Array) -> tuple[Array | None, Weights]:
        dx, share = np.zeros_like(padded), dy / area
        for _, dwindow in _windows(dx, kernel, stride):
            dwindow += share
        return _crop(dx, pads), {}

    return y, backprop


def global_avg_pool1d(node: Node[GlobalAvgPool1D], x: Array, run: Pass) -> tuple[Array, Backprop]:
    return x.mean(axis=1), lambda dy: (
        np.broadcast_to(dy[:, None, :] / x.shape[1], x.shape),
        {},
    )


def global_avg_pool2d(node: Node[GlobalAvgPool2D], x: Array, run: Pass) -> tuple[Array, Backprop]:
    def backprop(dy: Array) -> tuple[Array | None, Weights]:
        dx = dy[:, :, None, None] / (x.shape[2] * x.shape[3])
        return np.broadcast_to(dx, x.shape), {}

    return x.mean(axis=(2, 3)), backprop


def flatten(node: Node[Flatten], x: Array, run: Pass) -> tuple[Array, Backprop]:
    return x.reshape(len(x), -1), lambda dy: (dy.reshape(x.shape), {})


def reshape(node: Node[Reshape], x: Array, run: Pass) -> tuple[Array, Backprop]:
    return x.reshape(len(x), *node.output_shape), lambda dy: (dy.reshape(x.shape), {})


def permute(node: Node[Permute], x: Array, run: Pass) -> tuple[Array, Backprop]:
    axes = (0, *(axis + 1 for axis in node.layer.axes))
    return x.transpose(axes), lambda dy: (dy.transpose(np.argsort(axes)), {})


def batch_norm(node: Node[BatchNorm], x: Array, run: Pass) -> tuple[Array, Backprop]:
    layer, axes = node.layer, (0, 2, 3) if x.ndim == 4 else (0,)
    shape = (1, -1, 1, 1) if x.ndim == 4 else (1, -1)
    mean, var = run.weight(node, "running_mean"), run.weight(node, "running_var")
    if run.training:
        mean, var = x.mean(axis=axes), x.var(axis=axes)
        for role, new in (("running_mean", mean), ("running_var", var)):
            moved = (1 - layer.momentum) * run.weight(node, role) + layer.momentum * new
            run.statistics[f"{node.key}.{role}"] = moved
    inverse = 1 / np.sqrt(var + layer.epsilon)
    normal = (x - mean.reshape(shape)) * inverse.reshape(shape)
    return _scale_and_shift(node, normal, inverse.reshape(shape), axes, run)


def layer_norm(node: Node[LayerNorm], x: Array, run: Pass) -> tuple[Array, Backprop]:
    var = x.var(axis=-1, keepdims=True)
    inverse = 1 / np.sqrt(var + node.layer.epsilon)
    normal = (x - x.mean(axis=-1, keepdims=True)) * inverse
    return _scale_and_shift(node, normal, inverse, (-1,), run)


def _scale_and_shift(
    node: Node[BatchNorm] | Node[LayerNorm],
    normal: Array,
    inverse: Array,
    axes: tuple[int, ...],
    run: Pass,
) -> tuple[Array, Backprop]:
    """gamma·normal + beta; `normal` was centred and scaled by `inverse` over `axes`."""
    shape = (1, -1, 1, 1) if normal.ndim == 4 else (-1,)
    gamma, beta = run.weight(node, "gamma").reshape(shape), run.weight(node, "beta").reshape(shape)
    others = axes if axes != (-1,) else tuple(range(normal.ndim - 1))

    def backprop(dy: Array) -> tuple[Array | None, Weights]:
        gradients = {
            f"{node.key}.gamma": (dy * normal).sum(axis=others),
            f"{node.key}.beta": dy.sum(axis=others),
        }
        d = dy * gamma
        centred = d - d.mean(axis=axes, keepdims=True)
        along = normal * (d * normal).mean(axis=axes, keepdims=True)
        return inverse * (centred - along), gradients

    return gamma * normal + beta, backprop


def embedding(node: Node[Embedding], x: Array, run: Pass) -> tuple[Array, Backprop]:
    weight, ids = run.weight(node, "weight"), x.astype(np.int64)

    def backprop(dy: Array) -> tuple[Array | None, Weights]:
        gradient = np.zeros_like(weight)
        np.add.at(gradient, ids, dy)
        return None, {f"{node.key}.weight": gradient}

    return weight[ids], backprop


def simple_rnn(node: Node[SimpleRNN], x: Array, run: Pass) -> tuple[Array, Backprop]:
    return _recurrent(node, x, run, _simple_rnn_pass)


def lstm(node: Node[LSTM], x: Array, run: Pass) -> tuple[Array, Backprop]:
    return _recurrent(node, x, run, _lstm_pass)


def gru(node: Node[GRU], x: Array, run: Pass) -> tuple[Array, Backprop]:
    return _recurrent(node, x, run, _gru_pass)


_Recurrent = Node[SimpleRNN] | Node[LSTM] | Node[GRU]
_Scan = Callable[[Array], tuple[Array, Weights]]  # d(states) -> dx, gradients by role


def _recurrent(
    node: _Recurrent, x: Array, run: Pass, scan: Callable[..., tuple[Array, _Scan]]
) -> tuple[Array, Backprop]:
    """Scan once for each direction; the backward one reads, and writes, from the end."""
    layer = node.layer
    passes = []
    for prefix in layer.directions:
        own = {
            role.removeprefix(prefix): run.weight(node, role)
            for role in layer.weights(node.input_shape)
            if role.startswith("backward_") == bool(prefix)
        }
        passes.append((prefix, *scan(layer, x[:, ::-1] if prefix else x, own)))
    if layer.return_sequences:
        y = [states[:, ::-1] if prefix else states for prefix, states, _ in passes]
    else:
        y = [states[:, -1] for _, states, _ in passes]

    def backprop(dy: Array) -> tuple[Array | None, Weights]:
        dx, gradients = np.zeros_like(x), dict[str, Array]()
        for (prefix, states, back), part in zip(
            passes, np.split(dy, len(passes), axis=-1), strict=True
        ):
            dstates = np.zeros_like(states)
            if layer.return_sequences:
                dstates += part[:, ::-1] if prefix else part
            else:
                dstates[:, -1] = part
            dinput, found = back(dstates)
            dx += dinput[:, ::-1] if prefix else dinput
            gradients |= {f"{node.key}.{prefix}{role}": g for role, g in found.items()}
        return dx, gradients

    return np.concatenate(y, axis=-1), backprop


def _simple_rnn_pass(layer: SimpleRNN, x: Array, own: Weights) -> tuple[Array, _Scan]:
    weight, again = own["weight"], own["recurrent_weight"]
    inputs = x @ weight.T + own["bias"]
    h = np.zeros((len(x), x.shape[1] + 1, layer.units), x.dtype)  # h[:, t + 1] follows x[:, t]
    for t in range(x.shape[1]):
        z = inputs[:, t] + h[:, t] @ again.T
        h[:, t + 1] = np.tanh(z) if layer.activation == "tanh" else np.maximum(z, 0)

    def back(dstates: Array) -> tuple[Array, Weights]:
        dz, carried = np.empty_like(inputs), np.zeros_like(h[:, 0])
        for t in reversed(range(x.shape[1])):
            state, dh = h[:, t + 1], dstates[:, t] + carried
            dz[:, t] = dh * (1 - state * state if layer.activation == "tanh" else state > 0)
            carried = dz[:, t] @ again
        return dz @ weight, _scan_gradients(dz, dz, x, h) | {"bias": dz.sum(axis=(0, 1))}

    return h[:, 1:], back


def _lstm_pass(layer: LSTM, x: Array, own: Weights) -> tuple[Array, _Scan]:
    weight, again, steps = own["weight"], own["recurrent_weight"], x.shape[1]
    inputs = x @ weight.T + own["bias"]
    h = np.zeros((len(x), steps + 1, layer.units), x.dtype)
    c = np.zeros_like(h)
    gates = np.empty((len(x), steps, 4, layer.units), x.dtype)
    for t in range(steps):
        z = (inputs[:, t] + h[:, t] @ again.T).reshape(len(x), 4, -1)
        gates[:, t] = _sigmoid(z)
        gates[:, t, 2] = np.tanh(z[:, 2])
        i, f, g, o = gates[:, t].swapaxes(0, 1)
        c[:, t + 1] = f * c[:, t] + i * g
        h[:, t + 1] = o * np.tanh(c[:, t + 1])

    def back(dstates: Array) -> tuple[Array, Weights]:
        dz = np.empty_like(gates)
        dh, dc = np.zeros_like(h[:, 0]), np.zeros_like(c[:, 0])
        for t in reversed(range(steps)):
            i, f, g, o = gates[:, t].swapaxes(0, 1)
            squashed = np.tanh(c[:, t + 1])
            dh = dh + dstates[:, t]
            dc = dc + dh * o * (1 - squashed * squashed)
            dz[:, t, 0] = dc * g * i * (1 - i)
            dz[:, t, 1] = dc * c[:, t] * f * (1 - f)
            dz[:, t, 2] = dc * i * (1 - g * g)
            dz[:, t, 3] = dh * squashed * o * (1 - o)
            dh = dz[:, t].reshape(len(x), -1) @ again
            dc = dc * f
        flat = dz.reshape(len(x), steps, -1)
        return flat @ weight, _scan_gradients(flat, flat, x, h) | {"bias": flat.sum(axis=(0, 1))}

    return h[:, 1:], back


def _gru_pass(layer: GRU, x: Array, own: Weights) -> tuple[Array, _Scan]:
    weight, again, steps = own["weight"], own["recurrent_weight"], x.shape[1]
    inputs = (x @ weight.T + own["bias"]).reshape(len(x), steps, 3, -1)
    h = np.zeros((len(x), steps + 1, layer.units), x.dtype)
    gates, recalled = np.empty_like(inputs), np.empty_like(h[:, 1:])
    for t in range(steps):
        a = (h[:, t] @ again.T + own["recurrent_bias"]).reshape(len(x), 3, -1)
        gates[:, t, :2] = _sigmoid(inputs[:, t, :2] + a[:, :2])
        r, z = gates[:, t, 0], gates[:, t, 1]
        recalled[:, t] = a[:, 2]
        gates[:, t, 2] = np.tanh(inputs[:, t, 2] + r * a[:, 2])
        h[:, t + 1] = (1 - z) * gates[:, t, 2] + z * h[:, t]

    def back(dstates: Array) -> tuple[Array, Weights]:
        dinputs, drecurrent = np.empty_like(gates), np.empty_like(gates)
        dh = np.zeros_like(h[:, 0])
        for t in reversed(range(steps)):
            r, z, n = gates[:, t].swapaxes(0, 1)
            dh = dh + dstates[:, t]
            dn = dh * (1 - z) * (1 - n * n)
            dinputs[:, t, 0] = dn * recalled[:, t] * r * (1 - r)
            dinputs[:, t, 1] = dh * (h[:, t] - n) * z * (1 - z)
            dinputs[:, t, 2] = dn
            drecurrent[:, t] = dinputs[:, t]
            drecurrent[:, t, 2] *= r
            dh = dh * z + drecurrent[:, t].reshape(len(x), -1) @ again
        flat, flat_recurrent = (d.reshape(len(x), steps, -1) for d in (dinputs, drecurrent))
        gradients = _scan_gradients(flat, flat_recurrent, x, h)
        gradients["bias"] = flat.sum(axis=(0, 1))
        gradients["recurrent_bias"] = flat_recurrent.sum(axis=(0, 1))
        return flat @ weight, gradients

    return h[:, 1:], back


def _scan_gradients(dz: Array, drecurrent: Array, x: Array, h: Array) -> Weights:
    """Sum over all steps what x[t] and h[t-1] were multiplied with."""
    rows, rows_recurrent = (d.reshape(-1, d.shape[-1]) for d in (dz, drecurrent))
    return {
        "weight": rows.T @ x.reshape(-1, x.shape[-1]),
        "recurrent_weight": rows_recurrent.T @ h[:, :-1].reshape(-1, h.shape[-1]),
    }


def multi_head_attention(
    node: Node[MultiHeadAttention], x: Array, run: Pass
) -> tuple[Array, Backprop]:
    heads = node.layer.num_heads
    wq, wk, wv, wo = (run.weight(node, role) for role in node.layer.weights(node.input_shape))
    q, k, v = (_to_heads(x @ w.T, heads) for w in (wq, wk, wv))
    scale = x.dtype.type(q.shape[-1] ** -0.5)
    scores = q @ k.swapaxes(2, 3) * scale
    if node.layer.causal:
        scores[:, :, ~np.tri(x.shape[1], dtype=bool)] = -np.inf
    p = _softmax(scores)
    joined = _from_heads(p @ v)

    def backprop(dy: Array) -> tuple[Array | None, Weights]:
        dheads = _to_heads(dy @ wo, heads)
        dp = dheads @ v.swapaxes(2, 3)
        dscores = p * (dp - (dp * p).sum(axis=-1, keepdims=True)) * scale
        dq, dk, dv = dscores @ k, dscores.swapaxes(2, 3) @ q, p.swapaxes(2, 3) @ dheads
        parts = [_from_heads(d) for d in (dq, dk, dv)]
        pairs = zip([*parts, dy], [x, x, x, joined], strict=True)
        gradients = {
            name: d.reshape(-1, d.shape[-1]).T @ a.reshape(-1, a.shape[-1])
            for name, (d, a) in zip(node.weights, pairs, strict=True)
        }
        dx = sum((d @ w for d, w in zip(parts, (wq, wk, wv), strict=True)), np.zeros_like(x))
        return dx, gradients

    return joined @ wo.T, backprop


def _to_heads(x: Array, heads: int) -> Array:
    """[N, T, D] -> [N, heads, T, D / heads]"""
    return x.reshape(*x.shape[:2], heads, -1).swapaxes(1, 2)


def _from_heads(x: Array) -> Array:
    """[N, heads, T, d] -> [N, T, heads·d]"""
    x = x.swapaxes(1, 2)
    return x.reshape(*x.shape[:2], -1)


def _softmax(x: Array) -> Array:
    exponentials = np.exp(x - x.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def relu(node: Node[ReLU], x: Array, run: Pass) -> tuple[Array, Backprop]:
    y = np.maximum(x, 0)
    return y, lambda dy: (dy * (y > 0), {})


def leaky_relu(node: Node[LeakyReLU], x: Array, run: Pass) -> tuple[Array, Backprop]:
    slope = np.where(x > 0, x.dtype.type(1), x.dtype.type(node.layer.negative_slope))
    return x * slope, lambda dy: (dy * slope, {})


def elu(node: Node[ELU], x: Array, run: Pass) -> tuple[Array, Backprop]:
    alpha = node.layer.alpha
    below = alpha * np.expm1(np.minimum(x, 0))
    return np.where(x > 0, x, below), lambda dy: (dy * np.where(x > 0, 1, below + alpha), {})


def gelu(node: Node[GELU], x: Array, run: Pass) -> tuple[Array, Backprop]:
    if node.layer.approximation == "tanh":
        a, b = x.dtype.type(np.sqrt(2 / np.pi)), x.dtype.type(0.044715)
        t = np.tanh(a * (x + b * x * x * x))
        slope = (1 - t * t) * a * (1 + 3 * b * x * x)
        return x * (1 + t) / 2, lambda dy: (dy * (1 + t + x * slope) / 2, {})
    phi = (1 + _erf(x / x.dtype.type(np.sqrt(2)))) / 2
    density = np.exp(-x * x / 2) / x.dtype.type(np.sqrt(2 * np.pi))
    return x * phi, lambda dy: (dy * (phi + x * density), {})


def _erf(x: Array) -> Array:
    """The error function, which NumPy lacks, from the C library's."""
    return np.vectorize(math.erf, otypes=[x.dtype])(x)


def sigmoid(node: Node[Sigmoid], x: Array, run: Pass) -> tuple[Array, Backprop]:
    y = _sigmoid(x)
    return y, lambda dy: (dy * y * (1 - y), {})


def hard_sigmoid(node: Node[HardSigmoid], x: Array, run: Pass) -> tuple[Array, Backprop]:
    inside = (x > -3) & (x < 3)
    return np.clip(x / 6 + 0.5, 0, 1), lambda dy: (np.where(inside, dy / 6, 0), {})


def tanh(node: Node[Tanh], x: Array, run: Pass) -> tuple[Array, Backprop]:
    y = np.tanh(x)
    return y, lambda dy: (dy * (1 - y * y), {})


def softplus(node: Node[Softplus], x: Array, run: Pass) -> tuple[Array, Backprop]:
    return _softplus(x), lambda dy: (dy * _sigmoid(x), {})


def silu(node: Node[SiLU], x: Array, run: Pass) -> tuple[Array, Backprop]:
    s = _sigmoid(x)
    return x * s, lambda dy: (dy * s * (1 + x * (1 - s)), {})


def softmax(node: Node[Softmax], x: Array, run: Pass) -> tuple[Array, Backprop]:
    y = _softmax(x)
    return y, lambda dy: (y * (dy - (dy * y).sum(axis=-1, keepdims=True)), {})


def dropout(node: Node[Dropout], x: Array, run: Pass) -> tuple[Array, Backprop]:
    if not run.training:
        return x, lambda dy: (dy, {})
    rate = node.layer.rate
    mask = run.rng.random(x.shape) >= rate if run.masks is None else run.masks[node.key]
    scale = mask.astype(x.dtype) / (1 - rate)
    return x * scale, lambda dy: (dy * scale, {})


def residual(node: Node[Residual], x: Array, run: Pass) -> tuple[Array, Backprop]:
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


def concat(node: Node[Concat], x: Array, run: Pass) -> tuple[Array, Backprop]:
    outputs, backprops = zip(
        *(_sequence(path, x, run) for path in node.branches.values()), strict=True
    )
    ends = np.cumsum([output.shape[1] for output in outputs])[:-1]

    def backprop(dy: Array) -> tuple[Array | None, Weights]:
        gradients: Weights = {}
        dx: Array | None = np.zeros_like(x)
        for back, part in zip(backprops, np.split(dy, ends, axis=1), strict=True):
            dpath, found = back(part)
            gradients |= found
            dx = None if dx is None or dpath is None else dx + dpath
        return dx, gradients

    return np.concatenate(outputs, axis=1), backprop


def _sigmoid(x: Array) -> Array:
    """1 / (1 + e⁻ˣ), with an exponential that cannot overflow."""
    z = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, z) / (1 + z)


def _softplus(x: Array) -> Array:
    """log(1 + eˣ), likewise."""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def _pooling(layer: MaxPool2D | AvgPool2D) -> tuple[tuple[int, ...], tuple[int, ...], Pads]:
    pads = tuple((p, p) for p in pair(layer.padding))
    return pair(layer.kernel_size), pair(layer.stride or layer.kernel_size), pads


def _pad(x: Array, pads: Pads, value: float) -> Array:
    if all(p == (0, 0) for p in pads):
        return x
    return np.pad(x, ((0, 0), (0, 0), *pads), constant_values=value)


def _crop(x: Array, pads: Pads) -> Array:
    (top, bottom), (left, right) = pads
    return x[:, :, top : x.shape[2] - bottom, left : x.shape[3] - right]


def _windows(
    x: Array,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...] = (1, 1),
) -> Iterator[tuple[tuple[int, int], Array]]:
    """Yield, for each place (u, v) in the kernel, the view of x that it meets, [N, C, OH, OW]."""
    sizes = zip(x.shape[2:], kernel, stride, dilation, strict=True)
    height, width = ((n - d * (k - 1) - 1) // s + 1 for n, k, s, d in sizes)
    for u in range(kernel[0]):
        for v in range(kernel[1]):
            top, left = u * dilation[0], v * dilation[1]
            rows = slice(top, top + stride[0] * (height - 1) + 1, stride[0])
            columns = slice(left, left + stride[1] * (width - 1) + 1, stride[1])
            yield (u, v), x[:, :, rows, columns]


def _sum_windows(x: Array, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Array:
    windows = (window for _, window in _windows(x, kernel, stride))
    total = next(windows).copy()
    for window in windows:
        total += window
    return total


def _im2col(
    x: Array, kernel: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]
) -> Array:
    """Return what every place of the kernel meets, [N, C, kH·kW, OH, OW]."""
    return np.stack([window for _, window in _windows(x, kernel, stride, dilation)], axis=2)


def _col2im(
    columns: Array,
    shape: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
) -> Array:
    """Add columns, [N, C, kH, kW, OH, OW], to where `_im2col` takes them from."""
    x = np.zeros(shape, columns.dtype)
    for (u, v), window in _windows(x, kernel, stride, dilation):
        window += columns[:, :, u, v]
    return x


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
    smooth = loss.label_smoothing
    q = np.full_like(z, smooth / z.shape[1])
    q[rows, y] += 1 - smooth
    losses = np.log(sums[:, 0]) - (q * shifted).sum(axis=1)
    return np.mean(losses), (exponentials / sums - q) / len(z)


def binary_cross_entropy(loss: BinaryCrossEntropy, z: Array, y: Array) -> tuple[Array, Array]:
    return np.mean(_softplus(z) - z * y), (_sigmoid(z) - y) / z.size


# Optimizers: one weight and its slots, in place; g is clipped, t counts from 1, the rate is t's

_Slots = dict[str, Array]


def sgd(optimizer: SGD, w: Array, g: Array, slots: _Slots, t: int, rate: float) -> None:
    g = _decayed(g, w, optimizer.weight_decay)
    if optimizer.momentum:
        v = slots["velocity"]
        v *= optimizer.momentum
        v += g
        g = g + optimizer.momentum * v if optimizer.nesterov else v
    w -= rate * g


def adam(optimizer: Adam, w: Array, g: Array, slots: _Slots, t: int, rate: float) -> None:
    _adam_step(optimizer, w, _decayed(g, w, optimizer.weight_decay), slots, t, rate)


def adamw(optimizer: AdamW, w: Array, g: Array, slots: _Slots, t: int, rate: float) -> None:
    w *= 1 - rate * optimizer.weight_decay
    _adam_step(optimizer, w, g, slots, t, rate)


def _adam_step(
    optimizer: Adam | AdamW, w: Array, g: Array, slots: _Slots, t: int, rate: float
) -> None:
    m, v = slots["m"], slots["v"]
    m *= optimizer.beta1
    m += (1 - optimizer.beta1) * g
    v *= optimizer.beta2
    v += (1 - optimizer.beta2) * g * g
    mhat = m / (1 - optimizer.beta1**t)
    vhat = v / (1 - optimizer.beta2**t)
    w -= rate * mhat / (np.sqrt(vhat) + optimizer.epsilon)


def rmsprop(optimizer: RMSprop, w: Array, g: Array, slots: _Slots, t: int, rate: float) -> None:
    g = _decayed(g, w, optimizer.weight_decay)
    s = slots["s"]
    s *= optimizer.rho
    s += (1 - optimizer.rho) * g * g
    w -= rate * g / np.sqrt(s + optimizer.epsilon)


def adagrad(optimizer: Adagrad, w: Array, g: Array, slots: _Slots, t: int, rate: float) -> None:
    g = _decayed(g, w, optimizer.weight_decay)
    s = slots["s"]
    s += g * g
    w -= rate * g / np.sqrt(s + optimizer.epsilon)


def _decayed(g: Array, w: Array, weight_decay: float) -> Array:
    return g + weight_decay * w if weight_decay else g


def take_step(
    optimizer: Optimizer, weights: Weights, gradients: Weights, slots: Weights, step: int
) -> None:
    """Update every weight that has a gradient, and its slots, in place. `step` counts from 0."""
    rate, update = optimizer.rate(step), OPTIMIZERS[type(optimizer)]
    for name, g in clip(optimizer, gradients).items():
        own = {slot: slots[f"{name}.{slot}"] for slot in optimizer.slots()}
        update(optimizer, weights[name], g, own, step + 1, rate)


def clip(optimizer: Optimizer, gradients: Weights) -> Weights:
    """Clip each element, then all together by their norm, as far as the optimizer asks for it."""
    if limit := optimizer.clip_value:
        gradients = {name: np.clip(g, -limit, limit) for name, g in gradients.items()}
    if optimizer.clip_norm:
        norm = np.sqrt(sum(np.sum(g * g) for g in gradients.values()))
        if norm > optimizer.clip_norm:
            gradients = {name: g * (optimizer.clip_norm / norm) for name, g in gradients.items()}
    return gradients


LAYERS: dict[type, Callable[..., Any]] = {
    Dense: dense,
    Conv1D: conv1d,
    Conv2D: conv2d,
    ConvTranspose2D: conv_transpose2d,
    MaxPool2D: max_pool2d,
    AvgPool2D: avg_pool2d,
    GlobalAvgPool1D: global_avg_pool1d,
    GlobalAvgPool2D: global_avg_pool2d,
    Flatten: flatten,
    Reshape: reshape,
    Permute: permute,
    BatchNorm: batch_norm,
    LayerNorm: layer_norm,
    Embedding: embedding,
    SimpleRNN: simple_rnn,
    LSTM: lstm,
    GRU: gru,
    MultiHeadAttention: multi_head_attention,
    ReLU: relu,
    LeakyReLU: leaky_relu,
    ELU: elu,
    GELU: gelu,
    Sigmoid: sigmoid,
    HardSigmoid: hard_sigmoid,
    Tanh: tanh,
    Softplus: softplus,
    SiLU: silu,
    Softmax: softmax,
    Dropout: dropout,
    Residual: residual,
    Concat: concat,
}
LOSSES: dict[type, Callable[..., Any]] = {
    MSE: mse,
    MAE: mae,
    Huber: huber,
    SoftmaxCrossEntropy: softmax_cross_entropy,
    BinaryCrossEntropy: binary_cross_entropy,
}
OPTIMIZERS: dict[type, Callable[..., Any]] = {
    SGD: sgd,
    Adam: adam,
    AdamW: adamw,
    RMSprop: rmsprop,
    Adagrad: adagrad,
}

MODES: tuple[Mode, ...] = ("eager",)
UNSUPPORTED: dict[Gap, str] = {"compiled": "NumPy has no compiler; use --mode eager"}
DEVIATIONS: dict[str, Deviation] = {}


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

    def train(self, batches: Iterable[tuple[Array, Array, Masks | None]]) -> Array:
        return np.stack([self._train_one(*batch) for batch in batches])

    def gradients(self, batch: tuple[Array, Array, Masks | None]) -> tuple[float, Weights]:
        loss, gradients, _ = self._loss_and_gradients(*batch)
        return float(loss), gradients

    def activations(self, batch: tuple[Array, Array, Masks | None]) -> dict[str, Array]:
        x, _, masks = batch
        run = self._run(training=True, masks=masks)
        _sequence(self._model.nodes, x, run)
        return {key: output.copy() for key, output in run.outputs.items()}

    def predict(self, x: Array) -> Array:
        run = self._run(training=False, masks=None)
        return _sequence(self._model.nodes, x, run)[0]

    def weights(self) -> Weights:
        return {name: weight.copy() for name, weight in self._weights.items()}

    def state(self) -> Weights:
        slots = {name: slot.copy() for name, slot in self._slots.items()}
        return slots | {"step": np.array(self._step)}

    def _run(self, *, training: bool, masks: Masks | None) -> Pass:
        return Pass(self._weights, training, masks, self._rng, outputs={}, statistics={})

    def _loss_and_gradients(
        self, x: Array, y: Array, masks: Masks | None
    ) -> tuple[Array, Weights, Weights]:
        run = self._run(training=True, masks=masks)
        logits, backprop = _sequence(self._model.nodes, x, run)
        loss, dlogits = LOSSES[type(self._model.loss)](self._model.loss, logits, y)
        return loss, backprop(dlogits)[1], run.statistics

    def _train_one(self, x: Array, y: Array, masks: Masks | None) -> Array:
        loss, gradients, statistics = self._loss_and_gradients(x, y, masks)
        take_step(self._model.optimizer, self._weights, gradients, self._slots, self._step)
        self._weights |= statistics
        self._step += 1
        return loss
