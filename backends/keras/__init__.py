"""Keras 3 on TensorFlow: eager, a loop of GradientTape steps, and compiled, a loop in one graph.

Images are kept channels-last, the only layout that TensorFlow trains in on a CPU. The step is
native: `keras.layers`, `keras.losses`, a tape, and `keras.optimizers` that keep to the spec.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import groupby, pairwise
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from msgspec.structs import replace

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
from ...models.layers.attention import ROLES as ATTENTION_ROLES
from ...models.layers.convolution import Pads
from ...models.layers.recurrent import DIRECTIONS
from ...models.losses import MAE, MSE, BinaryCrossEntropy, Huber, SoftmaxCrossEntropy
from ...models.optimizers import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop
from ...models.shapes import Shape, pair
from ..blocks import stack
from ..contract import (
    Axes,
    Deviation,
    DType,
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

os.environ["KERAS_BACKEND"] = "tensorflow"  # Keras reads it once, when it is imported
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # or TensorFlow logs what machine this is
os.environ["TF_CUDNN_USE_AUTOTUNE"] = "0"  # autotuned kernels differ from run to run

import keras
import tensorflow as tf

Tensor = Any
Call = Callable[[Tensor, "_Pass"], Tensor]
Lowered = tuple[Call, dict[str, "_Place"]]  # the native layers, their weights by role

_KERNEL, _MATRIX = (2, 3, 1, 0), (1, 0)
LAYOUT: Layout = {
    (Dense, "weight"): _MATRIX,
    (Conv1D, "weight"): (2, 1, 0),
    (Conv2D, "weight"): _KERNEL,
    (ConvTranspose2D, "weight"): _KERNEL,
    **{
        (layer, f"{prefix}{role}"): _MATRIX
        for layer in (SimpleRNN, LSTM, GRU)
        for prefix in DIRECTIONS
        for role in ("weight", "recurrent_weight")
    },
    **{(MultiHeadAttention, role): _MATRIX for role in ATTENTION_ROLES},
}
_CHANNELS_LAST, _CHANNELS_FIRST = (2, 3, 1), (3, 1, 2)  # for Permute, which counts axes from 1


class _Place(NamedTuple):
    """Where a weight lies: all of a variable or one row of it, in Keras' order of gates or not."""

    variable: keras.Variable
    part: Any = ...
    swapped: bool = False  # a GRU's gates: Keras has z, r, n
    image: Shape | None = None  # what a dense layer flattens, its features being channels-last


class _Pass(NamedTuple):
    """One forward pass: what the layers need beside their input, and every layer's output."""

    training: bool
    masks: dict[str, Tensor]
    outputs: dict[str, Tensor]


# Layers


def dense(node: Node[Dense], dtype: DType) -> Lowered:
    layer = keras.layers.Dense(
        node.layer.units, use_bias=node.layer.use_bias, kernel_initializer="zeros", dtype=dtype
    )
    return _chain(layer), _places(layer, node)


def conv1d(node: Node[Conv1D], dtype: DType) -> Lowered:
    layer = node.layer
    sizes = ((layer.kernel_size,), (layer.stride,), (layer.dilation,))
    call, places = _convolution(node, keras.layers.Conv1D, *sizes, dtype)
    return lambda x, run: _swap_axes(call(_swap_axes(x), run)), places


def conv2d(node: Node[Conv2D], dtype: DType) -> Lowered:
    layer = node.layer
    sizes = (pair(layer.kernel_size), pair(layer.stride), pair(layer.dilation))
    return _convolution(node, keras.layers.Conv2D, *sizes, dtype)


def _convolution(
    node: Node[Conv1D] | Node[Conv2D],
    native: type[keras.Layer],
    kernel: Shape,
    stride: Shape,
    dilation: Shape,
    dtype: DType,
) -> Lowered:
    spec, pads = node.layer, node.layer.pads(node.input_shape)
    # Keras (3.15) refuses a stride together with a dilation: what it skips is computed first.
    skipped = max(stride) > 1 and max(dilation) > 1
    same = not skipped and pads == replace(spec, padding="same").pads(node.input_shape)
    layer = native(
        spec.filters,
        kernel,
        1 if skipped else stride,
        "same" if same else "valid",
        dilation_rate=dilation,
        groups=spec.groups,
        use_bias=spec.use_bias,
        kernel_initializer="zeros",
        dtype=dtype,
    )
    places = _places(layer, node, (*node.input_shape[1:], node.input_shape[0]))
    call = _by_group(layer) if spec.groups > 1 else _chain(layer)
    if not same and any(map(any, pads)):
        call = _composed(_padding(pads), call)
    if skipped:
        steps = (slice(None), *(slice(None, None, s) for s in stride))
        call = _composed(call, lambda x, run: x[steps])
    return call, places


def _by_group(layer: Any) -> Call:
    """Return a grouped convolution: Keras (3.15) compiles its own anew at every eager call."""
    depth = layer.kernel.shape[-2]
    square = layer.rank == 2 and len(set(layer.strides)) == 1  # or TensorFlow refuses
    convolve = (_depthwise if depth == 1 and square else _blockwise)(layer)
    if not layer.use_bias:
        return convolve
    return _composed(convolve, lambda x, run: tf.nn.bias_add(x, layer.bias.value))


