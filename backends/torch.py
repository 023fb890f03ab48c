"""PyTorch, eager and compiled by torch.compile (Inductor), on the CPU or a CUDA device.

Images are kept channels-last, which PyTorch's CPU convolutions and pooling are fastest in. The
step is native: autograd, `torch.nn` layers, fused `torch.optim` optimizers.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..models import Model, Node
from ..models.layers import (
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
from ..models.losses import MAE, MSE, BinaryCrossEntropy, Huber, SoftmaxCrossEntropy
from ..models.optimizers import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop
from ..models.shapes import pair
from .contract import (
    Deviation,
    Execution,
    Gap,
    Layout,
    Masks,
    Mode,
    Unsupported,
    Weights,
    native_axes,
    refuse_unsupported,
    starting_state,
    to_canonical,
    to_native,
)

Lowered = tuple[nn.Module, dict[str, Tensor]]  # the native layer, its variables by role
_TensorMasks = dict[str, Tensor]
_Batch = tuple[Tensor, Tensor, _TensorMasks | None]

LAYOUT: Layout = {}  # PyTorch's own order of axes is the canonical one


# Layers


def dense(node: Node[Dense]) -> Lowered:
    layer = node.layer
    module = nn.Linear(node.input_shape[-1], layer.units, bias=layer.use_bias)
    return module, dict(module.named_parameters())


def conv1d(node: Node[Conv1D]) -> Lowered:
    layer = node.layer
    return _convolution(node, nn.Conv1d, layer.kernel_size, layer.stride, layer.dilation)


def conv2d(node: Node[Conv2D]) -> Lowered:
    layer = node.layer
    sizes = (pair(layer.kernel_size), pair(layer.stride), pair(layer.dilation))
    return _convolution(node, nn.Conv2d, *sizes)


def _convolution(
    node: Node[Conv1D] | Node[Conv2D],
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
    return nn.Sequential(
        nn.ConstantPad2d(border, 0.0) if len(pads) == 2 else nn.ConstantPad1d(border, 0.0), module
    ), variables


def conv_transpose2d(node: Node[ConvTranspose2D]) -> Lowered:
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


def max_pool2d(node: Node[MaxPool2D]) -> Lowered:
    layer = node.layer
    stride = pair(layer.stride or layer.kernel_size)
    return nn.MaxPool2d(pair(layer.kernel_size), stride, pair(layer.padding)), {}


def avg_pool2d(node: Node[AvgPool2D]) -> Lowered:
    layer = node.layer
    stride = pair(layer.stride or layer.kernel_size)
    sizes = (pair(layer.kernel_size), stride, pair(layer.padding))
    return nn.AvgPool2d(*sizes, count_include_pad=layer.count_include_pad), {}


def global_avg_pool1d(node: Node[GlobalAvgPool1D]) -> Lowered:
    return _Function(lambda x: x.mean(1)), {}


def global_avg_pool2d(node: Node[GlobalAvgPool2D]) -> Lowered:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), {}


def flatten(node: Node[Flatten]) -> Lowered:
    return nn.Flatten(), {}


def reshape(node: Node[Reshape]) -> Lowered:
    return _Function(lambda x: x.reshape(-1, *node.output_shape)), {}


def permute(node: Node[Permute]) -> Lowered:
    axes = (0, *(axis + 1 for axis in node.layer.axes))
    return _Function(lambda x: x.permute(axes)), {}


def batch_norm(node: Node[BatchNorm]) -> Lowered:
    module = _BatchNorm(node.input_shape[0], node.layer)
    variables = {"gamma": module.weight, "beta": module.bias}
    statistics = {role: getattr(module, role) for role in ("running_mean", "running_var")}
    return module, variables | statistics


def layer_norm(node: Node[LayerNorm]) -> Lowered:
    module = nn.LayerNorm(node.input_shape[-1], eps=node.layer.epsilon)
    return module, {"gamma": module.weight, "beta": module.bias}


def embedding(node: Node[Embedding]) -> Lowered:
    native = nn.Embedding(node.layer.vocabulary_size, node.layer.units)
    return nn.Sequential(_Function(lambda x: x.long()), native), {"weight": native.weight}


def simple_rnn(node: Node[SimpleRNN]) -> Lowered:
    return _recurrent(node, nn.RNN, nonlinearity=node.layer.activation)


def lstm(node: Node[LSTM]) -> Lowered:
    return _recurrent(node, nn.LSTM)


def gru(node: Node[GRU]) -> Lowered:
    return _recurrent(node, nn.GRU)


def _recurrent(
    node: Node[SimpleRNN] | Node[LSTM] | Node[GRU], native: type[nn.RNNBase], **options: str
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


def multi_head_attention(node: Node[MultiHeadAttention]) -> Lowered:
    module = _Attention(node.input_shape[1], node.layer)
    return module, {role: getattr(module, role) for role in node.layer.weights(node.input_shape)}


def relu(node: Node[ReLU]) -> Lowered:
    return nn.ReLU(), {}


def leaky_relu(node: Node[LeakyReLU]) -> Lowered:
    return nn.LeakyReLU(node.layer.negative_slope), {}


def elu(node: Node[ELU]) -> Lowered:
    return nn.ELU(node.layer.alpha), {}


def gelu(node: Node[GELU]) -> Lowered:
    return nn.GELU(node.layer.approximation), {}


def sigmoid(node: Node[Sigmoid]) -> Lowered:
    return nn.Sigmoid(), {}


def hard_sigmoid(node: Node[HardSigmoid]) -> Lowered:
    # The gradient of nn.Hardsigmoid is float32's 1/6, in float64 too.
    return _Function(lambda x: functional.relu6(x + 3) / 6), {}


def tanh(node: Node[Tanh]) -> Lowered:
    return nn.Tanh(), {}


def softplus(node: Node[Softplus]) -> Lowered:
    return nn.Softplus(threshold=40), {}  # above it y = x; at 20 that is 2e-9 off


def silu(node: Node[SiLU]) -> Lowered:
    return nn.SiLU(), {}


def softmax(node: Node[Softmax]) -> Lowered:
    return nn.Softmax(dim=-1), {}


def dropout(node: Node[Dropout]) -> Lowered:
    return _Dropout(node.key, node.layer.rate), {}


def residual(node: Node[Residual]) -> Lowered:
    body, variables = _lower(node.branches["body"])
    shortcut, others = _lower(node.branches["shortcut"])
    return _Residual(body, shortcut), variables | others


def concat(node: Node[Concat]) -> Lowered:
    paths: list[nn.Module] = []
    variables: dict[str, Tensor] = {}
    for nodes in node.branches.values():
        path, own = _lower(nodes)
        paths.append(path)
        variables |= own
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

    def __init__(self, channels: int, layer: BatchNorm) -> None:
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


class _Recurrent(nn.Module):
    def __init__(self, native: nn.RNNBase, return_sequences: bool) -> None:
        super().__init__()
        self._native, self._return_sequences = native, return_sequences

    def forward(self, x: Tensor) -> Tensor:
        states, last = self._native(x)
        if self._return_sequences:
            return states
        last = last[0] if isinstance(last, tuple) else last  # an LSTM's is (h, c)
        if len(last) == 1:
            return last[0]
        return torch.cat(tuple(last), dim=-1)  # [directions, N, H]; states[:, -1] is not the last


class _Attention(nn.Module):
    def __init__(self, features: int, layer: MultiHeadAttention) -> None:
        super().__init__()
        for role in ("query_weight", "key_weight", "value_weight", "output_weight"):
            setattr(self, role, nn.Parameter(torch.empty(features, features)))
        self._heads, self._causal = layer.num_heads, layer.causal

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            functional.linear(x, weight).unflatten(-1, (self._heads, -1)).transpose(1, 2)
            for weight in (self.query_weight, self.key_weight, self.value_weight)
        )
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=self._causal)
        return functional.linear(y.transpose(1, 2).flatten(2), self.output_weight)


class _Dropout(nn.Module):
    """Native dropout, or the supplied mask."""

    def __init__(self, key: str, rate: float) -> None:
        super().__init__()
        self._key, self._rate = key, rate

    def forward(self, x: Tensor, masks: _TensorMasks | None) -> Tensor:
        if masks is None or not self.training:
            return functional.dropout(x, self._rate, self.training)
        return x * (masks[self._key] / (1 - self._rate))


class _Sequence(nn.Sequential):
    def forward(self, x: Tensor, masks: _TensorMasks | None) -> Tensor:
        for layer in self:
            takes_masks = isinstance(layer, _TAKE_MASKS)
            x = layer(x, masks) if takes_masks else layer(x)
        return x


class _Residual(nn.Module):
    def __init__(self, body: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self._body, self._shortcut = body, shortcut

    def forward(self, x: Tensor, masks: _TensorMasks | None) -> Tensor:
        return self._body(x, masks) + self._shortcut(x, masks)


class _Concat(nn.Module):
    def __init__(self, paths: Sequence[nn.Module]) -> None:
        super().__init__()
        self._paths = nn.ModuleList(paths)

    def forward(self, x: Tensor, masks: _TensorMasks | None) -> Tensor:
        return torch.cat([path(x, masks) for path in self._paths], dim=1)


_TAKE_MASKS = (_Dropout, _Residual, _Concat)  # beside x; a union is slower to ask


# Losses: a function of (logits, targets)

_Loss = Callable[[Tensor, Tensor], Tensor]


def mse(loss: MSE) -> _Loss:
    return functional.mse_loss


def mae(loss: MAE) -> _Loss:
    return functional.l1_loss


def huber(loss: Huber) -> _Loss:
    return lambda z, y: functional.huber_loss(z, y, delta=loss.delta)


def softmax_cross_entropy(loss: SoftmaxCrossEntropy) -> _Loss:
    return lambda z, y: functional.cross_entropy(z, y, label_smoothing=loss.label_smoothing)


def binary_cross_entropy(loss: BinaryCrossEntropy) -> _Loss:
    return functional.binary_cross_entropy_with_logits


# Optimizers: the native one, and its own names for our slots

_Optimizer = tuple[torch.optim.Optimizer, dict[str, str]]


def sgd(optimizer: SGD, parameters: list[nn.Parameter]) -> _Optimizer:
    native = torch.optim.SGD(
        parameters,
        lr=optimizer.learning_rate,
        momentum=optimizer.momentum,
        nesterov=optimizer.nesterov,
        weight_decay=optimizer.weight_decay,
        fused=True,
    )
    return native, {"velocity": "momentum_buffer"} if optimizer.momentum else {}


def adam(optimizer: Adam, parameters: list[nn.Parameter]) -> _Optimizer:
    return _adam(torch.optim.Adam, optimizer, parameters)


def adamw(optimizer: AdamW, parameters: list[nn.Parameter]) -> _Optimizer:
    return _adam(torch.optim.AdamW, optimizer, parameters)


def _adam(
    native: type[torch.optim.Adam], optimizer: Adam | AdamW, parameters: list[nn.Parameter]
) -> _Optimizer:
    made = native(
        parameters,
        lr=optimizer.learning_rate,
        betas=(optimizer.beta1, optimizer.beta2),
        eps=optimizer.epsilon,
        weight_decay=optimizer.weight_decay,
        fused=True,
    )
    return made, {"m": "exp_avg", "v": "exp_avg_sq"}


def rmsprop(optimizer: RMSprop, parameters: list[nn.Parameter]) -> _Optimizer:
    return _SquareRoot(parameters, optimizer, keep=optimizer.rho, add=1 - optimizer.rho), _S


def adagrad(optimizer: Adagrad, parameters: list[nn.Parameter]) -> _Optimizer:
    return _SquareRoot(parameters, optimizer, keep=1.0, add=1.0), _S


_S = {"s": "s"}


class _SquareRoot(torch.optim.Optimizer):
    """s ← keep·s + add·g²; w ← w - η g / √(s + ε): PyTorch's RMSprop and Adagrad have √s + ε."""

    def __init__(
        self, parameters: list[nn.Parameter], spec: RMSprop | Adagrad, *, keep: float, add: float
    ) -> None:
        super().__init__(parameters, {"lr": spec.learning_rate})
        self._spec, self._keep, self._add = spec, keep, add

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def step(self, closure: None = None) -> None:
        group = self.param_groups[0]
        parameters = group["params"]
        gradients = [p.grad for p in parameters]
        if self._spec.weight_decay:
            gradients = torch._foreach_add(gradients, parameters, alpha=self._spec.weight_decay)
        s = [self.state[p]["s"] for p in parameters]
        torch._foreach_mul_(s, self._keep)
        torch._foreach_addcmul_(s, gradients, gradients, self._add)
        roots = torch._foreach_add(s, self._spec.epsilon)
        torch._foreach_sqrt_(roots)
        torch._foreach_addcdiv_(parameters, gradients, roots, -group["lr"])


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
_NO_RNN = "torch.compile does not compile PyTorch's recurrent layers; use --mode eager"
UNSUPPORTED: dict[Gap, str] = {
    ("compiled", SimpleRNN): _NO_RNN,
    ("compiled", LSTM): _NO_RNN,
    ("compiled", GRU): _NO_RNN,
}
DEVIATIONS: dict[str, Deviation] = {}


