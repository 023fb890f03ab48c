"""JAX with optax's losses and optimizers: op by op (`eager`), or one jitted step (`compiled`).

Images are kept channels-last, which XLA's CPU convolutions are fastest in. JAX has no layers of its
own: a layer function computes its output by `jax.nn` and `lax`, and autodiff does the way back.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, lru_cache, partial
from time import perf_counter
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from jax import lax
from jax import numpy as jnp

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
from ...models.layers.attention import ROLES
from ...models.layers.recurrent import DIRECTIONS
from ...models.losses import MAE, MSE, BinaryCrossEntropy, Huber, SoftmaxCrossEntropy
from ...models.optimizers import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop
from ...models.shapes import pair
from ..blocks import stack
from ..contract import (
    Deviation,
    Execution,
    Gap,
    Layout,
    Masks,
    Mode,
    Weights,
    native_axes,
    refuse_unsupported,
    starting_state,
    to_canonical,
    to_native,
)

Array = Any  # a jax.Array, or a NumPy one that JAX will take over
Arrays = dict[str, Array]

LAYOUT: Layout = {
    (Dense, "weight"): (1, 0),
    (Conv1D, "weight"): (2, 1, 0),
    (Conv2D, "weight"): (2, 3, 1, 0),
    (ConvTranspose2D, "weight"): (2, 3, 1, 0),
    **{
        (layer, f"{prefix}{role}"): (1, 0)
        for layer in (SimpleRNN, LSTM, GRU)
        for prefix in DIRECTIONS
        for role in ("weight", "recurrent_weight")
    },
    **{(MultiHeadAttention, role): (1, 0) for role in ROLES},
}


class _Pass(NamedTuple):
    """One forward pass: what the layer functions need beside their input."""

    weights: Arrays
    training: bool
    masks: Arrays | None
    seed: int
    step: Array
    outputs: Arrays
    statistics: Arrays  # running statistics as they will be, if a step is taken

    def weight(self, node: Node[Layer], role: str) -> Array:
        return self.weights[f"{node.key}.{role}"]


def _sequence(nodes: Sequence[Node[Layer]], x: Array, run: _Pass) -> Array:
    for node in nodes:
        x = LAYERS[type(node.layer)](node, x, run)
        run.outputs[node.key] = x
    return x


def _channels_last(x: Array) -> Array:
    return x.transpose(0, 2, 3, 1) if x.ndim == 4 else x


def _channels_first(x: Array) -> Array:
    return x.transpose(0, 3, 1, 2) if x.ndim == 4 else x


# Layers


def dense(node: Node[Dense], x: Array, run: _Pass) -> Array:
    y = x @ run.weight(node, "weight")
    return y + run.weight(node, "bias") if node.layer.use_bias else y


def conv1d(node: Node[Conv1D], x: Array, run: _Pass) -> Array:
    layer = node.layer
    y = _convolve(node, x.swapaxes(1, 2), run, (layer.stride,), (layer.dilation,))
    return y.swapaxes(1, 2)


def conv2d(node: Node[Conv2D], x: Array, run: _Pass) -> Array:
    return _convolve(node, x, run, pair(node.layer.stride), pair(node.layer.dilation))


def _convolve(
    node: Node[Conv1D] | Node[Conv2D],
    x: Array,
    run: _Pass,
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
        y = _depthwise(x, weight, node.output_shape[1:], stride, dilation)
    else:
        # The gradient of one grouped convolution (0.10) is 30 times slower on the CPU.
        parts = (jnp.split(array, layer.groups, axis=-1) for array in (x, weight))
        y = jnp.concatenate(list(map(native, *parts)), axis=-1)
    return y + run.weight(node, "bias") if layer.use_bias else y


def _depthwise(
    x: Array,
    weight: Array,
    space: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
) -> Array:
    """Sum over the kernel's places: XLA's own (0.10) is 7 times slower on the CPU."""
    filters = weight.shape[-1]
    x = jnp.repeat(x, filters // x.shape[-1], axis=-1)
    windows = _windows(x, weight.shape[:-2], space, stride, dilation)
    products = [w * x for w, x in zip(weight.reshape(-1, filters), windows, strict=True)]
    return sum(products[1:], start=products[0])


def conv_transpose2d(node: Node[ConvTranspose2D], x: Array, run: _Pass) -> Array:
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


def max_pool2d(node: Node[MaxPool2D], x: Array, run: _Pass) -> Array:
    kernel, space, stride = _pooling(node)
    x = _bordered(node, x, -np.inf)
    if kernel == stride:
        return _max_of_blocks(x, kernel, space)
    return _max_of_windows(x, kernel, space, stride)


# Both jitted, as JAX's own functions are: ten operations would be a fifth of an eager LeNet's step.
# The gradient of `reduce_window` halves the speed of a whole step (0.10), that of `max` shares a
# tie among its equals; of these it goes to the first. Asking who equals the maximum would not do:
# XLA computes a window's numbers again where they are compared, and rounds them differently.


@partial(jax.jit, static_argnames=("kernel", "space", "stride"))
def _max_of_windows(
    x: Array, kernel: tuple[int, ...], space: tuple[int, ...], stride: tuple[int, ...]
) -> Array:
    first, *others = _windows(x, kernel, space, stride, (1, 1))
    for window in others:
        first = jnp.where(window > first, window, first)
    return first


@partial(jax.jit, static_argnames=("kernel", "space"))
def _max_of_blocks(x: Array, kernel: tuple[int, ...], space: tuple[int, ...]) -> Array:
    """Where windows do not overlap, x is cut into them, which is faster with two threads."""
    (height, width), (rows, columns) = kernel, space
    inside = x[:, : rows * height, : columns * width]
    return _max_of_each(inside.reshape(len(x), rows, height, columns, width, -1))


@jax.custom_vjp  # type: ignore[untyped-decorator]
def _max_of_each(blocks: Array) -> Array:
    """[N, rows, height, columns, width, C] -> [N, rows, columns, C]."""
    return blocks.max(axis=(2, 4))


def _remember_blocks(blocks: Array) -> tuple[Array, Array]:
    return _max_of_each(blocks), blocks


def _give_to_the_first(blocks: Array, dy: Array) -> tuple[Array]:
    height, width = blocks.shape[2], blocks.shape[4]
    best, *others = (blocks[:, :, i, :, j] for i, j in np.ndindex(height, width))
    leads = [jnp.ones(dy.shape, bool)]  # larger than all before it
    for window in others:
        leads.append(window > best)
        best = jnp.maximum(best, window)
    shares: list[Array] = []
    led_later = jnp.zeros(dy.shape, bool)
    for lead in reversed(leads):  # the last to take the lead keeps it
        shares.insert(0, jnp.where(lead & ~led_later, dy, 0))
        led_later |= lead
    lines = [jnp.stack(shares[i : i + width], axis=3) for i in range(0, len(shares), width)]
    return (jnp.stack(lines, axis=2),)


_max_of_each.defvjp(_remember_blocks, _give_to_the_first)


def avg_pool2d(node: Node[AvgPool2D], x: Array, run: _Pass) -> Array:
    windows = list(_windows(_bordered(node, x, 0), *_pooling(node), (1, 1)))
    total = sum(windows[1:], start=windows[0])
    if node.layer.count_include_pad:
        return total / len(windows)
    inside = np.ones((1, *x.shape[1:3], 1), x.dtype)
    return total / sum(_windows(_bordered(node, inside, 0), *_pooling(node), (1, 1)))


def _bordered(node: Node[MaxPool2D] | Node[AvgPool2D], x: Array, border: float) -> Array:
    if not any(padding := pair(node.layer.padding)):
        return x
    widths = [(0, 0), *((p, p) for p in padding), (0, 0)]
    return jnp.pad(x, widths, constant_values=border)


def _pooling(
    node: Node[MaxPool2D] | Node[AvgPool2D],
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Return what `_windows` wants to know: kernel, output's space, stride."""
    layer, kernel = node.layer, pair(node.layer.kernel_size)
    return kernel, tuple(node.output_shape[1:]), pair(layer.stride or kernel)