def _blockwise(layer: Any) -> Call:
    options = (layer.strides, layer.padding.upper(), None, layer.dilation_rate)

    def call(x: Tensor, run: _Pass) -> Tensor:
        parts = tf.split(x, layer.groups, axis=-1)
        kernels = tf.split(layer.kernel.value, layer.groups, axis=-1)
        pairs = zip(parts, kernels, strict=True)
        return tf.concat([tf.nn.convolution(part, k, *options) for part, k in pairs], axis=-1)

    return call


def _depthwise(layer: Any) -> Call:
    options = ((1, *layer.strides, 1), layer.padding.upper(), None, layer.dilation_rate)
    shape = (*layer.kernel.shape[:2], layer.groups, -1)

    def call(x: Tensor, run: _Pass) -> Tensor:
        return tf.nn.depthwise_conv2d(x, tf.reshape(layer.kernel.value, shape), *options)

    return call


def conv_transpose2d(node: Node[ConvTranspose2D], dtype: DType) -> Lowered:
    spec, (_, *space) = node.layer, node.output_shape
    layer = keras.layers.Conv2DTranspose(
        spec.filters,
        pair(spec.kernel_size),
        use_bias=spec.use_bias,
        kernel_initializer="zeros",
        dtype=dtype,
    )
    borders = _borders(tuple((p, p) for p in pair(spec.padding)))
    stride = pair(spec.stride)

    # Keras' own cropping is another, and cannot make every output_padding.
    def call(x: Tensor, run: _Pass) -> Tensor:
        shape = tf.stack([tf.shape(x)[0], *space, spec.filters])
        y = tf.nn.conv2d_transpose(x, layer.kernel.value, shape, stride, borders)
        return tf.nn.bias_add(y, layer.bias.value) if spec.use_bias else y

    return call, _places(layer, node)


def max_pool2d(node: Node[MaxPool2D], dtype: DType) -> Lowered:
    kernel, padding = pair(node.layer.kernel_size), pair(node.layer.padding)
    stride = pair(node.layer.stride or node.layer.kernel_size)
    if padding == (0, 0):
        return _chain(keras.layers.MaxPooling2D(kernel, stride, dtype=dtype)), {}
    borders = _borders(tuple((p, p) for p in padding))
    # Keras can only pad by the "same" rule, which puts the odd row at the end alone.
    return lambda x, run: tf.nn.max_pool2d(x, kernel, stride, borders), {}


def avg_pool2d(node: Node[AvgPool2D], dtype: DType) -> Lowered:
    spec = node.layer
    kernel, stride = pair(spec.kernel_size), pair(spec.stride or spec.kernel_size)
    pads = tuple((p, p) for p in pair(spec.padding))
    pool = _chain(keras.layers.AveragePooling2D(kernel, stride, dtype=dtype))
    if not any(map(any, pads)):
        return pool, {}
    pool = _composed(_padding(pads), pool)
    if spec.count_include_pad:
        return pool, {}
    rows, columns = map(_inside, node.input_shape[1:], node.output_shape[1:], kernel, stride, pads)
    counts = np.outer(rows, columns)[:, :, None]
    scale = (kernel[0] * kernel[1] / counts).astype(dtype)
    return lambda x, run: pool(x, run) * scale, {}


def _inside(size: int, count: int, kernel: int, stride: int, pads: tuple[int, int]) -> np.ndarray:
    """Return how many places of each of `count` windows are not padding."""
    starts = np.arange(count) * stride - pads[0]
    return np.minimum(starts + kernel, size) - np.maximum(starts, 0)


def global_avg_pool1d(node: Node[GlobalAvgPool1D], dtype: DType) -> Lowered:
    return _chain(keras.layers.GlobalAveragePooling1D(dtype=dtype)), {}


def global_avg_pool2d(node: Node[GlobalAvgPool2D], dtype: DType) -> Lowered:
    return _chain(keras.layers.GlobalAveragePooling2D(dtype=dtype)), {}


def flatten(node: Node[Flatten], dtype: DType) -> Lowered:
    return _reshape(node, dtype), {}


def _together(nodes: Sequence[Node[Layer]]) -> dict[str, Callable[..., Lowered]]:
    """Return how to lower each `flatten` of an image and the `dense` behind it, by their keys.

    The dense layer takes the image as it lies, so that nothing is transposed at every step.
    """
    found: dict[str, Callable[..., Lowered]] = {}
    for node, after in pairwise(nodes):
        flattens = isinstance(node.layer, Flatten) and _has_channels(node.input_shape)
        if flattens and isinstance(after.layer, Dense):
            found[node.key] = lambda node, dtype: (_chain(), {})
            found[after.key] = partial(_dense_of_image, image=node.input_shape)
    return found


def _dense_of_image(node: Node[Dense], dtype: DType, *, image: Shape) -> Lowered:
    call, places = dense(node, dtype)
    places["weight"] = places["weight"]._replace(image=image)
    return _composed(_chain(keras.layers.Flatten(dtype=dtype)), call), places


def reshape(node: Node[Reshape], dtype: DType) -> Lowered:
    return _reshape(node, dtype), {}


