"""Each layer as Paddle has it: a native layer, and its variables by role."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import paddle
from paddle import Tensor, nn
from paddle.nn import functional

from ...models import Node, layers
from ...models.layers.attention import ROLES
from ...models.shapes import Shape, pair
from ..contract import by_name, lowering
from . import float64, formulas

Lowered = tuple[nn.Layer, dict[str, Tensor]]
NativeMasks = dict[str, Tensor]


def dense(node: Node[layers.Dense]) -> Lowered:
    layer = node.layer
    module = nn.Linear(
        node.input_shape[-1], layer.units, bias_attr=None if layer.use_bias else False
    )
    return module, dict(module.named_parameters())


def conv1d(node: Node[layers.Conv1D]) -> Lowered:
    layer = node.layer
    return _convolution(node, nn.Conv1D, layer.kernel_size, layer.stride, layer.dilation)


def conv2d(node: Node[layers.Conv2D]) -> Lowered:
    layer = node.layer
    sizes = (pair(layer.kernel_size), pair(layer.stride), pair(layer.dilation))
    return _convolution(node, nn.Conv2D, *sizes)


def _convolution(
    node: Node[layers.Conv1D] | Node[layers.Conv2D],
    native: type[nn.Layer],
    kernel: Any,
    stride: Any,
    dilation: Any,
) -> Lowered:
    layer = node.layer
    module = native(
        node.input_shape[0],
        layer.filters,
        kernel,
        stride=stride,
        # 3.3: its own "SAME" drops the dilation.
        padding=[amount for pads in layer.pads(node.input_shape) for amount in pads],
        dilation=dilation,
        groups=layer.groups,
        bias_attr=None if layer.use_bias else False,
    )
    variables = dict(module.named_parameters())
    return _with_bias(module), variables


def conv_transpose2d(node: Node[layers.ConvTranspose2D]) -> Lowered:
    layer = node.layer
    module = nn.Conv2DTranspose(
        node.input_shape[0],
        layer.filters,
        pair(layer.kernel_size),
        stride=pair(layer.stride),
        padding=pair(layer.padding),
        output_padding=layer.output_padding,
        bias_attr=None if layer.use_bias else False,
    )
    variables = dict(module.named_parameters())
    return _with_bias(module), variables


def max_pool2d(node: Node[layers.MaxPool2D]) -> Lowered:
    layer = node.layer
    stride = pair(layer.stride or layer.kernel_size)
    return nn.MaxPool2D(pair(layer.kernel_size), stride, pair(layer.padding)), {}


def avg_pool2d(node: Node[layers.AvgPool2D]) -> Lowered:
    layer = node.layer
    stride = pair(layer.stride or layer.kernel_size)
    sizes = (pair(layer.kernel_size), stride, pair(layer.padding))
    return float64.AvgPool2D(*sizes, layer.count_include_pad, node.output_shape), {}


def global_avg_pool1d(node: Node[layers.GlobalAvgPool1D]) -> Lowered:
    return formulas.Mean([1]), {}


def global_avg_pool2d(node: Node[layers.GlobalAvgPool2D]) -> Lowered:
    return formulas.Mean([2, 3]), {}


def flatten(node: Node[layers.Flatten]) -> Lowered:
    return nn.Flatten(), {}


def reshape(node: Node[layers.Reshape]) -> Lowered:
    return _Reshape(node.output_shape), {}


def permute(node: Node[layers.Permute]) -> Lowered:
    return _Permute([0, *(axis + 1 for axis in node.layer.axes)]), {}


def batch_norm(node: Node[layers.BatchNorm]) -> Lowered:
    module = float64.BatchNorm(node.input_shape, node.layer)
    return module, dict(module.named_parameters())


def layer_norm(node: Node[layers.LayerNorm]) -> Lowered:
    module = float64.LayerNorm(node.input_shape[-1], node.layer.epsilon)
    return module, {"gamma": module.weight, "beta": module.bias}


def embedding(node: Node[layers.Embedding]) -> Lowered:
    module = _Embedding(node.layer.vocabulary_size, node.layer.units)
    return module, {"weight": module.weight}


def simple_rnn(node: Node[layers.SimpleRNN]) -> Lowered:
    return _recurrent(node, nn.SimpleRNN, activation=node.layer.activation)


def lstm(node: Node[layers.LSTM]) -> Lowered:
    return _recurrent(node, nn.LSTM)


def gru(node: Node[layers.GRU]) -> Lowered:
    return _recurrent(node, nn.GRU)


def _recurrent(
    node: Node[layers.SimpleRNN] | Node[layers.LSTM] | Node[layers.GRU],
    native: type[nn.Layer],
    **options: str,
) -> Lowered:
    layer = node.layer
    direction = "bidirect" if layer.bidirectional else "forward"
    module = native(node.input_shape[-1], layer.units, direction=direction, **options)
    variables: dict[str, Tensor] = {}
    for prefix, suffix in zip(layer.directions, ("", "_reverse"), strict=False):
        second = getattr(module, f"bias_hh_l0{suffix}")
        variables[f"{prefix}weight"] = getattr(module, f"weight_ih_l0{suffix}")
        variables[f"{prefix}recurrent_weight"] = getattr(module, f"weight_hh_l0{suffix}")
        variables[f"{prefix}bias"] = getattr(module, f"bias_ih_l0{suffix}")
        if "recurrent_bias" in layer.biases:
            variables[f"{prefix}recurrent_bias"] = second
        else:  # no optimizer gets it; 3.3's backward fails if it is frozen, and crashes without it
            second.set_value(paddle.zeros_like(second))
    return _Recurrent(module, layer.return_sequences), variables


def multi_head_attention(node: Node[layers.MultiHeadAttention]) -> Lowered:
    module = _Attention(node.input_shape[1], node.layer)
    return module, dict(module.named_parameters())


def relu(node: Node[layers.ReLU]) -> Lowered:
    return nn.ReLU(), {}


def leaky_relu(node: Node[layers.LeakyReLU]) -> Lowered:
    return formulas.LeakyReLU(node.layer.negative_slope), {}


def prelu(node: Node[layers.PReLU]) -> Lowered:
    (spec,) = node.weights.values()
    channels_last = len(node.input_shape) == 2
    module = _PReLU(*spec.shape, data_format="NLC" if channels_last else "NCHW")
    (alpha,) = module.parameters()
    return module, {"alpha": alpha}


def elu(node: Node[layers.ELU]) -> Lowered:
    return float64.ELU(node.layer.alpha), {}


def gelu(node: Node[layers.GELU]) -> Lowered:
    return nn.GELU(approximate=node.layer.approximation == "tanh"), {}


def sigmoid(node: Node[layers.Sigmoid]) -> Lowered:
    return nn.Sigmoid(), {}


def hard_sigmoid(node: Node[layers.HardSigmoid]) -> Lowered:
    return formulas.HardSigmoid(), {}


def tanh(node: Node[layers.Tanh]) -> Lowered:
    return nn.Tanh(), {}


def softplus(node: Node[layers.Softplus]) -> Lowered:
    return nn.Softplus(threshold=40), {}  # above it y = x; at 20 that is 2e-9 off


def silu(node: Node[layers.SiLU]) -> Lowered:
    return formulas.SiLU(), {}


def softmax(node: Node[layers.Softmax]) -> Lowered:
    return nn.Softmax(axis=-1), {}


def dropout(node: Node[layers.Dropout]) -> Lowered:
    return _Dropout(node.key, node.layer.rate), {}


def residual(node: Node[layers.Residual]) -> Lowered:
    body, variables = lower(node.branches["body"])
    shortcut, others = lower(node.branches["shortcut"])
    return _Residual(body, shortcut), variables | others


def concat(node: Node[layers.Concat]) -> Lowered:
    paths: list[nn.Layer] = []
    variables: dict[str, Tensor] = {}
    for nodes in node.branches.values():
        path, inner = lower(nodes)
        paths.append(path)
        variables |= inner
    return _Concat(paths), variables


def _with_bias(convolution: nn.Layer) -> nn.Layer:
    on_cpu = paddle.get_device() == "cpu"
    return _Biased(convolution) if on_cpu and convolution.bias is not None else convolution


class _Biased(nn.Layer):
    """A native convolution, and its bias expanded to [C, H, W] before it is added.

    3.3's CPU kernels broadcast a bias over N, H and W in 2 to 13 times the time, a quarter of a
    step of LeNet-5, and sum its gradient with 8 times the rounding error.
    """

    def __init__(self, convolution: nn.Layer) -> None:
        super().__init__()
        self._convolution, self.bias = convolution, convolution.bias
        convolution.bias = None

    def forward(self, x: Tensor) -> Tensor:
        y = self._convolution.forward(x)
        return y + self.bias.reshape([-1] + [1] * (y.ndim - 2)).expand(y.shape[1:])


class _Reshape(nn.Layer):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self._shape = shape

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape([-1, *self._shape])


class _Permute(nn.Layer):
    def __init__(self, axes: list[int]) -> None:
        super().__init__()
        self._axes = axes

    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(self._axes)


class _Embedding(nn.Embedding):
    def forward(self, x: Tensor) -> Tensor:
        return functional.embedding(x.astype("int64"), self.weight)


class _Recurrent(nn.Layer):
    def __init__(self, native: nn.Layer, return_sequences: bool) -> None:
        super().__init__()
        self._native, self._return_sequences = native, return_sequences

    def forward(self, x: Tensor) -> Tensor:
        states, last = self._native(x)
        if self._return_sequences:
            return states
        last = last[0] if isinstance(last, tuple) else last  # an LSTM's is (h, c)
        # [directions, N, H]; states[:, -1] is not the last of both
        return last.transpose([1, 0, 2]).flatten(1)


class _Attention(nn.Layer):
    def __init__(self, features: int, layer: layers.MultiHeadAttention) -> None:
        super().__init__()
        for role in ROLES:
            setattr(self, role, self.create_parameter([features, features]))
        self._heads, self._causal = layer.num_heads, layer.causal
        self._scale = (features // layer.num_heads) ** -0.5

    def forward(self, x: Tensor) -> Tensor:
        q = self._split(x, self.query_weight)
        k = self._split(x, self.key_weight)
        v = self._split(x, self.value_weight)
        if x.dtype == paddle.float32:
            y = functional.scaled_dot_product_attention(q, k, v, is_causal=self._causal)
        else:
            y = float64.attend(q, k, v, self._scale, self._causal)
        return functional.linear(y.flatten(2), self.output_weight)

    def _split(self, x: Tensor, weight: Tensor) -> Tensor:
        return functional.linear(x, weight).reshape([0, 0, self._heads, -1])


class _PReLU(nn.PReLU):
    """Native; 3.3's backward pass dies where the input needs no gradient, so here it has one."""

    def forward(self, x: Tensor) -> Tensor:
        if x.stop_gradient:
            x = x.detach()
            x.stop_gradient = False
        return super().forward(x)


