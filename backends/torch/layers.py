"""Each layer as PyTorch has it: a native module, and its variables by role."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from ...models import Node, layers
from ...models.shapes import pair
from ..contract import by_name, lowering

Lowered = tuple[nn.Module, dict[str, Tensor]]
NativeMasks = dict[str, Tensor]


def dense(node: Node[layers.Dense]) -> Lowered:
    layer = node.layer
    module = nn.Linear(node.input_shape[-1], layer.units, bias=layer.use_bias)
    return module, dict(module.named_parameters())


def conv1d(node: Node[layers.Conv1D]) -> Lowered:
    layer = node.layer
    return _convolution(node, nn.Conv1d, layer.kernel_size, layer.stride, layer.dilation)


def conv2d(node: Node[layers.Conv2D]) -> Lowered:
    layer = node.layer
    sizes = (pair(layer.kernel_size), pair(layer.stride), pair(layer.dilation))
    return _convolution(node, nn.Conv2d, *sizes)


def _convolution(
    node: Node[layers.Conv1D] | Node[layers.Conv2D],
    native: type[nn.Module],
    kernel: Any,
    stride: Any,
    dilation: Any,
) -> Lowered:
    layer, pads = node.layer, node.layer.pads(node.input_shape)
    even = all(before == after for before, after in pads)
    module = native(
        node.input_shape[0],
        layer.filters,
        kernel,
        stride=stride,
        padding=tuple(before for before, _ in pads) if even else 0,
        dilation=dilation,
        groups=layer.groups,
        bias=layer.use_bias,
    )
    variables = dict(module.named_parameters())
    if even:
        return module, variables
    # F.pad counts from the last axis
    border = [amount for before_after in reversed(pads) for amount in before_after]
    pad = _Border(border, 0.0) if len(pads) == 2 else nn.ConstantPad1d(border, 0.0)
    return nn.Sequential(pad, module), variables


def conv_transpose2d(node: Node[layers.ConvTranspose2D]) -> Lowered:
    layer = node.layer
    module = nn.ConvTranspose2d(
        node.input_shape[0],
        layer.filters,
        pair(layer.kernel_size),
        stride=pair(layer.stride),
        padding=pair(layer.padding),
        output_padding=layer.output_padding,
        bias=layer.use_bias,
    )
    return module, dict(module.named_parameters())


def max_pool2d(node: Node[layers.MaxPool2D]) -> Lowered:
    layer = node.layer
    stride = pair(layer.stride or layer.kernel_size)
    return nn.MaxPool2d(pair(layer.kernel_size), stride, pair(layer.padding)), {}


def avg_pool2d(node: Node[layers.AvgPool2D]) -> Lowered:
    layer = node.layer
    stride = pair(layer.stride or layer.kernel_size)
    sizes = (pair(layer.kernel_size), stride, pair(layer.padding))
    native = _PaddedAvgPool2d if any(pair(layer.padding)) else nn.AvgPool2d
    return native(*sizes, count_include_pad=layer.count_include_pad), {}


def global_avg_pool1d(node: Node[layers.GlobalAvgPool1D]) -> Lowered:
    return _Function(lambda x: x.mean(1)), {}


def global_avg_pool2d(node: Node[layers.GlobalAvgPool2D]) -> Lowered:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), {}


def flatten(node: Node[layers.Flatten]) -> Lowered:
    return nn.Flatten(), {}


def reshape(node: Node[layers.Reshape]) -> Lowered:
    return _Function(lambda x: x.reshape(-1, *node.output_shape)), {}


def permute(node: Node[layers.Permute]) -> Lowered:
    axes = (0, *(axis + 1 for axis in node.layer.axes))
    return _Function(lambda x: x.permute(axes)), {}


def batch_norm(node: Node[layers.BatchNorm]) -> Lowered:
    module = _BatchNorm(node.input_shape[0], node.layer)
    variables = {"gamma": module.weight, "beta": module.bias}
    statistics = {role: getattr(module, role) for role in ("running_mean", "running_var")}
    return module, variables | statistics


def layer_norm(node: Node[layers.LayerNorm]) -> Lowered:
    module = nn.LayerNorm(node.input_shape[-1], eps=node.layer.epsilon)
    return module, {"gamma": module.weight, "beta": module.bias}


def embedding(node: Node[layers.Embedding]) -> Lowered:
    native = nn.Embedding(node.layer.vocabulary_size, node.layer.units)
    return nn.Sequential(_Function(lambda x: x.long()), native), {"weight": native.weight}


def simple_rnn(node: Node[layers.SimpleRNN]) -> Lowered:
    return _recurrent(node, nn.RNN, nonlinearity=node.layer.activation)


def lstm(node: Node[layers.LSTM]) -> Lowered:
    return _recurrent(node, nn.LSTM)


def gru(node: Node[layers.GRU]) -> Lowered:
    return _recurrent(node, nn.GRU)


def _recurrent(
    node: Node[layers.SimpleRNN] | Node[layers.LSTM] | Node[layers.GRU],
    native: type[nn.RNNBase],
    **options: str,
) -> Lowered:
    layer = node.layer
    module = native(
        node.input_shape[-1],
        layer.units,
        batch_first=True,
        bidirectional=layer.bidirectional,
        **options,
    )
    variables: dict[str, Tensor] = {}
    for prefix, suffix in zip(layer.directions, ("", "_reverse"), strict=False):
        second = getattr(module, f"bias_hh_l0{suffix}")
        variables[f"{prefix}weight"] = getattr(module, f"weight_ih_l0{suffix}")
        variables[f"{prefix}recurrent_weight"] = getattr(module, f"weight_hh_l0{suffix}")
        variables[f"{prefix}bias"] = getattr(module, f"bias_ih_l0{suffix}")
        if "recurrent_bias" in layer.biases:
            variables[f"{prefix}recurrent_bias"] = second
        else:  # a second copy of one bias would double its learning rate
            nn.init.zeros_(second).requires_grad_(False)
    return _Recurrent(module, layer.return_sequences), variables


def multi_head_attention(node: Node[layers.MultiHeadAttention]) -> Lowered:
    module = _Attention(node.input_shape[1], node.layer)
    return module, {role: getattr(module, role) for role in node.layer.weights(node.input_shape)}


def relu(node: Node[layers.ReLU]) -> Lowered:
    return nn.ReLU(), {}


def leaky_relu(node: Node[layers.LeakyReLU]) -> Lowered:
    return nn.LeakyReLU(node.layer.negative_slope), {}


def prelu(node: Node[layers.PReLU]) -> Lowered:
    if len(node.input_shape) == 2:  # nn.PReLU has its channels on axis 1
        steps, features = node.input_shape
        module = nn.PReLU(features)
        rows = (nn.Flatten(0, 1), module, nn.Unflatten(0, (-1, steps)))
        return nn.Sequential(*rows), {"alpha": module.weight}
    module = nn.PReLU(node.input_shape[0])
    return module, {"alpha": module.weight}


def elu(node: Node[layers.ELU]) -> Lowered:
    return nn.ELU(node.layer.alpha), {}


def gelu(node: Node[layers.GELU]) -> Lowered:
    return nn.GELU(node.layer.approximation), {}


def sigmoid(node: Node[layers.Sigmoid]) -> Lowered:
    return nn.Sigmoid(), {}


def hard_sigmoid(node: Node[layers.HardSigmoid]) -> Lowered:
    # The gradient of nn.Hardsigmoid is float32's 1/6, in float64 too.
    return _Function(lambda x: functional.relu6(x + 3) / 6), {}


def tanh(node: Node[layers.Tanh]) -> Lowered:
    return nn.Tanh(), {}


def softplus(node: Node[layers.Softplus]) -> Lowered:
    return nn.Softplus(threshold=40), {}  # above it y = x; at 20 that is 2e-9 off


def silu(node: Node[layers.SiLU]) -> Lowered:
    return nn.SiLU(), {}


def softmax(node: Node[layers.Softmax]) -> Lowered:
    return nn.Softmax(dim=-1), {}


def dropout(node: Node[layers.Dropout]) -> Lowered:
    return _Dropout(node.key, node.layer.rate), {}


def residual(node: Node[layers.Residual]) -> Lowered:
    body, variables = lower(node.branches["body"])
    shortcut, others = lower(node.branches["shortcut"])
    return _Residual(body, shortcut), variables | others


def concat(node: Node[layers.Concat]) -> Lowered:
    paths: list[nn.Module] = []
    variables: dict[str, Tensor] = {}
    for nodes in node.branches.values():
        path, inner = lower(nodes)
        paths.append(path)
        variables |= inner
    return _Concat(paths), variables


class _Function(nn.Module):
    """A function of tensors where a layer is expected."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self._function = function

    def forward(self, x: Tensor) -> Tensor:
        return self._function(x)