def _windows(
    x: Array,
    kernel: tuple[int, ...],
    space: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
) -> Iterator[Array]:
    """Yield, for each place in the kernel, the part of x that it meets, [N, *space, C]."""
    lengths = [(n - 1) * s + 1 for n, s in zip(space, stride, strict=True)]
    for place in np.ndindex(*kernel):
        starts = [i * d for i, d in zip(place, dilation, strict=True)]
        stops = [start + length for start, length in zip(starts, lengths, strict=True)]
        ends = (len(x), *stops, x.shape[-1])
        yield lax.slice(x, (0, *starts, 0), ends, (1, *stride, 1))


def global_avg_pool1d(node: Node[GlobalAvgPool1D], x: Array, run: _Pass) -> Array:
    return x.mean(axis=1)


def global_avg_pool2d(node: Node[GlobalAvgPool2D], x: Array, run: _Pass) -> Array:
    return x.mean(axis=(1, 2))


def flatten(node: Node[Flatten], x: Array, run: _Pass) -> Array:
    # Op by op, a transpose costs as much as any: one channel lies as it is.
    return (x if x.shape[-1] == 1 else _channels_first(x)).reshape(len(x), -1)


def reshape(node: Node[Reshape], x: Array, run: _Pass) -> Array:
    return _channels_last(_channels_first(x).reshape(len(x), *node.output_shape))