def version() -> str:
    return str(torch.__version__)


def devices() -> list[str]:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return ["cpu", *(["cuda"] if count else []), *(f"cuda:{i}" for i in range(count))]


def build(
    model: Model, weights: Weights, execution: Execution, *, seed: int, state: Weights | None
) -> _Trainer:
    refuse_unsupported(sys.modules[__name__], model, execution)
    compiler = os.environ.get("CXX", "g++")
    if execution.mode == "compiled" and execution.device == "cpu" and not shutil.which(compiler):
        raise Unsupported(
            f'compiled: Inductor needs a C++ compiler, "{compiler}" is not on the PATH'
        )
    torch.set_num_threads(execution.threads)
    torch.manual_seed(seed)
    # cuDNN would otherwise convolve float32 in TF32, and an autotuner would choose by the clock.
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
    return _Trainer(model, weights, execution, state)


def settings(execution: Execution) -> dict[str, str]:
    """Return what `build` fixes that matters for speed or rounding, in PyTorch's words."""
    fixed = {"memory format": "channels_last", "optimizer": "fused=True"}
    if execution.mode == "compiled":
        fixed["torch.compile"] = (
            "fullgraph=True, automatic_dynamic_shapes=False, guards on the arguments alone"
        )
    if execution.device != "cpu":
        fixed["cuda.matmul.allow_tf32"] = "False"
        fixed["cudnn.allow_tf32"] = "False"
        fixed["cudnn.benchmark"] = "False"
    return fixed


