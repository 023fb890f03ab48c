"""Each layer as Gluon has it: a native block, and its parameters by role.

Where MXNet's operator is not used, `formulas.py` (in both precisions) and `float64.py` say why.
"""

# ruff: noqa: N803  `F`, which is `nd` or, in a trace, `sym`, is Gluon's own name

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np
from mxnet import gluon, nd
from mxnet.gluon import nn, rnn

from ...models import Node, layers
from ...models.layers.attention import ROLES
from ...models.layers.convolution import Pads
from ...models.shapes import pair
from ..contract import by_name, lowering
from . import float64, formulas
from .formulas import Tensor

Lowered = tuple[gluon.HybridBlock, dict[str, gluon.Parameter]]


class Pass(NamedTuple):
    """One forward pass: what the blocks need beside their input, and where outputs are kept."""

    scales: dict[str, Tensor]
    outputs: dict[str, Tensor] | None


def dense(node: Node[layers.Dense]) -> Lowered:
    layer = node.layer
    block = nn.Dense(
        layer.units, flatten=False, use_bias=layer.use_bias, in_units=node.input_shape[-1]
    )
    return block, _weight_and_bias(block)


def conv1d(node: Node[layers.Conv1D]) -> Lowered:
    layer = node.layer
    return _convolution(node, nn.Conv1D, layer.kernel_size, layer.stride, layer.dilation)


def conv2d(node: Node[layers.Conv2D]) -> Lowered:
    layer = node.layer
    sizes = (pair(layer.kernel_size), pair(layer.stride), pair(layer.dilation))
    return _convolution(node, nn.Conv2D, *sizes)


def _convolution(
    node: Node[layers.Conv1D] | Node[layers.Conv2D],
    native: type[gluon.HybridBlock],
    kernel: Any,
    stride: Any,
    dilation: Any,
) -> Lowered:
    layer, pads = node.layer, node.layer.pads(node.input_shape)
    even = all(before == after for before, after in pads)
    block = native(
        layer.filters,
        kernel,
        strides=stride,
        padding=tuple(before if even else 0 for before, _ in pads),
        dilation=dilation,
        groups=layer.groups,
        use_bias=layer.use_bias,
        in_channels=node.input_shape[0],
    )
    variables = _weight_and_bias(block)
    return (block if even else _chain(_pad(pads), block)), variables


def _pad(pads: Pads) -> Callable[..., Tensor]:
    """Zeros around space. `F.pad` takes 4 axes: those of a signal are [N, 1, C, L] in it."""
    width = (0,) * (8 - 2 * len(pads)) + tuple(amount for both in pads for amount in both)

    def pad(F: Any, x: Tensor) -> Tensor:
        image = x if len(pads) == 2 else F.expand_dims(x, axis=1)
        image = F.pad(image, mode="constant", pad_width=width, constant_value=0)
        return image if len(pads) == 2 else F.squeeze(image, axis=1)

    return pad


def conv_transpose2d(node: Node[layers.ConvTranspose2D]) -> Lowered:
    layer = node.layer
    block = nn.Conv2DTranspose(
        layer.filters,
        pair(layer.kernel_size),
        strides=pair(layer.stride),
        padding=pair(layer.padding),
        output_padding=pair(layer.output_padding),
        use_bias=layer.use_bias,
        in_channels=node.input_shape[0],
    )
    return block, _weight_and_bias(block)


def max_pool2d(node: Node[layers.MaxPool2D]) -> Lowered:
    layer = node.layer
    stride = pair(layer.stride or layer.kernel_size)
    return nn.MaxPool2D(pair(layer.kernel_size), stride, pair(layer.padding)), {}


def avg_pool2d(node: Node[layers.AvgPool2D]) -> Lowered:
    layer = node.layer
    stride = pair(layer.stride or layer.kernel_size)
    sizes = (pair(layer.kernel_size), stride, pair(layer.padding))
    return nn.AvgPool2D(*sizes, count_include_pad=layer.count_include_pad), {}


def global_avg_pool1d(node: Node[layers.GlobalAvgPool1D]) -> Lowered:
    return nn.HybridLambda(lambda F, x: F.mean(x, axis=1)), {}