class _BatchNorm(nn.Module):
    """Native, but for the running variance: PyTorch keeps the unbiased one."""

    def __init__(self, channels: int, layer: layers.BatchNorm) -> None:
        super().__init__()
        self.weight, self.bias = (nn.Parameter(torch.empty(channels)) for _ in range(2))
        # Not buffers: Module.to would leave the adapter with those of the old dtype.
        self.running_mean, self.running_var = (
            nn.Parameter(torch.empty(channels), requires_grad=False) for _ in range(2)
        )
        self._momentum, self._epsilon = layer.momentum, layer.epsilon

    def forward(self, x: Tensor) -> Tensor:
        # Clones, because backward fails on statistics that were edited after the call.
        mean, var = self.running_mean.clone(), self.running_var.clone()
        y = functional.batch_norm(
            x, mean, var, self.weight, self.bias, self.training, self._momentum, self._epsilon
        )
        if self.training:
            count = x.numel() // x.shape[1]
            kept = (1 - self._momentum) * self.running_var
            self.running_mean.copy_(mean)
            self.running_var.copy_(kept + (var - kept) * ((count - 1) / count))
        return y


class _PaddedAvgPool2d(nn.AvgPool2d):
    """Channels first on a GPU: PyTorch (2.11) shifts the channels-last gradient by the padding."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.contiguous() if x.is_cuda else x)


class _Border(nn.ConstantPad2d):
    """By `cat` on a GPU in float64."""

    def forward(self, x: Tensor) -> Tensor:
        # For sm_90, ptxas (12.8 to 13.0) drops the 1 of a small `1 + i % n`, as the compiled way
        # back of `pad` reads by: wrong numbers, and no word.
        if not x.is_cuda or x.dtype != torch.float64:
            return super().forward(x)
        for axis, amounts in ((3, self.padding[:2]), (2, self.padding[2:])):
            before, after = (
                x.new_zeros(*x.shape[:axis], amount, *x.shape[axis + 1 :]) for amount in amounts
            )
            x = torch.cat([part for part in (before, x, after) if part.shape[axis]], axis)
        return x


class _Recurrent(nn.Module):
    """Native; on a GPU without cuDNN (9.19) where its derivative of ReLU at 0 is not 0, and in
    float32, as its tanh is off by 120 roundoffs.
    """

    def __init__(self, native: nn.RNNBase, return_sequences: bool) -> None:
        super().__init__()
        self._native, self._return_sequences = native, return_sequences

    def forward(self, x: Tensor) -> Tensor:
        inexact = x.is_cuda and (x.dtype == torch.float32 or self._native.mode == "RNN_RELU")
        with _without_cudnn() if inexact else nullcontext():
            states, last = self._native(x)
        if self._return_sequences:
            return states
        last = last[0] if isinstance(last, tuple) else last  # an LSTM's is (h, c)
        if len(last) == 1:
            return last[0]
        return torch.cat(tuple(last), dim=-1)  # [directions, N, H]; states[:, -1] is not the last


@contextmanager
def _without_cudnn() -> Iterator[None]:
    torch.backends.cudnn.enabled = False  # `cudnn.flags` would set all others too
    try:
        yield
    finally:
        torch.backends.cudnn.enabled = True


@functools.cache
def _flash_is_traced_in_float64() -> bool:
    """Say whether the compiler knows that the kernel's logsumexp has the dtype of its inputs.

    It took it for a float32, and the gradient failed, until 2.12 or 2.13: pytorch#185539.
    """
    q = torch.empty(1, 1, 1, 1, dtype=torch.float64, device="meta")
    logsumexp = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, q, q)[1]
    return logsumexp.dtype == q.dtype


class _Attention(nn.Module):
    def __init__(self, features: int, layer: layers.MultiHeadAttention) -> None:
        super().__init__()
        for role in ("query_weight", "key_weight", "value_weight", "output_weight"):
            setattr(self, role, nn.Parameter(torch.empty(features, features)))
        self._heads, self._causal = layer.num_heads, layer.causal
        self._has_traceable_float64 = _flash_is_traced_in_float64()

    def forward(self, x: Tensor) -> Tensor:
        is_native = x.dtype != torch.float64 or self._has_traceable_float64
        q, k, v = (
            functional.linear(x, weight).unflatten(-1, (self._heads, -1)).transpose(1, 2)
            for weight in (self.query_weight, self.key_weight, self.value_weight)
        )
        with nullcontext() if is_native else sdpa_kernel(SDPBackend.MATH):
            y = functional.scaled_dot_product_attention(q, k, v, is_causal=self._causal)
        return functional.linear(y.transpose(1, 2).flatten(2), self.output_weight)


class _Dropout(nn.Module):
    """Native dropout, or the supplied mask."""

    def __init__(self, key: str, rate: float) -> None:
        super().__init__()
        self._key, self._rate = key, rate

    def forward(self, x: Tensor, masks: NativeMasks | None) -> Tensor:
        if masks is None or not self.training:
            return functional.dropout(x, self._rate, self.training)
        return x * (masks[self._key] / (1 - self._rate))


class _Sequence(nn.Sequential):
    def forward(self, x: Tensor, masks: NativeMasks | None) -> Tensor:
        for layer in self:
            takes_masks = isinstance(layer, _TAKE_MASKS)
            x = layer(x, masks) if takes_masks else layer(x)
        return x


class _Residual(nn.Module):
    def __init__(self, body: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self._body, self._shortcut = body, shortcut

    def forward(self, x: Tensor, masks: NativeMasks | None) -> Tensor:
        return self._body(x, masks) + self._shortcut(x, masks)


class _Concat(nn.Module):
    def __init__(self, paths: Sequence[nn.Module]) -> None:
        super().__init__()
        self._paths = nn.ModuleList(paths)

    def forward(self, x: Tensor, masks: NativeMasks | None) -> Tensor:
        return torch.cat([path(x, masks) for path in self._paths], dim=1)


_TAKE_MASKS = (_Dropout, _Residual, _Concat)  # beside x; a union is slower to ask


LAYERS = lowering(layers.Layer, globals())


def lower(nodes: Sequence[Node[layers.Layer]]) -> tuple[_Sequence, dict[str, Tensor]]:
    """Return the native network of `nodes`, and its parameters by canonical name."""
    modules: list[nn.Module] = []
    parameters: dict[str, Tensor] = {}
    for node in nodes:
        module, variables = LAYERS[type(node.layer)](node)
        module.key = node.key
        modules.append(module)
        parameters |= by_name(node, variables)
    return _Sequence(*modules), parameters