def device_memory(device: str) -> int | None:
    """Return the most bytes that tensors have taken on a CUDA device; None of the CPU."""
    return None if device == "cpu" else int(torch.cuda.max_memory_allocated(device))


def _clip(spec: Optimizer, parameters: list[Tensor]) -> None:
    gradients = [p.grad for p in parameters]
    if spec.clip_value:
        torch._foreach_clamp_min_(gradients, -spec.clip_value)
        torch._foreach_clamp_max_(gradients, spec.clip_value)
    if spec.clip_norm:  # PyTorch's clip_grad_norm_ divides by the norm + 1e-6
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        torch._foreach_mul_(gradients, (spec.clip_norm / norm).clamp(max=1.0))


def _on_arguments(guards: Sequence[Any]) -> list[bool]:
    """Choose the guards that a compiled step needs: nobody changes its layers or our globals."""
    without_modules = torch.compiler.skip_guard_on_all_nn_modules_unsafe(guards)
    without_globals = torch.compiler.skip_guard_on_globals_unsafe(guards)
    return [all(kept) for kept in zip(without_modules, without_globals, strict=True)]


def _lower(nodes: Sequence[Node[Layer]]) -> tuple[_Sequence, dict[str, Tensor]]:
    """Return the native network of `nodes`, and its parameters by canonical name."""
    modules: list[nn.Module] = []
    parameters: dict[str, Tensor] = {}
    for node in nodes:
        module, variables = LAYERS[type(node.layer)](node)
        module.key = node.key
        modules.append(module)
        for role, variable in variables.items():  # a composite has named its own already
            parameters[role if node.branches else f"{node.key}.{role}"] = variable
    return _Sequence(*modules), parameters