def permute(node: Node[Permute], x: Array, run: _Pass) -> Array:
    axes = (0, *(axis + 1 for axis in node.layer.axes))
    return _channels_last(_channels_first(x).transpose(axes))


def batch_norm(node: Node[BatchNorm], x: Array, run: _Pass) -> Array:
    momentum, axes = node.layer.momentum, tuple(range(x.ndim - 1))
    mean, var = run.weight(node, "running_mean"), run.weight(node, "running_var")
    if run.training:
        old = {"running_mean": mean, "running_var": var}
        mean, var = x.mean(axis=axes), x.var(axis=axes)
        for (role, kept), new in zip(old.items(), (mean, var), strict=True):
            run.statistics[f"{node.key}.{role}"] = (1 - momentum) * kept + momentum * new
    return _normalize(node, x, mean, var, run)


def layer_norm(node: Node[LayerNorm], x: Array, run: _Pass) -> Array:
    mean, var = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    return _normalize(node, x, mean, var, run)


def _normalize(
    node: Node[BatchNorm] | Node[LayerNorm], x: Array, mean: Array, var: Array, run: _Pass
) -> Array:
    normal = (x - mean) * lax.rsqrt(var + node.layer.epsilon)
    return run.weight(node, "gamma") * normal + run.weight(node, "beta")


def embedding(node: Node[Embedding], x: Array, run: _Pass) -> Array:
    return jnp.take(run.weight(node, "weight"), x.astype(np.int32), axis=0)


def simple_rnn(node: Node[SimpleRNN], x: Array, run: _Pass) -> Array:
    return _recurrent(node, x, run, _tanh_cell if node.layer.activation == "tanh" else _relu_cell)


def lstm(node: Node[LSTM], x: Array, run: _Pass) -> Array:
    return _recurrent(node, x, run, _lstm_cell)


def gru(node: Node[GRU], x: Array, run: _Pass) -> Array:
    return _recurrent(node, x, run, _gru_cell)


_Carry = tuple[Array, Array]  # h, and an LSTM's c
_Cell = Callable[[_Carry, Array, Arrays], _Carry]


def _recurrent(
    node: Node[SimpleRNN] | Node[LSTM] | Node[GRU], x: Array, run: _Pass, cell: _Cell
) -> Array:
    roles = ("weight", "recurrent_weight", *node.layer.biases)
    scan = _all_states if node.layer.return_sequences else _last_state
    outputs = []
    for prefix in node.layer.directions:
        own = {role: run.weight(node, f"{prefix}{role}") for role in roles}
        outputs.append(scan(cell, x, own, reverse=bool(prefix)))
    return jnp.concatenate(outputs, axis=-1)


# Both jitted: a scan outside of jit (0.10) is compiled anew on every call, 200 ms. Two, because XLA
# keeps all states even where nobody asks for them: two per cent of an LSTM's step.


@partial(jax.jit, static_argnames=("cell", "reverse"))
def _all_states(cell: _Cell, x: Array, own: Arrays, *, reverse: bool) -> Array:
    """Return the state after every step, [N, T, units]."""

    def step(carry: _Carry, z: Array) -> tuple[_Carry, Array]:
        carry = cell(carry, z, own)
        return carry, carry[0]

    _, states = lax.scan(step, *_start(x, own), reverse=reverse)
    return states.swapaxes(0, 1)