def global_avg_pool2d(node: Node[layers.GlobalAvgPool2D]) -> Lowered:
    return nn.HybridLambda(formulas.global_avg_pool2d), {}


def flatten(node: Node[layers.Flatten]) -> Lowered:
    return nn.Flatten(), {}


def reshape(node: Node[layers.Reshape]) -> Lowered:
    return nn.HybridLambda(lambda F, x: x.reshape((-1, *node.output_shape))), {}


def permute(node: Node[layers.Permute]) -> Lowered:
    axes = (0, *(axis + 1 for axis in node.layer.axes))
    return nn.HybridLambda(lambda F, x: F.transpose(x, axes=axes)), {}


def batch_norm(node: Node[layers.BatchNorm]) -> Lowered:
    layer = node.layer
    block = float64.BatchNorm(
        momentum=1 - layer.momentum, epsilon=layer.epsilon, in_channels=node.input_shape[0]
    )
    return block, {role: getattr(block, role) for role in layer.weights(node.input_shape)}


def layer_norm(node: Node[layers.LayerNorm]) -> Lowered:
    block = float64.LayerNorm(epsilon=node.layer.epsilon, in_channels=node.input_shape[-1])
    return block, {"gamma": block.gamma, "beta": block.beta}


def embedding(node: Node[layers.Embedding]) -> Lowered:
    block = nn.Embedding(node.layer.vocabulary_size, node.layer.units)
    return block, {"weight": block.weight}


def simple_rnn(node: Node[layers.SimpleRNN]) -> Lowered:
    return _recurrent(node, rnn.RNN, activation=node.layer.activation)


def lstm(node: Node[layers.LSTM]) -> Lowered:
    return _recurrent(node, rnn.LSTM)


def gru(node: Node[layers.GRU]) -> Lowered:
    return _recurrent(node, rnn.GRU)


def _recurrent(
    node: Node[layers.SimpleRNN] | Node[layers.LSTM] | Node[layers.GRU],
    native: type[gluon.HybridBlock],
    **options: str,
) -> Lowered:
    layer, (steps, inputs) = node.layer, node.input_shape
    block = native(
        layer.units, layout="NTC", input_size=inputs, bidirectional=layer.bidirectional, **options
    )
    variables: dict[str, gluon.Parameter] = {}
    for prefix, side in zip(layer.directions, "lr", strict=False):
        second = getattr(block, f"{side}0_h2h_bias")
        variables[f"{prefix}weight"] = getattr(block, f"{side}0_i2h_weight")
        variables[f"{prefix}recurrent_weight"] = getattr(block, f"{side}0_h2h_weight")
        variables[f"{prefix}bias"] = getattr(block, f"{side}0_i2h_bias")
        if "recurrent_bias" in layer.biases:
            variables[f"{prefix}recurrent_bias"] = second
        else:  # a second copy of one bias would double its learning rate
            second.grad_req = "null"
    return _Recurrent(block, steps, layer.return_sequences), variables


def multi_head_attention(node: Node[layers.MultiHeadAttention]) -> Lowered:
    block = _Attention(node)
    return block, {role: getattr(block, role) for role in ROLES}


def relu(node: Node[layers.ReLU]) -> Lowered:
    return nn.Activation("relu"), {}


def leaky_relu(node: Node[layers.LeakyReLU]) -> Lowered:
    slope = node.layer.negative_slope
    return float64.Exact(nn.LeakyReLU(slope), float64.leaky_relu(slope)), {}


def prelu(node: Node[layers.PReLU]) -> Lowered:
    block = formulas.PReLU(node.input_shape)
    return block, {"alpha": block.alpha}


def elu(node: Node[layers.ELU]) -> Lowered:
    alpha = node.layer.alpha
    return float64.Exact(nn.ELU(alpha), float64.elu(alpha)), {}


def gelu(node: Node[layers.GELU]) -> Lowered:
    if node.layer.approximation == "none":
        return float64.Exact(nn.GELU(), float64.gelu), {}
    # MXNet has no operator for the approximation
    a, b = math.sqrt(2 / math.pi), 0.044715
    return nn.HybridLambda(lambda F, x: x * (1 + F.tanh(a * (x + b * x * x * x))) / 2), {}


