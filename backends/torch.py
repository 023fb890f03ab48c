"""PyTorch, eager and compiled by torch.compile (Inductor), on the CPU or a CUDA device.

Images are kept channels-last, which PyTorch's CPU convolutions and pooling are fastest in. The
step is native: autograd, `torch.nn` layers, fused `torch.optim` optimizers.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

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
from ..models.shapes import Shape, pair
from .contract import (
    Execution,
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

Lowered = tuple[nn.Module, dict[str, nn.Parameter]]  # the native layer, its variables by role
_TensorMasks = dict[str, Tensor]

LAYOUT: Layout = {}  # PyTorch's own order of axes is the canonical one


# Layers


def dense(node: Node[Dense]) -> Lowered:
    layer = node.layer
    module = nn.Linear(node.input_shape[0], layer.units, bias=layer.use_bias)
    return module, dict(module.named_parameters())


def conv2d(node: Node[Conv2D]) -> Lowered:
    layer = node.layer
    module = nn.Conv2d(
        node.input_shape[0],
        layer.filters,
        pair(layer.kernel_size),
        stride=pair(layer.stride),
        padding=pair(layer.padding),
        bias=layer.use_bias,
    )
    return module, dict(module.named_parameters())


def max_pool2d(node: Node[MaxPool2D]) -> Lowered:
    layer = node.layer
    stride = pair(layer.stride or layer.kernel_size)
    return nn.MaxPool2d(pair(layer.kernel_size), stride, pair(layer.padding)), {}


def avg_pool2d(node: Node[AvgPool2D]) -> Lowered:
    layer = node.layer
    return nn.AvgPool2d(pair(layer.kernel_size), pair(layer.stride or layer.kernel_size)), {}


def global_avg_pool2d(node: Node[GlobalAvgPool2D]) -> Lowered:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), {}


def flatten(node: Node[Flatten]) -> Lowered:
    return nn.Flatten(), {}


def reshape(node: Node[Reshape]) -> Lowered:
    return _Reshape(node.output_shape), {}


def relu(node: Node[ReLU]) -> Lowered:
    return nn.ReLU(), {}


def leaky_relu(node: Node[LeakyReLU]) -> Lowered:
    return nn.LeakyReLU(node.layer.negative_slope), {}


def sigmoid(node: Node[Sigmoid]) -> Lowered:
    return nn.Sigmoid(), {}


def tanh(node: Node[Tanh]) -> Lowered:
    return nn.Tanh(), {}


def dropout(node: Node[Dropout]) -> Lowered:
    return _Dropout(node.key, node.layer.rate), {}


def residual(node: Node[Residual]) -> Lowered:
    body, variables = _lower(node.branches["body"])
    shortcut, others = _lower(node.branches["shortcut"])
    return _Residual(body, shortcut), variables | others


class _Reshape(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self._shape = shape

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(-1, *self._shape)


class _Dropout(nn.Module):
    """Native dropout, or the supplied mask."""

    def __init__(self, key: str, rate: float) -> None:
        super().__init__()
        self._key, self._rate = key, rate

    def forward(self, x: Tensor, masks: _TensorMasks | None) -> Tensor:
        if masks is None or not self.training:
            return functional.dropout(x, self._rate, self.training)
        return x * (masks[self._key] / (1 - self._rate))


class _Sequence(nn.Module):
    def __init__(self, modules: Sequence[nn.Module]) -> None:
        super().__init__()
        self._layers = nn.ModuleList(modules)

    def forward(self, x: Tensor, masks: _TensorMasks | None) -> Tensor:
        for layer in self._layers:
            takes_masks = isinstance(layer, _Dropout | _Residual)
            x = layer(x, masks) if takes_masks else layer(x)
        return x


class _Residual(nn.Module):
    def __init__(self, body: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self._body, self._shortcut = body, shortcut

    def forward(self, x: Tensor, masks: _TensorMasks | None) -> Tensor:
        return self._body(x, masks) + self._shortcut(x, masks)


# Losses: a function of (logits, targets)

_Loss = Callable[[Tensor, Tensor], Tensor]


def mse(loss: MSE) -> _Loss:
    return functional.mse_loss


def mae(loss: MAE) -> _Loss:
    return functional.l1_loss


def huber(loss: Huber) -> _Loss:
    return lambda z, y: functional.huber_loss(z, y, delta=loss.delta)


def softmax_cross_entropy(loss: SoftmaxCrossEntropy) -> _Loss:
    return functional.cross_entropy


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
    native = torch.optim.Adam(
        parameters,
        lr=optimizer.learning_rate,
        betas=(optimizer.beta1, optimizer.beta2),
        eps=optimizer.epsilon,
        fused=True,
    )
    return native, {"m": "exp_avg", "v": "exp_avg_sq"}


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

MODES: tuple[Mode, ...] = ("eager", "compiled")
UNSUPPORTED: dict[type | str, str] = {}
DEVIATIONS: dict[str, str] = {}


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
    return _Trainer(model, weights, execution, state)


class _Batch(NamedTuple):
    x: Tensor
    y: Tensor
    masks: _TensorMasks | None


def _lower(nodes: Sequence[Node[Layer]]) -> tuple[_Sequence, dict[str, nn.Parameter]]:
    """Return the native network of `nodes`, and its parameters by canonical name."""
    modules: list[nn.Module] = []
    parameters: dict[str, nn.Parameter] = {}
    for node in nodes:
        module, variables = LAYERS[type(node.layer)](node)
        module.key = node.key
        modules.append(module)
        for role, variable in variables.items():  # a composite has named its own already
            parameters[role if node.branches else f"{node.key}.{role}"] = variable
    return _Sequence(modules), parameters


class _Trainer:
    def __init__(
        self, model: Model, weights: Weights, execution: Execution, state: Weights | None
    ) -> None:
        slots, self._step = starting_state(model, weights, state)
        self._device = torch.device(execution.device)
        self._dtype = getattr(torch, execution.dtype)
        self._axes = native_axes(LAYOUT, model)
        self._network, parameters = _lower(model.nodes)
        self._network.to(self._device, self._dtype, memory_format=torch.channels_last)
        self._parameters = {name: parameters[name] for name in model.weights}
        self._loss = LOSSES[type(model.loss)](model.loss)
        make_optimizer = OPTIMIZERS[type(model.optimizer)]
        self._optimizer, self._slots = make_optimizer(
            model.optimizer, list(self._parameters.values())
        )
        self._load(weights, slots)
        self._mean_loss = self._forward_loss
        if execution.mode == "compiled":
            # Without fullgraph, what Dynamo cannot compile would silently run eagerly; without the
            # reset, so would the ninth trainer of a process: all share this method's code.
            torch.compiler.reset()
            self._mean_loss = torch.compile(self._forward_loss, dynamic=False, fullgraph=True)

    def stage(self, x: np.ndarray, y: np.ndarray, masks: Masks | None) -> _Batch:
        native = masks and {key: self._tensor(mask).to(self._dtype) for key, mask in masks.items()}
        return _Batch(self._image(x), self._tensor(y), native)

    def train(self, batches: Sequence[_Batch]) -> np.ndarray:
        losses = []
        for batch in batches:
            loss = self._mean_loss(batch)
            loss.backward()
            self._optimizer.step()
            self._optimizer.zero_grad()
            losses.append(loss.detach())
        self._step += len(batches)
        result = torch.stack(losses).cpu().numpy()
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return result

    def gradients(self, batch: _Batch) -> tuple[float, Weights]:
        loss = self._mean_loss(batch)
        loss.backward()
        gradients = {name: self._array(name, p.grad) for name, p in self._parameters.items()}
        self._optimizer.zero_grad()
        return loss.item(), gradients

    def activations(self, batch: _Batch) -> dict[str, np.ndarray]:
        outputs: dict[str, np.ndarray] = {}

        def keep(module: nn.Module, inputs: Any, output: Tensor) -> None:
            outputs[module.key] = output.detach().cpu().numpy().copy(order="C")

        keyed = [module for module in self._network.modules() if hasattr(module, "key")]
        hooks = [module.register_forward_hook(keep) for module in keyed]
        try:
            self._network(batch.x, batch.masks)
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
        return {name: self._array(name, p.detach()) for name, p in self._parameters.items()}

    def state(self) -> Weights:
        slots = {
            f"{name}.{slot}": self._array(name, self._optimizer.state[p][native])
            for name, p in self._parameters.items()
            for slot, native in self._slots.items()
        }
        return slots | {"step": np.array(self._step)}

    def _forward_loss(self, batch: _Batch) -> Tensor:
        return self._loss(self._network(batch.x, batch.masks), batch.y)

    def _load(self, weights: Weights, slots: Weights) -> None:
        for name, parameter in self._parameters.items():
            self._copy(weights[name], name, parameter.data)
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