def permute(node: Node[Permute], dtype: DType) -> Lowered:
    axes = tuple(axis + 1 for axis in node.layer.axes)
    if len(axes) == 3:
        axes = tuple(_CHANNELS_FIRST[axes[axis - 1] - 1] for axis in _CHANNELS_LAST)
    return _chain(keras.layers.Permute(axes, dtype=dtype)), {}


def batch_norm(node: Node[BatchNorm], dtype: DType) -> Lowered:
    layer = keras.layers.BatchNormalization(
        momentum=1 - node.layer.momentum, epsilon=node.layer.epsilon, dtype=dtype
    )
    return lambda x, run: layer(x, training=run.training), _places(layer, node)


def layer_norm(node: Node[LayerNorm], dtype: DType) -> Lowered:
    layer = keras.layers.LayerNormalization(epsilon=node.layer.epsilon, dtype=dtype)
    return _chain(layer), _places(layer, node)


def embedding(node: Node[Embedding], dtype: DType) -> Lowered:
    spec = node.layer
    layer = keras.layers.Embedding(
        spec.vocabulary_size, spec.units, embeddings_initializer="zeros", dtype=dtype
    )
    return lambda x, run: layer(tf.cast(x, tf.int32)), _places(layer, node)


def simple_rnn(node: Node[SimpleRNN], dtype: DType) -> Lowered:
    return _recurrent(node, keras.layers.SimpleRNN, dtype, activation=node.layer.activation)


def lstm(node: Node[LSTM], dtype: DType) -> Lowered:
    return _recurrent(node, keras.layers.LSTM, dtype)


def gru(node: Node[GRU], dtype: DType) -> Lowered:
    call, places = _recurrent(node, keras.layers.GRU, dtype)
    return call, {role: place._replace(swapped=True) for role, place in places.items()}


def _recurrent(
    node: Node[SimpleRNN] | Node[LSTM] | Node[GRU],
    native: type[keras.Layer],
    dtype: DType,
    **options: str,
) -> Lowered:
    spec = node.layer
    layer = native(
        spec.units,
        return_sequences=spec.return_sequences,
        kernel_initializer="zeros",
        recurrent_initializer="zeros",
        dtype=dtype,
        **options,
    )
    if spec.bidirectional:
        layer = keras.layers.Bidirectional(layer, dtype=dtype)
    layer.build((None, *node.input_shape))
    rows = range(2) if len(spec.biases) == 2 else [...]  # Keras keeps a GRU's biases in one
    places = []
    for i in range(0, len(layer.weights), 3):
        weight, again, bias = layer.weights[i : i + 3]
        places += [_Place(weight), _Place(again), *(_Place(bias, row) for row in rows)]
    return _chain(layer), dict(zip(spec.weights(node.input_shape), places, strict=True))