def sigmoid(node: Node[layers.Sigmoid]) -> Lowered:
    return nn.Activation("sigmoid"), {}


def hard_sigmoid(node: Node[layers.HardSigmoid]) -> Lowered:
    return nn.HybridLambda(formulas.hard_sigmoid), {}


def tanh(node: Node[layers.Tanh]) -> Lowered:
    return nn.Activation("tanh"), {}


def softplus(node: Node[layers.Softplus]) -> Lowered:
    return nn.HybridLambda(formulas.softplus), {}


def silu(node: Node[layers.SiLU]) -> Lowered:
    return nn.HybridLambda(lambda F, x: x * F.sigmoid(x)), {}


def softmax(node: Node[layers.Softmax]) -> Lowered:
    return nn.HybridLambda(lambda F, x: F.softmax(x, axis=-1)), {}


def dropout(node: Node[layers.Dropout]) -> Lowered:
    return _Dropout(node.key, node.layer.rate), {}


def residual(node: Node[layers.Residual]) -> Lowered:
    body, variables = lower(node.branches["body"])
    shortcut, others = lower(node.branches["shortcut"])
    return _Residual(body, shortcut), variables | others


def concat(node: Node[layers.Concat]) -> Lowered:
    paths: list[_Sequence] = []
    variables: dict[str, gluon.Parameter] = {}
    for nodes in node.branches.values():
        path, inner = lower(nodes)
        paths.append(path)
        variables |= inner
    return _Concat(paths), variables


def _weight_and_bias(block: gluon.HybridBlock) -> dict[str, gluon.Parameter]:
    return {"weight": block.weight} | ({} if block.bias is None else {"bias": block.bias})


def _chain(function: Callable[..., Tensor], block: gluon.HybridBlock) -> gluon.HybridBlock:
    both = nn.HybridSequential()
    both.add(nn.HybridLambda(function), block)
    return both