class _Dropout(nn.Layer):
    """Native dropout, or the supplied mask, which holds 0 and 1 / (1 - rate)."""

    def __init__(self, key: str, rate: float) -> None:
        super().__init__()
        self._key, self._rate = key, rate

    def forward(self, x: Tensor, masks: NativeMasks | None) -> Tensor:
        if masks is None or not self.training:
            return functional.dropout(x, self._rate, training=self.training)
        return x * masks[self._key]


class _Sequence(nn.Layer):
    def __init__(self, modules: Sequence[nn.Layer]) -> None:
        super().__init__()
        self._layers = nn.LayerList(modules)

    def forward(self, x: Tensor, masks: NativeMasks | None) -> Tensor:
        for layer in self._layers:
            takes_masks = isinstance(layer, _TAKE_MASKS)
            x = layer(x, masks) if takes_masks else layer(x)
        return x


class _Residual(nn.Layer):
    def __init__(self, body: nn.Layer, shortcut: nn.Layer) -> None:
        super().__init__()
        self._body, self._shortcut = body, shortcut

    def forward(self, x: Tensor, masks: NativeMasks | None) -> Tensor:
        return self._body(x, masks) + self._shortcut(x, masks)


class _Concat(nn.Layer):
    def __init__(self, paths: Sequence[nn.Layer]) -> None:
        super().__init__()
        self._paths = nn.LayerList(paths)

    def forward(self, x: Tensor, masks: NativeMasks | None) -> Tensor:
        return paddle.concat([path(x, masks) for path in self._paths], axis=1)


_TAKE_MASKS = (_Dropout, _Residual, _Concat)  # beside x; a union is slower to ask


LAYERS = lowering(layers.Layer, globals())


def lower(nodes: Sequence[Node[layers.Layer]]) -> tuple[_Sequence, dict[str, Tensor]]:
    """Return the native network of `nodes`, and its parameters by canonical name."""
    modules: list[nn.Layer] = []
    parameters: dict[str, Tensor] = {}
    for node in nodes:
        module, variables = LAYERS[type(node.layer)](node)
        module.key = node.key
        modules.append(module)
        parameters |= by_name(node, variables)
    return _Sequence(modules), parameters