def multi_head_attention(node: Node[MultiHeadAttention], dtype: DType) -> Lowered:
    spec, features = node.layer, node.input_shape[1]
    layer = keras.layers.MultiHeadAttention(
        spec.num_heads,
        features // spec.num_heads,
        use_bias=False,
        kernel_initializer="zeros",
        dtype=dtype,
    )
    layer.build(*[(None, *node.input_shape)] * 2)
    # Keras (3.15) casts this by way of float32 if it is a Python float.
    layer._inverse_sqrt_key_dim = np.float64((features // spec.num_heads) ** -0.5)
    places = map(_Place, layer.weights)
    roles = dict(zip(spec.weights(node.input_shape), places, strict=True))
    return lambda x, run: layer(x, x, use_causal_mask=spec.causal), roles


def relu(node: Node[ReLU], dtype: DType) -> Lowered:
    return _chain(keras.layers.ReLU(dtype=dtype)), {}


def leaky_relu(node: Node[LeakyReLU], dtype: DType) -> Lowered:
    slope = node.layer.negative_slope
    if dtype == "float64":  # the native op (2.21) holds its slope in float32
        return lambda x, run: tf.where(x > 0, x, slope * x), {}
    return _chain(keras.layers.LeakyReLU(slope, dtype=dtype)), {}


def elu(node: Node[ELU], dtype: DType) -> Lowered:
    return _chain(keras.layers.ELU(node.layer.alpha, dtype=dtype)), {}


def gelu(node: Node[GELU], dtype: DType) -> Lowered:
    # tf.nn.gelu (2.21) is these operations too, with constants held in float32.
    if node.layer.approximation == "none":
        return lambda x, run: x * (1 + tf.math.erf(x * 0.5**0.5)) / 2, {}
    scale = (2 / np.pi) ** 0.5
    return lambda x, run: x * (1 + tf.tanh(scale * (x + 0.044715 * x * x * x))) / 2, {}


def sigmoid(node: Node[Sigmoid], dtype: DType) -> Lowered:
    return _chain(keras.layers.Activation("sigmoid", dtype=dtype)), {}


def hard_sigmoid(node: Node[HardSigmoid], dtype: DType) -> Lowered:
    return _chain(keras.layers.Activation("hard_sigmoid", dtype=dtype)), {}


def tanh(node: Node[Tanh], dtype: DType) -> Lowered:
    return _chain(keras.layers.Activation("tanh", dtype=dtype)), {}


def softplus(node: Node[Softplus], dtype: DType) -> Lowered:
    return _chain(keras.layers.Activation("softplus", dtype=dtype)), {}


def silu(node: Node[SiLU], dtype: DType) -> Lowered:
    return _chain(keras.layers.Activation("silu", dtype=dtype)), {}


def softmax(node: Node[Softmax], dtype: DType) -> Lowered:
    return _chain(keras.layers.Activation("softmax", dtype=dtype)), {}


def dropout(node: Node[Dropout], dtype: DType) -> Lowered:
    native, rate = keras.layers.Dropout(node.layer.rate, dtype=dtype), node.layer.rate

    def call(x: Tensor, run: _Pass) -> Tensor:
        if not run.training or not run.masks:
            return native(x, training=run.training)
        return x * (run.masks[node.key] / (1 - rate))

    return call, {}


def residual(node: Node[Residual], dtype: DType) -> Lowered:
    body, places = _lower(node.branches["body"], dtype)
    shortcut, others = _lower(node.branches["shortcut"], dtype)
    return lambda x, run: body(x, run) + shortcut(x, run), places | others


def concat(node: Node[Concat], dtype: DType) -> Lowered:
    paths, places = [], dict[str, _Place]()
    for nodes in node.branches.values():
        path, own = _lower(nodes, dtype)
        paths.append(path)
        places |= own
    return lambda x, run: tf.concat([path(x, run) for path in paths], axis=-1), places


def _chain(*layers: keras.Layer) -> Call:
    def call(x: Tensor, run: _Pass) -> Tensor:
        for layer in layers:
            x = layer(x)
        return x

    return call


def _composed(first: Call, second: Call) -> Call:
    return lambda x, run: second(first(x, run), run)


def _padding(pads: Pads) -> Call:
    borders = _borders(pads)
    return lambda x, run: tf.pad(x, borders)


def _borders(pads: Pads) -> list[tuple[int, int]]:
    return [(0, 0), *pads, (0, 0)]


def _swap_axes(x: Tensor) -> Tensor:
    return tf.transpose(x, (0, 2, 1))


def _places(
    layer: keras.Layer, node: Node[Any], native_shape: Shape | None = None
) -> dict[str, _Place]:
    layer.build((None, *(native_shape or _native_shape(node.input_shape))))
    roles = node.layer.weights(node.input_shape)
    return dict(zip(roles, map(_Place, layer.weights), strict=True))


def _reshape(node: Node[Any], dtype: DType) -> Call:
    """Reshape what the spec sees, which is channels-first; one channel is both first and last."""
    layers: list[keras.Layer] = []
    if _has_channels(node.input_shape):
        layers.append(keras.layers.Permute(_CHANNELS_FIRST, dtype=dtype))
    if _has_channels(node.output_shape):
        layers.append(keras.layers.Reshape(node.output_shape, dtype=dtype))
        layers.append(keras.layers.Permute(_CHANNELS_LAST, dtype=dtype))
    else:
        layers.append(keras.layers.Reshape(_native_shape(node.output_shape), dtype=dtype))
    return _chain(*layers)


def _has_channels(shape: Shape) -> bool:
    return len(shape) == 3 and shape[0] > 1


def _native_shape(shape: Shape) -> Shape:
    return tuple(shape[axis - 1] for axis in _CHANNELS_LAST) if len(shape) == 3 else shape


# Losses: a function of (targets, logits)

_Loss = Callable[[Tensor, Tensor], Tensor]


def mse(loss: MSE, dtype: DType) -> _Loss:
    return keras.losses.MeanSquaredError(dtype=dtype)


def mae(loss: MAE, dtype: DType) -> _Loss:
    return keras.losses.MeanAbsoluteError(dtype=dtype)


def huber(loss: Huber, dtype: DType) -> _Loss:
    return keras.losses.Huber(loss.delta, dtype=dtype)


def softmax_cross_entropy(loss: SoftmaxCrossEntropy, dtype: DType) -> _Loss:
    if smooth := loss.label_smoothing:
        native = keras.losses.CategoricalCrossentropy(True, smooth, dtype=dtype)
        return lambda y, z: native(tf.one_hot(y, z.shape[-1], dtype=dtype), z)
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True, dtype=dtype)


def binary_cross_entropy(loss: BinaryCrossEntropy, dtype: DType) -> _Loss:
    return keras.losses.BinaryCrossentropy(from_logits=True, dtype=dtype)


# Optimizers: one that is built for these variables, and its own by our slots' names


class _Slots(NamedTuple):
    """The native variables of a slot, which hold ours times `unit`."""

    variables: list[keras.Variable]
    unit: float = 1.0


_SMALL = 2**14  # elements: below, it costs more to share an update among threads than it saves

_Optimizer = tuple[keras.Optimizer, dict[str, _Slots]]


def sgd(optimizer: SGD, variables: list[keras.Variable]) -> _Optimizer:
    native = _SGD(optimizer)
    native.build(variables)
    return native, {"velocity": _Slots(native.momentums)} if optimizer.momentum else {}


def adam(optimizer: Adam, variables: list[keras.Variable]) -> _Optimizer:
    return _adam(_Adam(optimizer), variables)


def adamw(optimizer: AdamW, variables: list[keras.Variable]) -> _Optimizer:
    return _adam(_Adam(optimizer, decay=optimizer.weight_decay), variables)


def _adam(native: _Adam, variables: list[keras.Variable]) -> _Optimizer:
    native.build(variables)
    unit_m, unit_v = native.units
    slots = {"m": _Slots(native._momentums, unit_m), "v": _Slots(native._velocities, unit_v)}
    return native, slots


def rmsprop(optimizer: RMSprop, variables: list[keras.Variable]) -> _Optimizer:
    rate = float(optimizer.learning_rate)
    native = keras.optimizers.RMSprop(rate, optimizer.rho, epsilon=optimizer.epsilon)
    native.build(variables)
    return native, {"s": _Slots(native._velocities)}


def adagrad(optimizer: Adagrad, variables: list[keras.Variable]) -> _Optimizer:
    rate = float(optimizer.learning_rate)
    native = keras.optimizers.Adagrad(rate, epsilon=optimizer.epsilon)
    native.build(variables)
    return native, {"s": _Slots(native._accumulators)}


class _SGD(keras.optimizers.SGD):
    """With the rate kept out of the velocity.

    A name is given because the one that Keras (3.15) makes of `_SGD` is no valid scope in a graph.
    """

    def __init__(self, spec: SGD) -> None:
        rate, momentum = float(spec.learning_rate), float(spec.momentum)
        super().__init__(rate, momentum, spec.nesterov, name="sgd")

    def _backend_update_step(
        self, gradients: list[Tensor], variables: list[keras.Variable], learning_rate: Tensor
    ) -> None:
        if not self.momentum:
            super()._backend_update_step(gradients, variables, learning_rate)
            return
        rate = tf.convert_to_tensor(learning_rate.value)
        momentum = tf.constant(self.momentum, rate.dtype)
        for g, w, v in zip(gradients, variables, self.momentums, strict=True):
            tf.raw_ops.ResourceApplyMomentum(
                var=w.value.handle,
                accum=v.value.handle,
                lr=rate,
                grad=g,
                momentum=momentum,
                use_nesterov=self.nesterov,
            )


class _Adam(keras.optimizers.Adam):
    """With the spec's epsilon, which Keras does not scale by √(1 - β₂ᵗ), in TensorFlow's operator.

    That forms 1 - β in the variables' dtype, 1e-5 off at 0.999: its slots are that much larger.
    The corrections are made in float64: Keras rounds β to float32 first, and then 1 - βᵗ cancels.
    """

    def __init__(self, spec: Adam | AdamW, decay: float = 0.0) -> None:
        rate = float(spec.learning_rate)
        super().__init__(rate, spec.beta1, spec.beta2, spec.epsilon, name="adam")
        self._decay = decay
        round_off = np.dtype(keras.config.floatx()).type
        betas = (spec.beta1, spec.beta2)
        self._shares = [1 - round_off(beta) for beta in betas]
        pairs = zip(self._shares, betas, strict=True)
        self.units = [float(share) / (1 - beta) for share, beta in pairs]

    def _backend_update_step(
        self, gradients: list[Tensor], variables: list[keras.Variable], learning_rate: Tensor
    ) -> None:
        if self._decay:
            kept = 1 - self._decay * learning_rate.value
            for w in variables:
                w.value.assign(w.value * kept)
        rate, step = (tf.cast(n.value, tf.float64) for n in (learning_rate, self.iterations))
        corrections = 1 - tf.pow(tf.constant([self.beta_1, self.beta_2], tf.float64), step + 1)
        correction_m, correction_v = tf.unstack(corrections * self.units)
        root = tf.sqrt(correction_v)
        dtype = learning_rate.dtype
        options = {
            "lr": tf.cast(rate * root / correction_m, dtype),
            "epsilon": tf.cast(self.epsilon * root, dtype),
            "beta1": tf.constant(self.beta_1, dtype),
            "beta2": tf.constant(self.beta_2, dtype),
            "beta1_power": tf.zeros([], dtype),  # the corrections are in the rate
            "beta2_power": tf.zeros([], dtype),
        }
        slots = (self._momentums, self._velocities)
        for g, *own in zip(gradients, variables, *slots, strict=True):
            w, m, v = (variable.value for variable in own)
            if tf.inside_function() and w.shape.num_elements() < _SMALL:
                self._update_small(g, w, m, v, options["lr"], options["epsilon"])
            else:
                handles = {"var": w.handle, "m": m.handle, "v": v.handle}
                tf.raw_ops.ResourceApplyAdam(grad=g, **handles, **options)

    def _update_small(
        self, g: Tensor, w: tf.Variable, m: tf.Variable, v: tf.Variable, rate: Tensor, eps: Tensor
    ) -> None:
        """Do what the operator (2.21) does, which cuts even a bias in eight, for all threads."""
        share_m, share_v = self._shares
        m.assign_add((g - m) * share_m)
        v.assign_add((tf.square(g) - v) * share_v)
        w.assign_sub(rate * m / (tf.sqrt(v) + eps))


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


def version() -> str:
    return str(keras.__version__)


def devices() -> list[str]:
    count = len(tf.config.list_physical_devices("GPU"))
    return ["cpu", *(["cuda"] if count else []), *(f"cuda:{i}" for i in range(count))]


def device_memory(device: str) -> int | None:
    if device == "cpu":
        return None
    return int(tf.config.experimental.get_memory_info("GPU:0")["peak"])  # the only visible one


def settings(execution: Execution) -> dict[str, str]:
    made = {
        "intra-op threads": str(execution.threads),
        "inter-op threads": "1",
        "image data format": "channels_last",
    }
    if execution.mode == "compiled":
        made["tf.map_fn"] = "over the steps of a call"
    if execution.device == "cpu":
        return made | ({"jit_compile": "recurrent"} if execution.mode == "compiled" else {})
    return made | {"tensor_float_32_execution": "off", "TF_CUDNN_USE_AUTOTUNE": "0"}


def build(
    model: Model, weights: Weights, execution: Execution, *, seed: int, state: Weights | None
) -> _Trainer:
    refuse_unsupported(sys.modules[__name__], model, execution)
    # TensorFlow (2.21) fixes its threads and devices at the first operation of a process.
    tf.config.threading.set_intra_op_parallelism_threads(execution.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    kind, _, index = execution.device.partition(":")
    gpus = tf.config.list_physical_devices("GPU")
    tf.config.set_visible_devices([gpus[int(index or 0)]] if kind == "cuda" else [], "GPU")
    tf.config.experimental.enable_tensor_float_32_execution(False)
    keras.utils.set_random_seed(seed)
    keras.config.set_floatx(execution.dtype)  # an optimizer's learning rate has no dtype argument
    return _Trainer(model, weights, execution, state)


def _clip_and_decay(
    spec: Optimizer, gradients: list[Tensor], variables: list[Tensor]
) -> list[Tensor]:
    """Clip, then add the coupled decay, which Keras has not; its own clipping would come after."""
    if limit := spec.clip_value:
        gradients = [tf.clip_by_value(g, -limit, limit) for g in gradients]
    if spec.clip_norm:
        scale = tf.minimum(spec.clip_norm / tf.linalg.global_norm(gradients), 1)
        gradients = [g * scale for g in gradients]
    if spec.weight_decay and not isinstance(spec, AdamW):
        pairs = zip(gradients, variables, strict=True)
        gradients = [g + spec.weight_decay * w for g, w in pairs]
    return gradients


def _loops_over_time(model: Model) -> bool:
    """Say whether XLA is the faster: on a CPU TensorFlow (2.21) has kernels for all but recurrence.

    XLA refuses a pool with explicit padding.
    """
    layers = [node.layer for node in model.walk()]
    padded = any(isinstance(layer, MaxPool2D) and any(pair(layer.padding)) for layer in layers)
    return not padded and any(isinstance(layer, SimpleRNN | LSTM | GRU) for layer in layers)


class _Batch(NamedTuple):
    x: Tensor
    y: Tensor
    masks: dict[str, Tensor]  # none: native dropout

    @property
    def shape(self) -> tuple[Any, ...]:
        """What a graph is traced for."""
        return self.x.shape[0], *self.masks


class _Rows(NamedTuple):
    """A batch that is still to be gathered, from a split that the device holds."""

    indices: Any
    x: Tensor
    y: Tensor

    @property
    def shape(self) -> tuple[Any, ...]:
        return _Rows, len(self.indices)

    def gathered(self) -> _Batch:
        return _Batch(tf.gather(self.x, self.indices), tf.gather(self.y, self.indices), {})


def _lower(nodes: Sequence[Node[Layer]], dtype: DType) -> Lowered:
    """Return the native network of `nodes`, and its weights by canonical name."""
    calls: list[tuple[str, Call]] = []
    places: dict[str, _Place] = {}
    together = _together(nodes)
    for node in nodes:
        lower: Callable[..., Lowered] = together.get(node.key, LAYERS[type(node.layer)])
        call, found = lower(node, dtype)
        calls.append((node.key, call))
        for role, place in found.items():  # a composite has named its own already
            places[role if node.branches else f"{node.key}.{role}"] = place

    def network(x: Tensor, run: _Pass) -> Tensor:
        for key, call in calls:
            x = run.outputs[key] = call(x, run)
        return x

    return network, places


class _Trainer:
    def __init__(
        self, model: Model, weights: Weights, execution: Execution, state: Weights | None
    ) -> None:
        slots, self._step = starting_state(model, weights, state)
        self._model, self._dtype = model, execution.dtype
        on_cpu = execution.device == "cpu"
        self._copies_blocks = on_cpu and execution.mode == "compiled"
        self._axes = native_axes(LAYOUT, model)
        self._network, self._places = _lower(model.nodes, self._dtype)
        trained = {id(v): v for v in (self._places[name].variable for name in model.trainable)}
        self._order = {key: index for index, key in enumerate(trained)}
        self._tensors = [variable.value for variable in trained.values()]
        self._loss = LOSSES[type(model.loss)](model.loss, self._dtype)
        make_optimizer = OPTIMIZERS[type(model.optimizer)]
        self._optimizer, by_slot = make_optimizer(model.optimizer, list(trained.values()))
        self._slots = {
            f"{name}.{slot}": (name, native.variables[self._index(name)], native.unit)
            for slot, native in by_slot.items()
            for name in model.trainable
        }
        self._load(weights, slots)
        self._derive: Any = self._loss_and_gradients
        self._steps = self._eager_steps
        self._traced: list[Any] = []
        if execution.mode == "eager":
            self.split = self._split  # a compiled step is one call
        else:
            by_xla = on_cpu and _loops_over_time(model)
            self._derive = tf.function(self._derive, jit_compile=by_xla, autograph=False)
            # Another function in the loop would be put in its place by TensorFlow (2.21), in an
            # order of operators that differs from process to process: ConvNet, a tenth slower.
            compiled = tf.function(self._take_step, jit_compile=True, autograph=False)
            self._take_one = compiled if by_xla else self._take_step
            self._graph_loop = tf.function(self._loop, autograph=False)
            self._loops: dict[Any, Any] = {}  # one per shape of a batch
            self._steps = self._compiled_steps
            self.hold = self._hold  # by itself, a gather costs more than NumPy's
            self._traced = [self._derive, compiled, self._graph_loop]

    def stage(self, x: np.ndarray, y: np.ndarray, masks: Masks | None) -> _Batch:
        place = self._placed
        native = {key: place(mask.astype(self._dtype)) for key, mask in (masks or {}).items()}
        return _Batch(place(x), place(y), native)

    def _hold(self, x: np.ndarray, y: np.ndarray) -> Callable[[np.ndarray], list[_Rows]]:
        x = x.transpose(0, 2, 3, 1) if x.ndim == 4 else x
        held = tf.convert_to_tensor(x), tf.convert_to_tensor(y)
        return lambda order: [_Rows(rows, *held) for rows in order]

    def train(self, batches: Iterable[_Batch | _Rows]) -> np.ndarray:
        batches = list(batches)
        steps = range(self._step, self._step + len(batches))
        losses = self._steps(batches, [self._model.optimizer.rate(step) for step in steps])
        self._step += len(batches)
        tf.test.experimental.sync_devices()
        return losses.numpy()

    def gradients(self, batch: _Batch) -> tuple[float, Weights]:
        with self._statistics_kept():
            loss, gradients = self._derive(batch)
        return float(loss), {
            name: self._array(name, gradients[self._index(name)]) for name in self._model.trainable
        }

    def activations(self, batch: _Batch) -> dict[str, np.ndarray]:
        run = _Pass(training=True, masks=batch.masks, outputs={})
        with self._statistics_kept():
            self._network(batch.x, run)
        shapes = {node.key: node.output_shape for node in self._model.walk()}
        outputs = {key: _canonical(output) for key, output in run.outputs.items()}
        return {key: array.reshape(-1, *shapes[key]) for key, array in outputs.items()}

    def predict(self, x: np.ndarray) -> np.ndarray:
        run = _Pass(training=False, masks={}, outputs={})
        return self._network(tf.convert_to_tensor(self._placed(x)), run).numpy()

    def weights(self) -> Weights:
        names = self._model.weights
        return {name: self._array(name, self._places[name].variable.value) for name in names}

    def state(self) -> Weights:
        slots = {
            key: self._array(name, variable.value / unit)
            for key, (name, variable, unit) in self._slots.items()
        }
        return slots | {"step": np.array(self._step)}

    def _split(self, batch: _Batch) -> dict[str, float]:
        began = _now()
        tape, loss = self._record(batch)
        forward = _now()
        gradients = self._gradients(tape, loss)
        backward = _now()
        self._update(gradients, self._model.optimizer.rate(self._step))
        self._step += 1
        return {
            "forward": forward - began,
            "backward": backward - forward,
            "update": _now() - backward,
        }

    def compilations(self) -> int:
        return sum(function.experimental_get_tracing_count() for function in self._traced)

    def _record(self, batch: _Batch) -> tuple[tf.GradientTape, Tensor]:
        run = _Pass(training=True, masks=batch.masks, outputs={})
        with tf.GradientTape() as tape:
            loss = self._loss(batch.y, self._network(batch.x, run))
        return tape, loss

    def _gradients(self, tape: tf.GradientTape, loss: Tensor) -> list[Tensor]:
        gradients = tape.gradient(loss, self._tensors)
        # An embedding's rows come apart: an optimizer of Keras (3.15) would square each for itself.
        return [tf.convert_to_tensor(gradient) for gradient in gradients]

    def _update(self, gradients: list[Tensor], rate: float | Tensor) -> None:
        self._optimizer.learning_rate.value.assign(rate)
        self._optimizer.apply(_clip_and_decay(self._model.optimizer, gradients, self._tensors))

    def _loss_and_gradients(self, batch: _Batch) -> tuple[Tensor, list[Tensor]]:
        tape, loss = self._record(batch)
        return loss, self._gradients(tape, loss)

    def _take_step(self, batch: _Batch | _Rows, rate: float | Tensor) -> Tensor:
        batch = batch.gathered() if isinstance(batch, _Rows) else batch
        loss, gradients = self._loss_and_gradients(batch)
        self._update(gradients, rate)
        return loss

    def _eager_steps(self, batches: Sequence[_Batch | _Rows], rates: list[float]) -> Tensor:
        return tf.stack([self._take_step(*pair) for pair in zip(batches, rates, strict=True)])

    def _compiled_steps(self, batches: Sequence[_Batch | _Rows], rates: list[float]) -> Tensor:
        """Take the steps in one call per run of equal shapes: a call costs as a small step."""
        losses: list[Tensor] = []
        left = list(rates)
        for shape, group in groupby(batches, lambda batch: batch.shape):
            run = list(group)
            block = self._block(run)
            if shape not in self._loops:
                self._loops[shape] = self._traced_loop(block)
            own, left = left[: len(run)], left[len(run) :]
            losses.append(self._loops[shape](block, tf.constant(own, self._dtype)))
        return tf.concat(losses, 0)

    def _block(self, run: Sequence[Any]) -> _Batch | _Rows:  # all of one kind
        first = run[0]
        if isinstance(first, _Rows):
            return first._replace(indices=tf.constant(np.stack([rows.indices for rows in run])))
        return _Batch(
            self._stacked([batch.x for batch in run]),
            self._stacked([batch.y for batch in run]),
            {key: self._stacked([batch.masks[key] for batch in run]) for key in first.masks},
        )

    def _traced_loop(self, block: _Batch | _Rows) -> Callable[[_Batch | _Rows, Tensor], Tensor]:
        """Trace for any number of steps, so that no later block is traced and timed anew."""
        spec = tf.nest.map_structure(lambda t: tf.TensorSpec([None, *t.shape[1:]], t.dtype), block)
        return self._graph_loop.get_concrete_function(spec, tf.TensorSpec([None], self._dtype))

    def _loop(self, block: _Batch | _Rows, rates: Tensor) -> Tensor:
        rows = block if isinstance(block, _Rows) else None

        def take(step: tuple[Any, Tensor]) -> Tensor:
            batch, rate = step
            return self._take_one(rows._replace(indices=batch) if rows else batch, rate)

        options = {"parallel_iterations": 1, "fn_output_signature": self._dtype}
        return tf.map_fn(take, (rows.indices if rows else block, rates), **options)

    @contextmanager
    def _statistics_kept(self) -> Iterator[None]:
        """Put running statistics back as they were."""
        names = self._model.weights.keys() - self._model.trainable
        statistics = [self._places[name].variable.value for name in names]
        before = [tf.identity(value) for value in statistics]
        yield
        for value, old in zip(statistics, before, strict=True):
            value.assign(old)

    def _load(self, weights: Weights, slots: Weights) -> None:
        for name, place in self._places.items():
            self._assign(weights[name], name, place.variable)
        for key, (name, variable, unit) in self._slots.items():
            self._assign(slots[key] * unit, name, variable)
        self._optimizer.iterations.assign(self._step)

    def _assign(self, array: np.ndarray, name: str, variable: keras.Variable) -> None:
        """Put a canonical array, of the weight `name` or of its slot, where it lies natively."""
        place, whole = self._places[name], variable.value.numpy().copy()
        array = _swap_gates(array) if place.swapped else array
        shape, axes = self._layout(name)
        array = to_native(array.reshape(shape), axes)
        whole[place.part] = array.reshape(whole[place.part].shape)
        variable.assign(whole)

    def _layout(self, name: str) -> tuple[Shape, Axes]:
        """Return a weight's canonical shape, with the image's where it has one; and its axes."""
        shape = self._model.weights[name].shape
        if image := self._places[name].image:
            return (shape[0], *image), _KERNEL  # a convolution as large as the image
        return shape, self._axes.get(name) or tuple(range(len(shape)))

    def _index(self, name: str) -> int:
        """Return where the variable of a trainable weight stands among the optimizer's."""
        return self._order[id(self._places[name].variable)]

    def _placed(self, array: np.ndarray) -> Tensor | np.ndarray:
        """Return an array on the device; what a compiled loop will copy on the CPU stays there."""
        array = array.transpose(0, 2, 3, 1) if array.ndim == 4 else array
        return array if self._copies_blocks else tf.convert_to_tensor(array)

    def _stacked(self, parts: list[Any]) -> Tensor:
        if not self._copies_blocks:
            return tf.stack(parts)
        # TensorFlow's own ways (2.21) copy thrice.
        return tf.experimental.dlpack.from_dlpack(stack(parts).__dlpack__())

    def _array(self, name: str, tensor: Tensor) -> np.ndarray:
        """Copy a native weight, or its gradient or slot: `numpy()` shares TensorFlow's memory."""
        place = self._places[name]
        shape, axes = self._layout(name)
        native = tensor.numpy()[place.part].reshape([shape[axis] for axis in axes])
        array = to_canonical(native, axes).reshape(self._model.weights[name].shape)
        return np.array(_swap_gates(array) if place.swapped else array, order="C")


def _now() -> float:
    """Return the time when all that was asked of the device is done."""
    tf.test.experimental.sync_devices()
    return perf_counter()


def _swap_gates(array: np.ndarray) -> np.ndarray:
    """Exchange the first two of a GRU's three blocks of rows."""
    first, second, third = np.split(array, 3)
    return np.concatenate([second, first, third])


def _canonical(output: Tensor) -> np.ndarray:
    array = np.asarray(output)
    return np.array(array.transpose(0, 3, 1, 2) if array.ndim == 4 else array, order="C")
