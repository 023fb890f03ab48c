"""Each layer by `jax.nn`, `jax.numpy` and `lax`: a function of its input and of the pass it is in.

Images are [N, H, W, C].
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp

from ...models import Node, layers
from ...models.layers.attention import ROLES
from ...models.shapes import pair
from ..contract import lowering
from .arrays import Array, Arrays, channels_first, channels_last
from .float64 import attend
from .recurrent import (
    Cell,
    all_states,
    gru_cell,
    last_state,
    lstm_cell,
    relu_cell,
    tanh_cell,
)
from .windows import depthwise, max_of_blocks, max_of_windows, slide


class Pass(NamedTuple):
    """One forward pass: what the layer functions need beside their input."""

    weights: Arrays
    training: bool
    masks: Arrays | None
    seed: int
    step: Array
    outputs: Arrays
    statistics: Arrays  # running statistics as they will be, if a step is taken

    def weight(self, node: Node[layers.Layer], role: str) -> Array:
        return self.weights[f"{node.key}.{role}"]


def dense(node: Node[layers.Dense], x: Array, run: Pass) -> Array:
    y = x @ run.weight(node, "weight")
    return y + run.weight(node, "bias") if node.layer.use_bias else y


def conv1d(node: Node[layers.Conv1D], x: Array, run: Pass) -> Array:
    layer = node.layer
    y = _convolve(node, x.swapaxes(1, 2), run, (layer.stride,), (layer.dilation,))
    return y.swapaxes(1, 2)


def conv2d(node: Node[layers.Conv2D], x: Array, run: Pass) -> Array:
    return _convolve(node, x, run, pair(node.layer.stride), pair(node.layer.dilation))


def _convolve(
    node: Node[layers.Conv1D] | Node[layers.Conv2D],
    x: Array,
    run: Pass,
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
) -> Array:
    """Convolve x, [N, *space, C]."""
    layer, weight, pads = node.layer, run.weight(node, "weight"), node.layer.pads(node.input_shape)
    axes = "HW"[: len(stride)]
    native = partial(
        lax.conv_general_dilated,
        window_strides=stride,
        padding=pads,
        rhs_dilation=dilation,
        dimension_numbers=(f"N{axes}C", f"{axes}IO", f"N{axes}C"),
    )
    if layer.groups == 1:
        y = native(x, weight)
    elif layer.groups == x.shape[-1]:
        x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
        y = depthwise(x, weight, node.output_shape[1:], stride, dilation)
    else:
        # The gradient of one grouped convolution (0.10) is 30 times slower on the CPU.
        parts = (jnp.split(array, layer.groups, axis=-1) for array in (x, weight))
        y = jnp.concatenate(list(map(native, *parts)), axis=-1)
    return y + run.weight(node, "bias") if layer.use_bias else y


def conv_transpose2d(node: Node[layers.ConvTranspose2D], x: Array, run: Pass) -> Array:
    layer = node.layer
    borders = [k - 1 - p for k, p in zip(pair(layer.kernel_size), pair(layer.padding), strict=True)]
    y = lax.conv_transpose(
        x,
        run.weight(node, "weight"),
        pair(layer.stride),
        [(border, border + layer.output_padding) for border in borders],
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        transpose_kernel=True,  # without it, the kernel is not flipped
    )
    return y + run.weight(node, "bias") if layer.use_bias else y


def max_pool2d(node: Node[layers.MaxPool2D], x: Array, run: Pass) -> Array:
    kernel, space, stride = _pooling(node)
    x = _bordered(node, x, -np.inf)
    if kernel == stride:
        return max_of_blocks(x, kernel, space)
    return max_of_windows(x, kernel, space, stride)


def avg_pool2d(node: Node[layers.AvgPool2D], x: Array, run: Pass) -> Array:
    windows = list(slide(_bordered(node, x, 0), *_pooling(node), (1, 1)))
    total = sum(windows[1:], start=windows[0])
    if node.layer.count_include_pad:
        return total / len(windows)
    inside = np.ones((1, *x.shape[1:3], 1), x.dtype)
    return total / sum(slide(_bordered(node, inside, 0), *_pooling(node), (1, 1)))


def _bordered(
    node: Node[layers.MaxPool2D] | Node[layers.AvgPool2D], x: Array, border: float
) -> Array:
    if not any(padding := pair(node.layer.padding)):
        return x
    widths = [(0, 0), *((p, p) for p in padding), (0, 0)]
    return jnp.pad(x, widths, constant_values=border)


def _pooling(
    node: Node[layers.MaxPool2D] | Node[layers.AvgPool2D],
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Return what `slide` wants to know: kernel, output's space, stride."""
    layer, kernel = node.layer, pair(node.layer.kernel_size)
    return kernel, tuple(node.output_shape[1:]), pair(layer.stride or kernel)