class _Recurrent(gluon.HybridBlock):
    """The fused layer, from a state of zeros, and its states or the last one."""

    def __init__(self, native: gluon.HybridBlock, steps: int, return_sequences: bool) -> None:
        super().__init__()
        self._native, self._steps, self._return_sequences = native, steps, return_sequences
        self._zeros_of: dict[int, list[Tensor]] = {}  # by the number of samples

    def hybrid_forward(self, F: Any, x: Tensor) -> Tensor:
        fused = (self._native._mode, self._native._dtype) != ("rnn_relu", "float64")
        if fused:
            states, last = self._fused(F, x)
        else:
            states, last = float64.unrolled(F, x, self._native, self._steps, self._zeros)
        return states if self._return_sequences else last

    def _fused(self, F: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        states, final = self._native(x, self._zeros(F, x, self._native))
        last = final[0]  # [directions, N, units]; an LSTM's is [h, c]
        directions, units = self._native._dir, self._native._hidden_size
        if directions > 1:
            last = F.swapaxes(last, 0, 1)
        return states, last.reshape((-1, directions * units))

    def _zeros(self, F: Any, x: Tensor, block: gluon.Block) -> list[Tensor]:
        """Without these a native layer does not return its last state; a trace infers N from 0.

        They are kept, as to make them anew costs as much Python as a layer.
        """
        zeros = partial(block.begin_state, func=F.zeros, dtype=self._native._dtype)
        if F is not nd:
            return zeros(batch_size=0)
        if len(x) not in self._zeros_of:
            self._zeros_of[len(x)] = zeros(batch_size=len(x), ctx=x.context)
        return self._zeros_of[len(x)]


class _Attention(gluon.HybridBlock):
    def __init__(self, node: Node[layers.MultiHeadAttention]) -> None:
        super().__init__()
        (steps, features), layer = node.input_shape, node.layer
        for role in ROLES:
            setattr(self, role, self.params.get(role, shape=(features, features)))
        if layer.causal:
            future = np.triu(np.full((1, steps, steps), -1e30, np.float32), 1)
            self.future = self.params.get_constant("future", future)
        self._heads, self._features = layer.num_heads, features

    def hybrid_forward(
        self, F: Any, x: Tensor, *, future: Tensor | None = None, **weights: Tensor
    ) -> Tensor:
        mix = partial(F.FullyConnected, num_hidden=self._features, no_bias=True, flatten=False)
        q, k, v = (self._split(F, mix(x, weights[role])) for role in ROLES[:3])
        scores = F.batch_dot(q * (self._features // self._heads) ** -0.5, k, transpose_b=True)
        if future is not None:
            scores = F.broadcast_add(scores, future)
        y = F.batch_dot(F.softmax(scores, axis=-1), v)
        return mix(self._join(F, y), weights["output_weight"])

    def _split(self, F: Any, x: Tensor) -> Tensor:
        """[N, T, D] -> [N·heads, T, D / heads]"""
        heads = F.reshape(x, shape=(0, 0, self._heads, -1))
        return F.reshape(F.transpose(heads, axes=(0, 2, 1, 3)), shape=(-3, 0, 0))

    def _join(self, F: Any, x: Tensor) -> Tensor:
        """[N·heads, T, D / heads] -> [N, T, D]"""
        heads = F.reshape(x, shape=(-4, -1, self._heads, 0, 0))
        return F.reshape(F.transpose(heads, axes=(0, 2, 1, 3)), shape=(0, 0, -3))


class _Dropout(nn.Dropout):
    """Native dropout, or the supplied mask, already divided by 1 - rate."""

    def __init__(self, key: str, rate: float) -> None:
        super().__init__(rate)
        self._key = key

    def hybrid_forward(self, F: Any, x: Tensor, run: Pass) -> Tensor:
        return x * run.scales[self._key] if run.scales else super().hybrid_forward(F, x)


class _Residual(gluon.HybridBlock):
    def __init__(self, body: _Sequence, shortcut: _Sequence) -> None:
        super().__init__()
        self._body, self._shortcut = body, shortcut

    def hybrid_forward(self, F: Any, x: Tensor, run: Pass) -> Tensor:
        return self._body(x, run) + self._shortcut(x, run)


class _Concat(gluon.HybridBlock):
    def __init__(self, paths: Sequence[_Sequence]) -> None:
        super().__init__()
        self._paths = paths
        for path in paths:
            self.register_child(path)

    def hybrid_forward(self, F: Any, x: Tensor, run: Pass) -> Tensor:
        return F.concat(*[path(x, run) for path in self._paths], dim=1)


class _Sequence(gluon.HybridBlock):
    def __init__(self, blocks: dict[str, gluon.HybridBlock]) -> None:
        super().__init__()
        for key, block in blocks.items():
            self.register_child(block, key)

    def hybrid_forward(self, F: Any, x: Tensor, run: Pass) -> Tensor:
        for key, block in self._children.items():
            x = block(x, run) if isinstance(block, _TAKE_PASS) else block(x)
            if run.outputs is not None:
                run.outputs[key] = x
        return x


_TAKE_PASS = (_Dropout, _Residual, _Concat)  # beside x; a union is slower to ask


LAYERS = lowering(layers.Layer, globals())


def lower(nodes: Sequence[Node[layers.Layer]]) -> tuple[_Sequence, dict[str, gluon.Parameter]]:
    """Return the native network of `nodes`, and its parameters by canonical name."""
    blocks: dict[str, gluon.HybridBlock] = {}
    parameters: dict[str, gluon.Parameter] = {}
    for node, after in zip_longest(nodes, nodes[1:]):
        blocks[node.key], variables = LAYERS[type(node.layer)](node)
        if isinstance(node.layer, layers.Reshape) and after and _begins_with_max_pool2d(after):
            blocks[node.key] = nn.HybridLambda(formulas.reshaped_copy(node.output_shape))
        parameters |= by_name(node, variables)
    return _Sequence(blocks), parameters


def _begins_with_max_pool2d(node: Node[layers.Layer]) -> bool:
    """Whether its input is that of a max_pool2d, itself or as the first of a branch."""
    firsts = (inner[0] for inner in node.branches.values() if inner)
    return isinstance(node.layer, layers.MaxPool2D) or any(map(_begins_with_max_pool2d, firsts))