@partial(jax.jit, static_argnames=("cell", "reverse"))
def _last_state(cell: _Cell, x: Array, own: Arrays, *, reverse: bool) -> Array:
    """Return the state after the last step, [N, units]."""
    (last, _), _ = lax.scan(lambda c, z: (cell(c, z, own), None), *_start(x, own), reverse=reverse)
    return last


def _start(x: Array, own: Arrays) -> tuple[_Carry, Array]:
    """Return the carry of zeros, and what x gives to every step, [T, N, gates]."""
    zeros = jnp.zeros((len(x), len(own["recurrent_weight"])), x.dtype)
    return (zeros, zeros), (x @ own["weight"] + own["bias"]).swapaxes(0, 1)


def _tanh_cell(carry: _Carry, z: Array, own: Arrays) -> _Carry:
    h, c = carry
    return jnp.tanh(z + h @ own["recurrent_weight"]), c


def _relu_cell(carry: _Carry, z: Array, own: Arrays) -> _Carry:
    h, c = carry
    return jax.nn.relu(z + h @ own["recurrent_weight"]), c


def _lstm_cell(carry: _Carry, z: Array, own: Arrays) -> _Carry:
    h, c = carry
    i, f, g, o = jnp.split(z + h @ own["recurrent_weight"], 4, axis=-1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def _gru_cell(carry: _Carry, z: Array, own: Arrays) -> _Carry:
    h, c = carry
    again = h @ own["recurrent_weight"] + own["recurrent_bias"]
    (reset, update, new), (r, u, n) = (jnp.split(gates, 3, axis=-1) for gates in (z, again))
    keep = jax.nn.sigmoid(update + u)
    new = jnp.tanh(new + jax.nn.sigmoid(reset + r) * n)
    return (1 - keep) * new + keep * h, c


def multi_head_attention(node: Node[MultiHeadAttention], x: Array, run: _Pass) -> Array:
    layer = node.layer
    q, k, v = (
        (x @ run.weight(node, role)).reshape(*x.shape[:2], layer.num_heads, -1)
        for role in ROLES[:3]
    )
    # JAX's own (0.10) takes the softmax in float32, whatever its inputs are.
    attend = _attend if x.dtype == np.float64 else jax.nn.dot_product_attention
    y = attend(q, k, v, is_causal=layer.causal)
    return y.reshape(x.shape) @ run.weight(node, "output_weight")


def _attend(q: Array, k: Array, v: Array, *, is_causal: bool) -> Array:
    """softmax(q kᵀ / √d) v of [N, T, heads, d]."""
    scores = jnp.einsum("nthd,nshd->nhts", q, k) * q.shape[-1] ** -0.5
    if is_causal:
        scores = jnp.where(np.tri(q.shape[1], dtype=bool), scores, -np.inf)
    return jnp.einsum("nhts,nshd->nthd", jax.nn.softmax(scores), v)


def relu(node: Node[ReLU], x: Array, run: _Pass) -> Array:
    return jax.nn.relu(x)


def leaky_relu(node: Node[LeakyReLU], x: Array, run: _Pass) -> Array:
    # jax.nn.leaky_relu (0.10) has the derivative 1 at 0.
    return jnp.where(x > 0, x, node.layer.negative_slope * x)


def elu(node: Node[ELU], x: Array, run: _Pass) -> Array:
    return jax.nn.elu(x, node.layer.alpha)


def gelu(node: Node[GELU], x: Array, run: _Pass) -> Array:
    return jax.nn.gelu(x, approximate=node.layer.approximation == "tanh")


def sigmoid(node: Node[Sigmoid], x: Array, run: _Pass) -> Array:
    return jax.nn.sigmoid(x)


def hard_sigmoid(node: Node[HardSigmoid], x: Array, run: _Pass) -> Array:
    return jax.nn.hard_sigmoid(x)


def tanh(node: Node[Tanh], x: Array, run: _Pass) -> Array:
    return jnp.tanh(x)


def softplus(node: Node[Softplus], x: Array, run: _Pass) -> Array:
    return jax.nn.softplus(x)


def silu(node: Node[SiLU], x: Array, run: _Pass) -> Array:
    return jax.nn.silu(x)


def softmax(node: Node[Softmax], x: Array, run: _Pass) -> Array:
    return jax.nn.softmax(x, axis=2 if x.ndim == 4 else -1)  # the width of [N, H, W, C]


def dropout(node: Node[Dropout], x: Array, run: _Pass) -> Array:
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


def residual(node: Node[Residual], x: Array, run: _Pass) -> Array:
    body = _sequence(node.branches["body"], x, run)
    return body + _sequence(node.branches["shortcut"], x, run)


def concat(node: Node[Concat], x: Array, run: _Pass) -> Array:
    paths = [_sequence(path, x, run) for path in node.branches.values()]
    return jnp.concatenate(paths, axis=-1)


# Losses: the mean loss of (logits, targets)


def mse(loss: MSE, z: Array, y: Array) -> Array:
    return optax.squared_error(z, y).mean()


def mae(loss: MAE, z: Array, y: Array) -> Array:
    return jnp.abs(z - y).mean()


def huber(loss: Huber, z: Array, y: Array) -> Array:
    return optax.huber_loss(z, y, delta=loss.delta).mean()


def softmax_cross_entropy(loss: SoftmaxCrossEntropy, z: Array, y: Array) -> Array:
    if not loss.label_smoothing:
        return optax.softmax_cross_entropy_with_integer_labels(z, y).mean()
    labels = jax.nn.one_hot(y, z.shape[1], dtype=z.dtype)
    return optax.softmax_cross_entropy(z, optax.smooth_labels(labels, loss.label_smoothing)).mean()


def binary_cross_entropy(loss: BinaryCrossEntropy, z: Array, y: Array) -> Array:
    return optax.sigmoid_binary_cross_entropy(z, y).mean()


# Optimizers: the native one for a learning rate, and its own names for our slots

_Optimizer = tuple[Callable[[Array], Any], dict[str, str]]


def sgd(optimizer: SGD) -> _Optimizer:
    def native(learning_rate: Array) -> Any:
        momentum = optimizer.momentum or None
        step = optax.sgd(learning_rate, momentum, nesterov=optimizer.nesterov)
        return _clipped_and_decayed(optimizer, step, optimizer.weight_decay)

    return native, {"velocity": "trace"} if optimizer.momentum else {}


def adam(optimizer: Adam) -> _Optimizer:
    def native(learning_rate: Array) -> Any:
        betas = (optimizer.beta1, optimizer.beta2)
        step = optax.adam(learning_rate, *betas, optimizer.epsilon)
        return _clipped_and_decayed(optimizer, step, optimizer.weight_decay)

    return native, {"m": "mu", "v": "nu"}


def adamw(optimizer: AdamW) -> _Optimizer:
    def native(learning_rate: Array) -> Any:
        betas, decay = (optimizer.beta1, optimizer.beta2), optimizer.weight_decay
        step = optax.adamw(learning_rate, *betas, optimizer.epsilon, weight_decay=decay)
        return _clipped_and_decayed(optimizer, step, 0.0)

    return native, {"m": "mu", "v": "nu"}


def rmsprop(optimizer: RMSprop) -> _Optimizer:
    def native(learning_rate: Array) -> Any:
        step = optax.rmsprop(learning_rate, optimizer.rho, optimizer.epsilon, eps_in_sqrt=True)
        return _clipped_and_decayed(optimizer, step, optimizer.weight_decay)

    return native, {"s": "nu"}


def adagrad(optimizer: Adagrad) -> _Optimizer:
    def native(learning_rate: Array) -> Any:
        step = optax.adagrad(learning_rate, 0.0, optimizer.epsilon)
        return _clipped_and_decayed(optimizer, step, optimizer.weight_decay)

    return native, {"s": "sum_of_squares"}


def _clipped_and_decayed(optimizer: Optimizer, step: Any, weight_decay: float) -> Any:
    """Put what the spec has of clipping and coupled decay before an optimizer's own step."""
    before = []
    if optimizer.clip_value:
        before.append(optax.clip(optimizer.clip_value))
    if optimizer.clip_norm:
        before.append(optax.clip_by_global_norm(optimizer.clip_norm))
    if weight_decay:
        before.append(optax.add_decayed_weights(weight_decay))
    return optax.chain(*before, step) if before else step


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

MODES: tuple[Mode, ...] = ("eager", "compiled")
UNSUPPORTED: dict[Gap, str] = {}
DEVIATIONS: dict[str, Deviation] = {}
_NO_AUTOTUNING = "--xla_gpu_autotune_level=0"


def version() -> str:
    return str(jax.__version__)


def devices() -> list[str]:
    count = sum(device.platform == "gpu" for device in jax.devices())
    return ["cpu", *(["cuda"] if count else []), *(f"cuda:{i}" for i in range(count))]


def build(
    model: Model, weights: Weights, execution: Execution, *, seed: int, state: Weights | None
) -> _Trainer:
    if execution.device != "cpu" and _NO_AUTOTUNING not in os.environ.get("XLA_FLAGS", ""):
        # An autotuner would choose by the clock. XLA reads this when its first device is asked for.
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_NO_AUTOTUNING}"
    refuse_unsupported(sys.modules[__name__], model, execution)
    # The threads: XLA's CPU client (0.10) only reads NPROC, at its birth; the harness sets it.
    # In float32 too: optax (0.2.8) takes 1 - beta**t in the widest float there is, and would lose
    # three digits of it in float32. Every array here has its own dtype, which no number widens.
    jax.config.update("jax_enable_x64", True)
    # On a GPU, JAX (0.10) would otherwise multiply float32 matrices in TF32.
    jax.config.update("jax_default_matmul_precision", "highest")
    # Not `device_put(x, device)`, which commits an array to its device: JAX (0.10) then fills each
    # zeros_like, such as an eager ReLU makes, by a callback: two per cent of an eager MLP's step.
    jax.config.update("jax_default_device", _device(execution.device))
    _compiled()
    return _Trainer(model, weights, execution, seed, state)