def global_avg_pool1d(node: Node[layers.GlobalAvgPool1D], x: Array, run: Pass) -> Array:
    return x.mean(axis=1)


def global_avg_pool2d(node: Node[layers.GlobalAvgPool2D], x: Array, run: Pass) -> Array:
    return x.mean(axis=(1, 2))


def flatten(node: Node[layers.Flatten], x: Array, run: Pass) -> Array:
    # Op by op, a transpose costs as much as any: one channel lies as it is.
    return (x if x.shape[-1] == 1 else channels_first(x)).reshape(len(x), -1)


def reshape(node: Node[layers.Reshape], x: Array, run: Pass) -> Array:
    return channels_last(channels_first(x).reshape(len(x), *node.output_shape))


def permute(node: Node[layers.Permute], x: Array, run: Pass) -> Array:
    axes = (0, *(axis + 1 for axis in node.layer.axes))
    return channels_last(channels_first(x).transpose(axes))


def batch_norm(node: Node[layers.BatchNorm], x: Array, run: Pass) -> Array:
    momentum, axes = node.layer.momentum, tuple(range(x.ndim - 1))
    mean, var = run.weight(node, "running_mean"), run.weight(node, "running_var")
    if run.training:
        old = {"running_mean": mean, "running_var": var}
        mean, var = x.mean(axis=axes), x.var(axis=axes)
        for (role, kept), new in zip(old.items(), (mean, var), strict=True):
            run.statistics[f"{node.key}.{role}"] = (1 - momentum) * kept + momentum * new
    return _normalize(node, x, mean, var, run)


def layer_norm(node: Node[layers.LayerNorm], x: Array, run: Pass) -> Array:
    mean, var = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    return _normalize(node, x, mean, var, run)


def _normalize(
    node: Node[layers.BatchNorm] | Node[layers.LayerNorm],
    x: Array,
    mean: Array,
    var: Array,
    run: Pass,
) -> Array:
    normal = (x - mean) * lax.rsqrt(var + node.layer.epsilon)
    return run.weight(node, "gamma") * normal + run.weight(node, "beta")


def embedding(node: Node[layers.Embedding], x: Array, run: Pass) -> Array:
    return jnp.take(run.weight(node, "weight"), x.astype(np.int32), axis=0)


def simple_rnn(node: Node[layers.SimpleRNN], x: Array, run: Pass) -> Array:
    return _recurrent(node, x, run, tanh_cell if node.layer.activation == "tanh" else relu_cell)


def lstm(node: Node[layers.LSTM], x: Array, run: Pass) -> Array:
    return _recurrent(node, x, run, lstm_cell)


def gru(node: Node[layers.GRU], x: Array, run: Pass) -> Array:
    return _recurrent(node, x, run, gru_cell)


