"""Each layer as Keras has it: a call of native layers, and its variables by role."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import keras
import numpy as np
from keras import ops
from msgspec.structs import replace

from ...models import Node, layers
from ...models.layers.convolution import Pads
from ...models.shapes import Shape, pair
from ..contract import DType, by_name, lowering
from . import formulas
from .engine import own
from .lowered import (
    CHANNELS_FIRST,
    CHANNELS_LAST,
    Call,
    Lowered,
    Pass,
    Place,
    Tensor,
    borders,
    chain,
    composed,
    has_channels,
    native_shape,
    places,
)

_OPERATORS = own("operators")


def dense(node: Node[layers.Dense], dtype: DType) -> Lowered:
    layer = node.layer
    module = keras.layers.Dense(
        layer.units, use_bias=layer.use_bias, kernel_initializer="zeros", dtype=dtype
    )
    return chain(module), places(module, node)


def conv1d(node: Node[layers.Conv1D], dtype: DType) -> Lowered:
    layer = node.layer
    sizes = ((layer.kernel_size,), (layer.stride,), (layer.dilation,))
    call, variables = _convolution(node, keras.layers.Conv1D, *sizes, dtype)
    return lambda x, run: _swap_axes(call(_swap_axes(x), run)), variables


def conv2d(node: Node[layers.Conv2D], dtype: DType) -> Lowered:
    layer = node.layer
    sizes = (pair(layer.kernel_size), pair(layer.stride), pair(layer.dilation))
    return _convolution(node, keras.layers.Conv2D, *sizes, dtype)


def _convolution(
    node: Node[layers.Conv1D] | Node[layers.Conv2D],
    native: type[keras.Layer],
    kernel: Shape,
    stride: Shape,
    dilation: Shape,
    dtype: DType,
) -> Lowered:
    layer, pads = node.layer, node.layer.pads(node.input_shape)
    # Keras (3.15) refuses a stride together with a dilation: what it skips is computed first.
    skipped = max(stride) > 1 and max(dilation) > 1
    same = not skipped and pads == replace(layer, padding="same").pads(node.input_shape)
    module = native(
        layer.filters,
        kernel,
        1 if skipped else stride,
        "same" if same else "valid",
        dilation_rate=dilation,
        groups=layer.groups,
        use_bias=layer.use_bias,
        kernel_initializer="zeros",
        dtype=dtype,
    )
    variables = places(module, node, (*node.input_shape[1:], node.input_shape[0]))
    call = _OPERATORS.grouped(module) if layer.groups > 1 else chain(module)
    if not same and any(map(any, pads)):
        call = composed(_padding(pads), call)
    if skipped:
        steps = (slice(None), *(slice(None, None, s) for s in stride))
        call = composed(call, lambda x, run: x[steps])
    return call, variables


def conv_transpose2d(node: Node[layers.ConvTranspose2D], dtype: DType) -> Lowered:
    layer, (_, *space) = node.layer, node.output_shape
    module = keras.layers.Conv2DTranspose(
        layer.filters,
        pair(layer.kernel_size),
        use_bias=layer.use_bias,
        kernel_initializer="zeros",
        dtype=dtype,
    )
    call = _OPERATORS.conv_transpose(
        module, pair(layer.stride), pair(layer.padding), tuple(space), layer.use_bias
    )
    return call, places(module, node)


def max_pool2d(node: Node[layers.MaxPool2D], dtype: DType) -> Lowered:
    layer = node.layer
    stride = pair(layer.stride or layer.kernel_size)
    kernel, padding = pair(layer.kernel_size), pair(layer.padding)
    if padding == (0, 0):
        return chain(keras.layers.MaxPooling2D(kernel, stride, dtype=dtype)), {}
    return _OPERATORS.padded_max_pool(kernel, stride, padding, dtype), {}


def avg_pool2d(node: Node[layers.AvgPool2D], dtype: DType) -> Lowered:
    layer = node.layer
    kernel, stride = pair(layer.kernel_size), pair(layer.stride or layer.kernel_size)
    pads = tuple((p, p) for p in pair(layer.padding))
    pool = chain(keras.layers.AveragePooling2D(kernel, stride, dtype=dtype))
    if not any(map(any, pads)):
        return pool, {}
    pool = composed(_padding(pads), pool)
    if layer.count_include_pad:
        return pool, {}
    rows, columns = map(_inside, node.input_shape[1:], node.output_shape[1:], kernel, stride, pads)
    counts = np.outer(rows, columns)[:, :, None]
    scale = ops.convert_to_tensor(kernel[0] * kernel[1] / counts, dtype)
    return lambda x, run: pool(x, run) * scale, {}


def global_avg_pool1d(node: Node[layers.GlobalAvgPool1D], dtype: DType) -> Lowered:
    return chain(keras.layers.GlobalAveragePooling1D(dtype=dtype)), {}


def global_avg_pool2d(node: Node[layers.GlobalAvgPool2D], dtype: DType) -> Lowered:
    return chain(keras.layers.GlobalAveragePooling2D(dtype=dtype)), {}


def flatten(node: Node[layers.Flatten], dtype: DType) -> Lowered:
    return _reshape(node, dtype), {}


def reshape(node: Node[layers.Reshape], dtype: DType) -> Lowered:
    return _reshape(node, dtype), {}


def permute(node: Node[layers.Permute], dtype: DType) -> Lowered:
    axes = tuple(axis + 1 for axis in node.layer.axes)
    if len(axes) == 3:
        axes = tuple(CHANNELS_FIRST[axes[axis - 1] - 1] for axis in CHANNELS_LAST)
    return chain(keras.layers.Permute(axes, dtype=dtype)), {}


def batch_norm(node: Node[layers.BatchNorm], dtype: DType) -> Lowered:
    module = keras.layers.BatchNormalization(
        momentum=1 - node.layer.momentum, epsilon=node.layer.epsilon, dtype=dtype
    )
    variables = places(module, node)
    _OPERATORS.make_moments_exact(module)
    return lambda x, run: module(x, training=run.training), variables


def layer_norm(node: Node[layers.LayerNorm], dtype: DType) -> Lowered:
    module = keras.layers.LayerNormalization(epsilon=node.layer.epsilon, dtype=dtype)
    return chain(module), places(module, node)


def embedding(node: Node[layers.Embedding], dtype: DType) -> Lowered:
    layer = node.layer
    module = keras.layers.Embedding(
        layer.vocabulary_size, layer.units, embeddings_initializer="zeros", dtype=dtype
    )
    return lambda x, run: module(ops.cast(x, "int32")), places(module, node)


def simple_rnn(node: Node[layers.SimpleRNN], dtype: DType) -> Lowered:
    return _recurrent(node, keras.layers.SimpleRNN, dtype, activation=node.layer.activation)


def lstm(node: Node[layers.LSTM], dtype: DType) -> Lowered:
    return _recurrent(node, keras.layers.LSTM, dtype)


def gru(node: Node[layers.GRU], dtype: DType) -> Lowered:
    call, variables = _recurrent(node, keras.layers.GRU, dtype)
    return call, {role: place._replace(swapped=True) for role, place in variables.items()}


def _recurrent(
    node: Node[layers.SimpleRNN] | Node[layers.LSTM] | Node[layers.GRU],
    native: type[keras.Layer],
    dtype: DType,
    **options: str,
) -> Lowered:
    layer = node.layer
    module = native(
        layer.units,
        return_sequences=layer.return_sequences,
        kernel_initializer="zeros",
        recurrent_initializer="zeros",
        dtype=dtype,
        **options,
    )
    if layer.bidirectional:
        module = keras.layers.Bidirectional(module, dtype=dtype)
    module.build((None, *node.input_shape))
    rows = range(2) if len(layer.biases) == 2 else [...]  # Keras keeps a GRU's biases in one
    variables = []
    for i in range(0, len(module.weights), 3):
        weight, again, bias = module.weights[i : i + 3]
        variables += [Place(weight), Place(again), *(Place(bias, row) for row in rows)]
    return chain(module), dict(zip(layer.weights(node.input_shape), variables, strict=True))


def multi_head_attention(node: Node[layers.MultiHeadAttention], dtype: DType) -> Lowered:
    layer, features = node.layer, node.input_shape[1]
    module = keras.layers.MultiHeadAttention(
        layer.num_heads,
        features // layer.num_heads,
        use_bias=False,
        kernel_initializer="zeros",
        dtype=dtype,
    )
    module.build(*[(None, *node.input_shape)] * 2)
    # Keras (3.15) casts this by way of float32 if it is a Python float.
    module._inverse_sqrt_key_dim = np.float64((features // layer.num_heads) ** -0.5)
    variables = map(Place, module.weights)
    roles = dict(zip(layer.weights(node.input_shape), variables, strict=True))
    if dtype in _OPERATORS.ATTENTION_BY_SCORES:
        options = {"use_causal_mask": layer.causal, "return_attention_scores": True}
        return lambda x, run: module(x, x, **options)[0], roles
    return lambda x, run: module(x, x, use_causal_mask=layer.causal), roles


def relu(node: Node[layers.ReLU], dtype: DType) -> Lowered:
    return chain(keras.layers.ReLU(dtype=dtype)), {}


def leaky_relu(node: Node[layers.LeakyReLU], dtype: DType) -> Lowered:
    slope = node.layer.negative_slope
    if "leaky_relu" in _OPERATORS.BY_FORMULA[dtype]:
        return formulas.leaky_relu(slope), {}
    return chain(keras.layers.LeakyReLU(slope, dtype=dtype)), {}


def prelu(node: Node[layers.PReLU], dtype: DType) -> Lowered:
    shared = tuple(range(1, len(node.input_shape)))  # all but the last: images are channels-last
    module = keras.layers.PReLU(shared_axes=shared, dtype=dtype)
    return formulas.prelu(module), places(module, node)


def elu(node: Node[layers.ELU], dtype: DType) -> Lowered:
    return chain(keras.layers.ELU(node.layer.alpha, dtype=dtype)), {}


def gelu(node: Node[layers.GELU], dtype: DType) -> Lowered:
    approximation = node.layer.approximation
    if "gelu" in _OPERATORS.BY_FORMULA[dtype]:
        return formulas.gelu(approximation), {}
    gelu = partial(keras.activations.gelu, approximate=approximation == "tanh")
    return chain(keras.layers.Activation(gelu, dtype=dtype)), {}


def sigmoid(node: Node[layers.Sigmoid], dtype: DType) -> Lowered:
    return chain(keras.layers.Activation("sigmoid", dtype=dtype)), {}


def hard_sigmoid(node: Node[layers.HardSigmoid], dtype: DType) -> Lowered:
    if "hard_sigmoid" in _OPERATORS.BY_FORMULA[dtype]:
        return formulas.hard_sigmoid, {}
    return chain(keras.layers.Activation("hard_sigmoid", dtype=dtype)), {}


def tanh(node: Node[layers.Tanh], dtype: DType) -> Lowered:
    return chain(keras.layers.Activation("tanh", dtype=dtype)), {}


def softplus(node: Node[layers.Softplus], dtype: DType) -> Lowered:
    return chain(keras.layers.Activation("softplus", dtype=dtype)), {}


def silu(node: Node[layers.SiLU], dtype: DType) -> Lowered:
    return chain(keras.layers.Activation("silu", dtype=dtype)), {}


def softmax(node: Node[layers.Softmax], dtype: DType) -> Lowered:
    return chain(keras.layers.Activation("softmax", dtype=dtype)), {}


def dropout(node: Node[layers.Dropout], dtype: DType) -> Lowered:
    rate = node.layer.rate
    module = keras.layers.Dropout(rate, dtype=dtype)

    def call(x: Tensor, run: Pass) -> Tensor:
        if not run.training or not run.masks:
            return module(x, training=run.training)
        return x * (run.masks[node.key] / (1 - rate))

    return call, {"seed": Place(module.seed_generator.state)} if rate else {}


def residual(node: Node[layers.Residual], dtype: DType) -> Lowered:
    body, variables = lower(node.branches["body"], dtype)
    shortcut, others = lower(node.branches["shortcut"], dtype)
    return lambda x, run: body(x, run) + shortcut(x, run), variables | others


def concat(node: Node[layers.Concat], dtype: DType) -> Lowered:
    paths, variables = [], dict[str, Place]()
    for nodes in node.branches.values():
        path, inner = lower(nodes, dtype)
        paths.append(path)
        variables |= inner
    return lambda x, run: ops.concatenate([path(x, run) for path in paths], axis=-1), variables


def _swap_axes(x: Tensor) -> Tensor:
    return ops.transpose(x, (0, 2, 1))


def _padding(pads: Pads) -> Call:
    around = borders(pads)
    return lambda x, run: _OPERATORS.pad(x, around)


def _inside(size: int, count: int, kernel: int, stride: int, pads: tuple[int, int]) -> np.ndarray:
    """Return how many places of each of `count` windows are not padding."""
    starts = np.arange(count) * stride - pads[0]
    return np.minimum(starts + kernel, size) - np.maximum(starts, 0)


def _reshape(node: Node[Any], dtype: DType) -> Call:
    """Reshape what the spec sees, which is channels-first; one channel is both first and last."""
    modules: list[keras.Layer] = []
    if has_channels(node.input_shape):
        modules.append(keras.layers.Permute(CHANNELS_FIRST, dtype=dtype))
    if has_channels(node.output_shape):
        modules.append(keras.layers.Reshape(node.output_shape, dtype=dtype))
        modules.append(keras.layers.Permute(CHANNELS_LAST, dtype=dtype))
    else:
        modules.append(keras.layers.Reshape(native_shape(node.output_shape), dtype=dtype))
    return chain(*modules)


def _dense_of_images(nodes: Sequence[Node[layers.Layer]]) -> dict[str, Callable[..., Lowered]]:
    """Return how to lower each `flatten` of an image and the `dense` behind it, by their keys.

    The dense layer takes the image as it lies, so that nothing is transposed at every step.
    """
    fused: dict[str, Callable[..., Lowered]] = {}
    for node, after in pairwise(nodes):
        flattens = isinstance(node.layer, layers.Flatten) and has_channels(node.input_shape)
        if flattens and isinstance(after.layer, layers.Dense):
            fused[node.key] = lambda node, dtype: (chain(), {})
            fused[after.key] = partial(_dense_of_image, image=node.input_shape)
    return fused


def _dense_of_image(node: Node[layers.Dense], dtype: DType, *, image: Shape) -> Lowered:
    call, variables = dense(node, dtype)
    variables["weight"] = variables["weight"]._replace(image=image)
    return composed(chain(keras.layers.Flatten(dtype=dtype)), call), variables


LAYERS = lowering(layers.Layer, globals())


def lower(nodes: Sequence[Node[layers.Layer]], dtype: DType) -> Lowered:
    """Return the native network of `nodes`, and its weights by canonical name."""
    calls: list[tuple[str, Call]] = []
    variables: dict[str, Place] = {}
    pairs = _dense_of_images(nodes)
    for node in nodes:
        make = pairs.get(node.key, LAYERS[type(node.layer)])
        call, places = make(node, dtype)
        calls.append((node.key, call))
        variables |= by_name(node, places)

    def network(x: Tensor, run: Pass) -> Tensor:
        for key, call in calls:
            x = run.outputs[key] = call(x, run)
        return x

    return network, variables