def settings(execution: Execution) -> dict[str, str]:
    """Return what `build` fixes that matters for speed or rounding, in JAX's words."""
    fixed = {
        "jax_default_matmul_precision": "highest",
        "jax_enable_x64": "True",
        "image layout": "NHWC, HWIO",
    }
    return fixed | ({"XLA_FLAGS": _NO_AUTOTUNING} if execution.device != "cpu" else {})


def device_memory(device: str) -> int | None:
    """Return the most bytes that arrays have taken on a CUDA device; None of the CPU."""
    return None if device == "cpu" else int(_device(device).memory_stats()["peak_bytes_in_use"])


def _device(name: str) -> Any:
    platform, _, index = name.partition(":")
    return jax.devices(platform)[int(index or 0)]


@cache
def _compiled() -> list[str]:
    """Return the list that gets an entry for each compilation from the first call on."""
    events: list[str] = []

    def listen(event: str, seconds: float, **_: Any) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            events.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    return events


class _Batch(NamedTuple):
    x: Array
    y: Array
    masks: Arrays | None

    @property
    def length(self) -> int:
        return len(self.x)


class _Rows(NamedTuple):
    """A batch that is still to be gathered, from a split that the device holds."""

    indices: Array
    x: Array
    y: Array

    @property
    def length(self) -> int:
        return len(self.indices)

    def gathered(self) -> _Batch:
        return _Batch(self.x[self.indices], self.y[self.indices], None)