class _Trainer:
    def __init__(
        self, model: Model, weights: Weights, execution: Execution, state: Weights | None
    ) -> None:
        slots, self._step = starting_state(model, weights, state)
        self._model = model
        self._device = torch.device(execution.device)
        self._dtype = getattr(torch, execution.dtype)
        self._axes = native_axes(LAYOUT, model)
        self._network, variables = _lower(model.nodes)
        self._network.to(self._device, self._dtype, memory_format=torch.channels_last)
        self._variables = {name: variables[name] for name in model.weights}
        self._parameters = {name: self._variables[name] for name in model.trainable}
        self._trained = list(self._parameters.values())
        make_optimizer = OPTIMIZERS[type(model.optimizer)]
        self._optimizer, self._slots = make_optimizer(model.optimizer, self._trained)
        self._load(weights, slots)
        network, loss = self._network, LOSSES[type(model.loss)](model.loss)

        def mean_loss(x: Tensor, y: Tensor, masks: _TensorMasks | None) -> Tensor:
            return loss(network(x, masks), y)

        self._mean_loss = mean_loss
        if execution.mode == "compiled":
            # Without fullgraph, what Dynamo cannot compile would silently run eagerly; without the
            # reset, so would the ninth trainer of a process: all share this function's code.
            torch.compiler.reset()
            # Another shape is compiled anew; `dynamic=False` (2.13) would set this on every call.
            torch._dynamo.config.automatic_dynamic_shapes = False
            options = {"guard_filter_fn": _on_arguments}
            self._mean_loss = torch.compile(mean_loss, fullgraph=True, options=options)

    def stage(self, x: np.ndarray, y: np.ndarray, masks: Masks | None) -> _Batch:
        native = masks and {key: self._tensor(mask).to(self._dtype) for key, mask in masks.items()}
        return self._image(x), self._tensor(y), native

    def hold(self, x: np.ndarray, y: np.ndarray) -> Callable[[np.ndarray], Iterable[_Batch]]:
        # Held with channels as the last axis: what is gathered is contiguous in that order. One
        # channel lies as it is, with the strides of `stage`: others would be compiled for anew.
        several = x.ndim == 4 and x.shape[1] > 1
        held = np.ascontiguousarray(x.transpose(0, 2, 3, 1)) if several else x
        if self._device.type == "cpu":

            def gather_by_numpy(rows: np.ndarray) -> _Batch:  # it takes less time per call
                batch = torch.from_numpy(held.take(rows, 0))
                batch = batch.permute(0, 3, 1, 2) if several else batch
                return batch, torch.from_numpy(y.take(rows, 0)), None

            return partial(map, gather_by_numpy)
        images, labels = self._tensor(held), self._tensor(y)

        def gather(rows: Tensor) -> _Batch:
            batch = images.index_select(0, rows)
            batch = batch.permute(0, 3, 1, 2) if several else batch
            return batch, labels.index_select(0, rows), None

        return lambda order: map(gather, self._tensor(order))

    def train(self, batches: Iterable[_Batch]) -> np.ndarray:
        losses = []
        for batch in batches:
            loss = self._mean_loss(*batch)
            loss.backward()
            self._take_step()
            losses.append(loss.detach())
        result = torch.stack(losses).cpu().numpy()
        self._synchronize()
        return result

    def split(self, batch: _Batch) -> dict[str, float]:
        began = self._now()
        loss = self._mean_loss(*batch)
        forward = self._now()
        loss.backward()
        backward = self._now()
        self._take_step()
        update = self._now()
        return {
            "forward": forward - began,
            "backward": backward - forward,
            "update": update - backward,
        }

    def compilations(self) -> int:
        return int(torch._dynamo.utils.counters["stats"]["unique_graphs"])

    def _now(self) -> float:
        self._synchronize()
        return perf_counter()

    def _synchronize(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def _take_step(self) -> None:
        spec = self._model.optimizer
        if spec.clip_value or spec.clip_norm:
            _clip(spec, self._trained)
        self._optimizer.param_groups[0]["lr"] = spec.rate(self._step)
        self._optimizer.step()
        self._forget_gradients()
        self._step += 1

    def _forget_gradients(self) -> None:
        for parameter in self._trained:  # `zero_grad` does it under a hook of the profiler
            parameter.grad = None

    def gradients(self, batch: _Batch) -> tuple[float, Weights]:
        with self._statistics_kept():
            loss = self._mean_loss(*batch)
        loss.backward()
        gradients = {name: self._array(name, p.grad) for name, p in self._parameters.items()}
        self._forget_gradients()
        return loss.item(), gradients

    def activations(self, batch: _Batch) -> dict[str, np.ndarray]:
        outputs: dict[str, np.ndarray] = {}

        def keep(module: nn.Module, inputs: Any, output: Tensor) -> None:
            outputs[module.key] = output.detach().cpu().numpy().copy(order="C")

        keyed = [module for module in self._network.modules() if hasattr(module, "key")]
        hooks = [module.register_forward_hook(keep) for module in keyed]
        try:
            with self._statistics_kept():
                x, _, masks = batch
                self._network(x, masks)
        finally:
            for hook in hooks:
                hook.remove()
        return outputs

    def predict(self, x: np.ndarray) -> np.ndarray:
        self._network.eval()
        with torch.inference_mode():
            logits = self._network(self._image(x), None)
        self._network.train()
        return logits.cpu().numpy()

    def weights(self) -> Weights:
        return {name: self._array(name, v.detach()) for name, v in self._variables.items()}

    def state(self) -> Weights:
        slots = {
            f"{name}.{slot}": self._array(name, self._optimizer.state[p][native])
            for name, p in self._parameters.items()
            for slot, native in self._slots.items()
        }
        return slots | {"step": np.array(self._step)}

    @contextmanager
    def _statistics_kept(self) -> Iterator[None]:
        """Put running statistics back as they were."""
        statistics = [v for name, v in self._variables.items() if name not in self._parameters]
        before = [value.clone() for value in statistics]
        yield
        for value, old in zip(statistics, before, strict=True):
            value.copy_(old)

    def _load(self, weights: Weights, slots: Weights) -> None:
        for name, variable in self._variables.items():
            self._copy(weights[name], name, variable.data)
        for name, parameter in self._parameters.items():
            state: dict[str, Tensor] = self._optimizer.state[parameter]
            if isinstance(self._optimizer, torch.optim.Adam):
                state["step"] = torch.tensor(float(self._step), device=self._device)
            for slot, native in self._slots.items():
                state[native] = torch.empty_like(parameter.data)
                self._copy(slots[f"{name}.{slot}"], name, state[native])

    def _copy(self, array: np.ndarray, name: str, tensor: Tensor) -> None:
        """Copy a canonical array, of the weight `name` or of its slot, into a native tensor."""
        tensor.copy_(torch.from_numpy(to_native(array, self._axes.get(name))))

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self._device)

    def _image(self, x: np.ndarray) -> Tensor:
        tensor = self._tensor(x)
        return tensor.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else tensor

    def _array(self, name: str, tensor: Tensor) -> np.ndarray:
        canonical = to_canonical(tensor.cpu().numpy(), self._axes.get(name))
        return canonical.copy(order="C")