def _recurrent(
    node: Node[layers.SimpleRNN] | Node[layers.LSTM] | Node[layers.GRU],
    x: Array,
    run: Pass,
    cell: Cell,
) -> Array:
    roles = ("weight", "recurrent_weight", *node.layer.biases)
    scan = all_states if node.layer.return_sequences else last_state
    outputs = []
    for prefix in node.layer.directions:
        weights = {role: run.weight(node, f"{prefix}{role}") for role in roles}
        outputs.append(scan(cell, x, weights, reverse=bool(prefix)))
    return jnp.concatenate(outputs, axis=-1)


def multi_head_attention(node: Node[layers.MultiHeadAttention], x: Array, run: Pass) -> Array:
    layer = node.layer
    q, k, v = (
        (x @ run.weight(node, role)).reshape(*x.shape[:2], layer.num_heads, -1)
        for role in ROLES[:3]
    )
    # JAX's own (0.10) takes the softmax in float32, whatever its inputs are.
    attention = attend if x.dtype == np.float64 else jax.nn.dot_product_attention
    y = attention(q, k, v, is_causal=layer.causal)
    return y.reshape(x.shape) @ run.weight(node, "output_weight")


def relu(node: Node[layers.ReLU], x: Array, run: Pass) -> Array:
    return jax.nn.relu(x)


def leaky_relu(node: Node[layers.LeakyReLU], x: Array, run: Pass) -> Array:
    # jax.nn.leaky_relu (0.10) has the derivative 1 at 0.
    return jnp.where(x > 0, x, node.layer.negative_slope * x)


def prelu(node: Node[layers.PReLU], x: Array, run: Pass) -> Array:
    return jnp.where(x > 0, x, run.weight(node, "alpha") * x)


def elu(node: Node[layers.ELU], x: Array, run: Pass) -> Array:
    return jax.nn.elu(x, node.layer.alpha)


def gelu(node: Node[layers.GELU], x: Array, run: Pass) -> Array:
    return jax.nn.gelu(x, approximate=node.layer.approximation == "tanh")


def sigmoid(node: Node[layers.Sigmoid], x: Array, run: Pass) -> Array:
    return jax.nn.sigmoid(x)


def hard_sigmoid(node: Node[layers.HardSigmoid], x: Array, run: Pass) -> Array:
    return jax.nn.hard_sigmoid(x)


def tanh(node: Node[layers.Tanh], x: Array, run: Pass) -> Array:
    return jnp.tanh(x)


def softplus(node: Node[layers.Softplus], x: Array, run: Pass) -> Array:
    return jax.nn.softplus(x)


def silu(node: Node[layers.SiLU], x: Array, run: Pass) -> Array:
    return jax.nn.silu(x)


def softmax(node: Node[layers.Softmax], x: Array, run: Pass) -> Array:
    return jax.nn.softmax(x, axis=2 if x.ndim == 4 else -1)  # the width of [N, H, W, C]


def dropout(node: Node[layers.Dropout], x: Array, run: Pass) -> Array:
    if not run.training:
        return x
    keep = 1 - node.layer.rate
    if run.masks is None:
        place = len(run.outputs)  # how many layers came before: another key for every dropout
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(run.seed), run.step), place)
        mask = jax.random.bernoulli(key, keep, x.shape)
    else:
        mask = run.masks[node.key]
    return jnp.where(mask, x / keep, 0)


def residual(node: Node[layers.Residual], x: Array, run: Pass) -> Array:
    body = sequence(node.branches["body"], x, run)
    return body + sequence(node.branches["shortcut"], x, run)


def concat(node: Node[layers.Concat], x: Array, run: Pass) -> Array:
    paths = [sequence(path, x, run) for path in node.branches.values()]
    return jnp.concatenate(paths, axis=-1)


LAYERS = lowering(layers.Layer, globals())


def sequence(nodes: Sequence[Node[layers.Layer]], x: Array, run: Pass) -> Array:
    for node in nodes:
        x = LAYERS[type(node.layer)](node, x, run)
        run.outputs[node.key] = x
    return x