@jax.jit  # type: ignore[untyped-decorator]
def _stack(*arrays: Array) -> Array:
    return jnp.stack(arrays)


class _State(NamedTuple):
    """What a step replaces."""

    weights: Arrays  # those that the optimizer moves
    statistics: Arrays
    optimizer: Any
    step: Array


class _Trainer:
    def __init__(
        self,
        model: Model,
        weights: Weights,
        execution: Execution,
        seed: int,
        state: Weights | None,
    ) -> None:
        slots, step = starting_state(model, weights, state)
        self._model, self._seed = model, seed
        self._on_cpu = execution.device == "cpu"
        self._axes = native_axes(LAYOUT, model)
        self._native, self._slots = OPTIMIZERS[type(model.optimizer)](model.optimizer)
        self._dtype, self._count = execution.dtype, step
        self._state = self._load(weights, slots, step)
        self._loss_and_gradients = jax.value_and_grad(self._mean_loss, has_aux=True)
        self._take_step, self._take_steps, self._forward = self._step, self._loop, self._run
        if execution.mode == "compiled":
            self._compile()
        else:
            self.split = self._split  # compiled, a step is one call: nothing can be told apart
            self._native = lru_cache(1)(self._native)  # a rate that stays makes it once
            # Counting is no work for the device: there it costs as much as any operation.
            self._state = self._state._replace(step=np.array(step, np.int32))

    def stage(self, x: np.ndarray, y: np.ndarray, masks: Masks | None) -> _Batch:
        native = masks and {key: self._tensor(mask) for key, mask in masks.items()}
        return _Batch(self._tensor(x), self._tensor(y), native)

    def _hold(self, x: np.ndarray, y: np.ndarray) -> Callable[[np.ndarray], list[_Rows]]:
        held = jax.device_put((np.ascontiguousarray(_channels_last(x)), y))
        return lambda order: [_Rows(rows, *held) for rows in order.astype(np.int32)]

    def train(self, batches: Iterable[_Batch | _Rows]) -> np.ndarray:
        batches = list(batches)
        alike = len({batch.length for batch in batches}) == 1
        take_steps = self._take_steps if alike else self._loop
        steps = range(self._count, self._count + len(batches))
        rates = np.array([self._model.optimizer.rate(t) for t in steps], self._dtype)
        self._state, losses = take_steps(self._state, rates, batches)
        self._count = steps.stop
        jax.block_until_ready(self._state)
        # Of a list, it asks for all before it waits for one; for a single array it takes longer.
        return np.array(jax.device_get(losses) if isinstance(losses, list) else losses)

    def compilations(self) -> int:
        return len(_compiled())

    def gradients(self, batch: _Batch) -> tuple[float, Weights]:
        weights, statistics, _, step = self._state
        (loss, _), gradients = self._loss_and_gradients(weights, statistics, step, batch)
        return float(loss), self._arrays(gradients)

    def activations(self, batch: _Batch) -> dict[str, np.ndarray]:
        weights, statistics, _, step = self._state
        _, outputs, _ = self._forward(
            weights | statistics, step, batch.x, batch.masks, training=True
        )
        return {key: np.array(_channels_first(y), order="C") for key, y in outputs.items()}

    def predict(self, x: np.ndarray) -> np.ndarray:
        weights, statistics, _, step = self._state
        logits, *_ = self._forward(
            weights | statistics, step, self._tensor(x), None, training=False
        )
        return np.array(logits)

    def weights(self) -> Weights:
        arrays = self._arrays(self._state.weights | self._state.statistics)
        return {name: arrays[name] for name in self._model.weights}

    def state(self) -> Weights:
        slots: Weights = {}
        for slot, native in self._slots.items():
            arrays = self._arrays(optax.tree.get(self._state.optimizer, native))
            slots |= {f"{name}.{slot}": array for name, array in arrays.items()}
        return slots | {"step": np.array(self._state.step, np.int64)}

    def _compile(self) -> None:
        self._loss_and_gradients = jax.jit(self._loss_and_gradients)
        self._take_step = jax.jit(self._step, donate_argnums=0)
        self._forward = jax.jit(self._run, static_argnames="training")
        # XLA's CPU convolutions (0.10) are 4 to 25 times slower inside a scan.
        convolutions = Conv1D | Conv2D | ConvTranspose2D
        if not any(isinstance(node.layer, convolutions) for node in self._model.walk()):
            scan = jax.jit(self._scan, donate_argnums=0)
            self._take_steps = partial(self._stack_and_scan, scan)
            self.hold = self._hold  # step by step, a gather costs more than NumPy's

    def _run(
        self, weights: Arrays, step: Array, x: Array, masks: Arrays | None, *, training: bool
    ) -> tuple[Array, Arrays, Arrays]:
        """Return the logits, every layer's output, and the statistics that moved."""
        run = _Pass(weights, training, masks, self._seed, step, outputs={}, statistics={})
        return _sequence(self._model.nodes, x, run), run.outputs, run.statistics

    def _mean_loss(
        self, weights: Arrays, statistics: Arrays, step: Array, batch: _Batch
    ) -> tuple[Array, Arrays]:
        logits, _, moved = self._run(
            weights | statistics, step, batch.x, batch.masks, training=True
        )
        return LOSSES[type(self._model.loss)](self._model.loss, logits, batch.y), moved

    def _step(self, state: _State, rate: Array, batch: _Batch | _Rows) -> tuple[_State, Array]:
        weights, statistics, optimizer, step = state
        batch = batch.gathered() if isinstance(batch, _Rows) else batch
        differentiate = jax.value_and_grad(self._mean_loss, has_aux=True)
        (loss, statistics), gradients = differentiate(weights, statistics, step, batch)
        updates, optimizer = self._native(rate).update(gradients, optimizer, weights)
        weights = optax.apply_updates(weights, updates)
        return _State(weights, statistics, optimizer, step + 1), loss

    def _split(self, batch: _Batch) -> dict[str, float]:
        weights, statistics, optimizer, step = self._state
        rate = np.array(self._model.optimizer.rate(self._count), self._dtype).item()
        began = perf_counter()
        loss, back, statistics = jax.block_until_ready(
            jax.vjp(
                lambda weights: self._mean_loss(weights, statistics, step, batch),
                weights,
                has_aux=True,
            )
        )
        forward = perf_counter()
        (gradients,) = jax.block_until_ready(back(jnp.ones_like(loss)))
        backward = perf_counter()
        updates, optimizer = self._native(rate).update(gradients, optimizer, weights)
        weights = optax.apply_updates(weights, updates)
        self._state = jax.block_until_ready(_State(weights, statistics, optimizer, step + 1))
        self._count += 1
        update = perf_counter()
        return {
            "forward": forward - began,
            "backward": backward - forward,
            "update": update - backward,
        }

    def _loop(
        self, state: _State, rates: np.ndarray, batches: Sequence[_Batch | _Rows]
    ) -> tuple[_State, list[Array]]:
        losses = []
        for rate, batch in zip(rates.tolist(), batches, strict=True):
            state, loss = self._take_step(state, rate, batch)
            losses.append(loss)
        return state, losses

    def _stack_and_scan(
        self,
        scan: Callable[..., Any],
        state: _State,
        rates: np.ndarray,
        batches: Sequence[Any],  # all of one kind
    ) -> tuple[_State, Array]:
        first = batches[0]
        if isinstance(first, _Rows):
            indices = np.stack([batch.indices for batch in batches])
            return scan(state, rates, first._replace(indices=indices))
        stacked = jax.tree.map(lambda *a: stack(a) if self._on_cpu else _stack(*a), *batches)
        return scan(state, rates, stacked)

    def _scan(self, state: _State, rates: Array, block: _Batch | _Rows) -> tuple[_State, Array]:
        rows = block if isinstance(block, _Rows) else None

        def take(now: tuple[_State, Array], given: tuple[Array, Any]) -> tuple[Any, Array]:
            # The rate is in the loop's state: XLA (0.10) would look it up for every element moved.
            (state, rate), (following, batch) = now, given
            batch = rows._replace(indices=batch) if rows else batch
            state, loss = self._step(state, rate, batch)
            return (state, following), loss

        steps = jnp.roll(rates, -1), rows.indices if rows else block
        (state, _), losses = lax.scan(take, (state, rates[0]), steps)
        return state, losses

    def _load(self, weights: Weights, slots: Weights, step: int) -> _State:
        native = {name: to_native(w, self._axes.get(name)) for name, w in weights.items()}
        trainable = {name: native[name] for name in self._model.trainable}
        statistics = {name: w for name, w in native.items() if name not in trainable}
        count = np.array(step, np.int32)
        known: Arrays = {"count": count} if isinstance(self._model.optimizer, Adam | AdamW) else {}
        for slot, its in self._slots.items():
            known[its] = {
                name: to_native(slots[f"{name}.{slot}"], self._axes.get(name)) for name in trainable
            }
        state = self._native(np.array(0, self._dtype)).init(trainable)
        loaded = _State(trainable, statistics, optax.tree.set(state, **known), count)
        # A step overwrites what it is given: an alias would reach into the caller's arrays.
        return jax.device_put(loaded, may_alias=False)

    def _tensor(self, array: np.ndarray) -> Array:
        native = np.ascontiguousarray(_channels_last(array))
        # A CPU step takes NumPy arrays over faster than `device_put` does (0.10).
        return native if self._on_cpu else jax.device_put(native)

    def _arrays(self, tensors: Arrays) -> Weights:
        """Copy native tensors, by the weights' names, into canonical arrays."""
        return {
            name: np.array(to_canonical(np.asarray(tensor), self._axes.get(name)), order="C")
            for name, tensor in tensors.items()
        }
