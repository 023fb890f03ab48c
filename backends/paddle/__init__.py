"""PaddlePaddle, eager (dygraph) and compiled by paddle.jit.to_static, on the CPU or a CUDA device.

Images are NCHW. The step is native: autograd, `paddle.nn` layers, `paddle.optimizer` optimizers.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

# Paddle reads these at its import. The first keeps its log lines off stderr. The second runs a
# compiled graph in the caller's thread, not in a pool beside it (3.3: -14 % for a linear model).
# The third lets that graph collect a megabyte that it needs no more before another thread frees it;
# else that thread is woken after every operation (3.3: with one core, -30 % for an LSTM).
os.environ.setdefault("GLOG_minloglevel", "2")
os.environ.setdefault("FLAGS_enable_pir_in_executor_trace_run", "1")
os.environ.setdefault("FLAGS_eager_delete_tensor_gb", "0.001")

import paddle
from paddle import Tensor, nn
from paddle.nn import functional

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
from ...models.shapes import Shape, pair
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

Lowered = tuple[nn.Layer, dict[str, Tensor]]  # the native layer, its variables by role
_TensorMasks = dict[str, Tensor]

LAYOUT: Layout = {
    (Dense, "weight"): (1, 0),
    **{(MultiHeadAttention, role): (1, 0) for role in ROLES},
}


def _scalar(value: float, like: Tensor) -> float | Tensor:
    """Return a constant to reckon with; 3.3: to_static keeps a Python float as a float32."""
    return value if like.dtype == paddle.float32 else paddle.full([], value, like.dtype)


# Layers


def dense(node: Node[Dense]) -> Lowered:
    layer = node.layer
    module = nn.Linear(
        node.input_shape[-1], layer.units, bias_attr=None if layer.use_bias else False
    )
    return module, dict(module.named_parameters())


def conv1d(node: Node[Conv1D]) -> Lowered:
    layer = node.layer
    return _convolution(node, nn.Conv1D, layer.kernel_size, layer.stride, layer.dilation)


def conv2d(node: Node[Conv2D]) -> Lowered:
    layer = node.layer
    sizes = (pair(layer.kernel_size), pair(layer.stride), pair(layer.dilation))
    return _convolution(node, nn.Conv2D, *sizes)


def _convolution(
    node: Node[Conv1D] | Node[Conv2D],
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


def conv_transpose2d(node: Node[ConvTranspose2D]) -> Lowered:
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


def max_pool2d(node: Node[MaxPool2D]) -> Lowered:
    layer = node.layer
    stride = pair(layer.stride or layer.kernel_size)
    return nn.MaxPool2D(pair(layer.kernel_size), stride, pair(layer.padding)), {}


def avg_pool2d(node: Node[AvgPool2D]) -> Lowered:
    layer = node.layer
    stride = pair(layer.stride or layer.kernel_size)
    sizes = (pair(layer.kernel_size), stride, pair(layer.padding))
    return _AvgPool2D(*sizes, layer.count_include_pad, node.output_shape), {}


def global_avg_pool1d(node: Node[GlobalAvgPool1D]) -> Lowered:
    return _Mean([1]), {}


def global_avg_pool2d(node: Node[GlobalAvgPool2D]) -> Lowered:
    return _Mean([2, 3]), {}


def flatten(node: Node[Flatten]) -> Lowered:
    return nn.Flatten(), {}


def reshape(node: Node[Reshape]) -> Lowered:
    return _Reshape(node.output_shape), {}


def permute(node: Node[Permute]) -> Lowered:
    return _Permute([0, *(axis + 1 for axis in node.layer.axes)]), {}


def batch_norm(node: Node[BatchNorm]) -> Lowered:
    module = _BatchNorm(node.input_shape, node.layer)
    return module, dict(module.named_parameters())


def layer_norm(node: Node[LayerNorm]) -> Lowered:
    module = _LayerNorm(node.input_shape[-1], node.layer.epsilon)
    return module, {"gamma": module.weight, "beta": module.bias}


def embedding(node: Node[Embedding]) -> Lowered:
    module = _Embedding(node.layer.vocabulary_size, node.layer.units)
    return module, {"weight": module.weight}


def simple_rnn(node: Node[SimpleRNN]) -> Lowered:
    return _recurrent(node, nn.SimpleRNN, activation=node.layer.activation)


def lstm(node: Node[LSTM]) -> Lowered:
    return _recurrent(node, nn.LSTM)


def gru(node: Node[GRU]) -> Lowered:
    return _recurrent(node, nn.GRU)


def _recurrent(
    node: Node[SimpleRNN] | Node[LSTM] | Node[GRU], native: type[nn.Layer], **options: str
) -> Lowered:
    layer = node.layer
    direction = "bidirect" if layer.bidirectional else "forward"
    module = native(node.input_shape[-1], layer.units, direction=direction, **options)
    variables: dict[str, Tensor] = {}
    for prefix, suffix in zip(DIRECTIONS[: len(layer.directions)], ("", "_reverse"), strict=False):
        second = getattr(module, f"bias_hh_l0{suffix}")
        variables[f"{prefix}weight"] = getattr(module, f"weight_ih_l0{suffix}")
        variables[f"{prefix}recurrent_weight"] = getattr(module, f"weight_hh_l0{suffix}")
        variables[f"{prefix}bias"] = getattr(module, f"bias_ih_l0{suffix}")
        if "recurrent_bias" in layer.biases:
            variables[f"{prefix}recurrent_bias"] = second
        else:  # no optimizer gets it; 3.3's backward fails if it is frozen, and crashes without it
            second.set_value(paddle.zeros_like(second))
    return _Recurrent(module, layer.return_sequences), variables


def multi_head_attention(node: Node[MultiHeadAttention]) -> Lowered:
    module = _Attention(node.input_shape[1], node.layer)
    return module, dict(module.named_parameters())


def relu(node: Node[ReLU]) -> Lowered:
    return nn.ReLU(), {}


def leaky_relu(node: Node[LeakyReLU]) -> Lowered:
    return _LeakyReLU(node.layer.negative_slope), {}


def elu(node: Node[ELU]) -> Lowered:
    return _ELU(node.layer.alpha), {}


def gelu(node: Node[GELU]) -> Lowered:
    return nn.GELU(approximate=node.layer.approximation == "tanh"), {}


def sigmoid(node: Node[Sigmoid]) -> Lowered:
    return nn.Sigmoid(), {}


def hard_sigmoid(node: Node[HardSigmoid]) -> Lowered:
    return _HardSigmoid(), {}


def tanh(node: Node[Tanh]) -> Lowered:
    return nn.Tanh(), {}


def softplus(node: Node[Softplus]) -> Lowered:
    return nn.Softplus(threshold=40), {}  # above it y = x; at 20 that is 2e-9 off


def silu(node: Node[SiLU]) -> Lowered:
    return _SiLU(), {}


def softmax(node: Node[Softmax]) -> Lowered:
    return nn.Softmax(axis=-1), {}


def dropout(node: Node[Dropout]) -> Lowered:
    return _Dropout(node.key, node.layer.rate), {}


def residual(node: Node[Residual]) -> Lowered:
    body, variables = _lower(node.branches["body"])
    shortcut, others = _lower(node.branches["shortcut"])
    return _Residual(body, shortcut), variables | others


def concat(node: Node[Concat]) -> Lowered:
    paths, variables = [], dict[str, Tensor]()
    for nodes in node.branches.values():
        path, own = _lower(nodes)
        paths.append(path)
        variables |= own
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


class _AvgPool2D(nn.Layer):
    """Native in float32; 3.3's gradient multiplies by 1 / area as a float32, in float64 too."""

    def __init__(
        self,
        kernel: tuple[int, ...],
        stride: tuple[int, ...],
        padding: tuple[int, ...],
        count_padding: bool,
        shape: Shape,
    ) -> None:
        super().__init__()
        self._kernel, self._stride, self._padding = list(kernel), list(stride), list(padding)
        self._count_padding, self._shape = count_padding, shape

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype == paddle.float32:
            sizes = (self._kernel, self._stride, self._padding)
            return functional.avg_pool2d(x, *sizes, exclusive=not self._count_padding)
        if self._count_padding:
            return self._windows(x).mean(axis=2)
        return self._windows(x).sum(axis=2) / self._windows(paddle.ones_like(x)).sum(axis=2)

    def _windows(self, x: Tensor) -> Tensor:
        channels, *space = self._shape
        windows = functional.unfold(x, self._kernel, self._stride, self._padding)
        return windows.reshape([x.shape[0], channels, -1, *space])


class _Mean(nn.Layer):
    """Over space; the adaptive pooling layers have the gradient of _AvgPool2D."""

    def __init__(self, axes: list[int]) -> None:
        super().__init__()
        self._axes = axes

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(axis=self._axes)


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


class _BatchNorm(nn.Layer):
    """Native in float32; 3.3's holds momentum and epsilon as float32, in float64 too."""

    def __init__(self, shape: Shape, layer: BatchNorm) -> None:
        super().__init__()
        for role in ("gamma", "beta", "running_mean", "running_var"):
            setattr(self, role, self.create_parameter([shape[0]]))
        self.running_mean.stop_gradient = self.running_var.stop_gradient = True
        self._momentum, self._epsilon = layer.momentum, layer.epsilon
        self._axes = [0, *range(2, len(shape) + 1)]
        self._shape = [-1] + [1] * (len(shape) - 1)

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype == paddle.float32:
            return functional.batch_norm(
                x,
                self.running_mean,
                self.running_var,
                self.gamma,
                self.beta,
                training=self.training,
                momentum=1 - self._momentum,
                epsilon=self._epsilon,
            )
        mean, var = self.running_mean, self.running_var
        if self.training:
            mean = x.mean(axis=self._axes)
            var = (x - mean.reshape(self._shape)).square().mean(axis=self._axes)
            self._move(self.running_mean, mean)
            self._move(self.running_var, var)
        scale = self.gamma / (var + _scalar(self._epsilon, x)).sqrt()
        centred = x - mean.reshape(self._shape)
        return centred * scale.reshape(self._shape) + self.beta.reshape(self._shape)

    def _move(self, running: Tensor, new: Tensor) -> None:
        step = (new.detach() - running) * _scalar(self._momentum, new)
        paddle.assign(running + step, running)  # 3.3: to_static drops an add_ silently


class _LayerNorm(nn.LayerNorm):
    """Native in float32; 3.3's refuses an epsilon above 0.001, and holds it as a float32."""

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype == paddle.float32 and self._epsilon <= 0.001:
            return functional.layer_norm(
                x, self._normalized_shape, self.weight, self.bias, self._epsilon
            )
        centred = x - x.mean(axis=-1, keepdim=True)
        var = centred.square().mean(axis=-1, keepdim=True)
        return centred / (var + _scalar(self._epsilon, x)).sqrt() * self.weight + self.bias


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
    """Native in float32; 3.3's to_static keeps its scale as a float32, in float64 too."""

    def __init__(self, features: int, layer: MultiHeadAttention) -> None:
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
            y = self._attend(q, k, v)
        return functional.linear(y.flatten(2), self.output_weight)

    def _split(self, x: Tensor, weight: Tensor) -> Tensor:
        return functional.linear(x, weight).reshape([0, 0, self._heads, -1])

    def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (t.transpose([0, 2, 1, 3]) for t in (q, k, v))
        scores = paddle.matmul(q, k, transpose_y=True) * _scalar(self._scale, q)
        if self._causal:
            scores = scores + paddle.triu(paddle.full_like(scores, -1e4), 1)
        return paddle.matmul(functional.softmax(scores), v).transpose([0, 2, 1, 3])


class _LeakyReLU(nn.Layer):
    """The native one has the derivative 1 at 0, this sum the slope, in twice its time (3.3)."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self._slope = slope

    def forward(self, x: Tensor) -> Tensor:
        rest = functional.relu(x) * _scalar(1 - self._slope, x)
        return x * _scalar(self._slope, x) + rest


class _ELU(nn.Layer):
    """Native in float32; 3.3's holds alpha as a float32, in float64 too, but 1 is exact."""

    def __init__(self, alpha: float) -> None:
        super().__init__()
        self._alpha = alpha

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype == paddle.float32:
            return functional.elu(x, self._alpha)
        return paddle.where(x > 0, x, functional.elu(x) * _scalar(self._alpha, x))


class _HardSigmoid(nn.Layer):
    """The native one has float32's 0.1666667 for a slope."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu6(x + 3) / _scalar(6, x)


class _SiLU(nn.Layer):
    """The native one has the derivative NaN below -88 in float32 (3.3)."""

    def forward(self, x: Tensor) -> Tensor:
        return x * functional.sigmoid(x)


class _Dropout(nn.Layer):
    """Native dropout, or the supplied mask, which holds 0 and 1 / (1 - rate)."""

    def __init__(self, key: str, rate: float) -> None:
        super().__init__()
        self._key, self._rate = key, rate

    def forward(self, x: Tensor, masks: _TensorMasks | None) -> Tensor:
        if masks is None or not self.training:
            return functional.dropout(x, self._rate, training=self.training)
        return x * masks[self._key]


class _Sequence(nn.Layer):
    def __init__(self, modules: Sequence[nn.Layer]) -> None:
        super().__init__()
        self._layers = nn.LayerList(modules)

    def forward(self, x: Tensor, masks: _TensorMasks | None) -> Tensor:
        for layer in self._layers:
            takes_masks = isinstance(layer, _TAKE_MASKS)
            x = layer(x, masks) if takes_masks else layer(x)
        return x


class _Residual(nn.Layer):
    def __init__(self, body: nn.Layer, shortcut: nn.Layer) -> None:
        super().__init__()
        self._body, self._shortcut = body, shortcut

    def forward(self, x: Tensor, masks: _TensorMasks | None) -> Tensor:
        return self._body(x, masks) + self._shortcut(x, masks)


class _Concat(nn.Layer):
    def __init__(self, paths: Sequence[nn.Layer]) -> None:
        super().__init__()
        self._paths = nn.LayerList(paths)

    def forward(self, x: Tensor, masks: _TensorMasks | None) -> Tensor:
        return paddle.concat([path(x, masks) for path in self._paths], axis=1)


_TAKE_MASKS = (_Dropout, _Residual, _Concat)  # beside x; a union is slower to ask


# Losses: a function of (logits, targets)

_Loss = Callable[[Tensor, Tensor], Tensor]


class _MeanLoss(nn.Layer):
    """What is compiled: to_static takes the methods of a Layer only."""

    def __init__(self, network: nn.Layer, loss: _Loss) -> None:
        super().__init__()
        self._network, self._loss = network, loss

    def forward(self, x: Tensor, y: Tensor, masks: _TensorMasks | None) -> Tensor:
        return self._loss(self._network(x, masks), y)


def mse(loss: MSE) -> _Loss:
    return functional.mse_loss


def mae(loss: MAE) -> _Loss:
    return functional.l1_loss


def huber(loss: Huber) -> _Loss:
    def mean_huber(z: Tensor, y: Tensor) -> Tensor:
        if z.dtype == paddle.float32:
            return functional.smooth_l1_loss(z, y, delta=loss.delta)
        delta = _scalar(loss.delta, z)  # 3.3's own is a float32, but 1 is exact
        return functional.smooth_l1_loss(z / delta, y / delta) * (delta * delta)

    return mean_huber


def softmax_cross_entropy(loss: SoftmaxCrossEntropy) -> _Loss:
    smooth = loss.label_smoothing

    def mean_cross_entropy(z: Tensor, y: Tensor) -> Tensor:
        # cross_entropy and log_softmax cap the loss at 64 on the CPU (3.3). Without the shift, a
        # small loss is the difference of two large numbers.
        shifted = z - z.detach().max(axis=1, keepdim=True)
        logs = shifted - shifted.logsumexp(axis=1, keepdim=True)
        loss_of_labels = functional.nll_loss(logs, y)
        if not smooth:
            return loss_of_labels
        return loss_of_labels * _scalar(1 - smooth, z) - logs.mean() * _scalar(smooth, z)

    return mean_cross_entropy


def binary_cross_entropy(loss: BinaryCrossEntropy) -> _Loss:
    return functional.binary_cross_entropy_with_logits


# Optimizers: the native one, and its own names for our slots

_Optimizer = tuple[paddle.optimizer.Optimizer, dict[str, str]]


def sgd(optimizer: SGD, parameters: list[Tensor]) -> _Optimizer:
    common = _common(optimizer, parameters)
    if not optimizer.momentum:
        return paddle.optimizer.SGD(**common), {}
    native = (paddle.optimizer.Momentum if _is_float32(parameters) else _Momentum64)(
        momentum=optimizer.momentum, use_nesterov=optimizer.nesterov, **common
    )
    return native, {"velocity": "velocity"}


def adam(optimizer: Adam, parameters: list[Tensor]) -> _Optimizer:
    native = paddle.optimizer.Adam(
        **_betas(optimizer),
        use_multi_tensor=_is_float32(parameters),  # the only dtype it has
        **_common(optimizer, parameters),
    )
    return native, _M_V


def adamw(optimizer: AdamW, parameters: list[Tensor]) -> _Optimizer:
    common = _common(optimizer, parameters) | {"weight_decay": optimizer.weight_decay}
    native = paddle.optimizer.AdamW if _is_float32(parameters) else _AdamW64
    return native(**_betas(optimizer), **common), _M_V


def rmsprop(optimizer: RMSprop, parameters: list[Tensor]) -> _Optimizer:
    native = (paddle.optimizer.RMSProp if _is_float32(parameters) else _RMSProp64)(
        rho=optimizer.rho, epsilon=optimizer.epsilon, **_common(optimizer, parameters)
    )
    return native, {"s": "mean_square"}


def adagrad(optimizer: Adagrad, parameters: list[Tensor]) -> _Optimizer:
    native = _Adagrad(epsilon=optimizer.epsilon, **_common(optimizer, parameters))
    return native, {"s": "moment"}


_M_V = {"m": "moment1", "v": "moment2"}


def _common(optimizer: Optimizer, parameters: list[Tensor]) -> dict[str, Any]:
    """Return what every native optimizer takes; it clips before it adds the coupled decay."""
    return {
        "learning_rate": optimizer.learning_rate,
        "parameters": parameters,
        "weight_decay": optimizer.weight_decay or None,
        "grad_clip": _clip(optimizer),
    }


def _betas(optimizer: Adam | AdamW) -> dict[str, float]:
    return {
        "beta1": optimizer.beta1,
        "beta2": optimizer.beta2,
        "epsilon": optimizer.epsilon,
    }


def _is_float32(parameters: list[Tensor]) -> bool:
    return bool(parameters[0].dtype == paddle.float32)


def _clip(optimizer: Optimizer) -> Any:
    clips = []
    if optimizer.clip_value:
        clips.append(nn.ClipGradByValue(optimizer.clip_value))
    if optimizer.clip_norm:
        clips.append(nn.ClipGradByGlobalNorm(optimizer.clip_norm))
    return _ClipInTurn(clips) if len(clips) > 1 else next(iter(clips), None)


class _ClipInTurn(paddle.nn.clip.ClipGradBase):
    def __init__(self, clips: list[Any]) -> None:
        super().__init__()
        self._clips = clips

    def _dygraph_clip(self, parameters_and_gradients: Any) -> Any:
        for clip in self._clips:
            parameters_and_gradients = clip(parameters_and_gradients)
        return parameters_and_gradients


class _Momentum64(paddle.optimizer.Momentum):
    """3.3's kernel holds momentum and weight decay as float32, 5e-8 off in a float64 run."""

    def _append_optimize_op(self, block: Any, parameter_and_gradient: Any) -> None:
        parameter, gradient = parameter_and_gradient
        if self._regularization_coeff:
            gradient = gradient + parameter * self._regularization_coeff
        velocity = self._get_accumulator("velocity", parameter)
        velocity.scale_(self._momentum).add_(gradient)
        ahead = gradient + velocity * self._momentum if self._use_nesterov else velocity
        parameter.subtract_(ahead * self.get_lr())


class _AdamW64(paddle.optimizer.Adam):
    """3.3's AdamW holds the weight decay as a float32; this decays, and leaves the rest to Adam."""

    def __init__(self, *, weight_decay: float, **options: Any) -> None:
        super().__init__(**options)
        self._decay = weight_decay

    def _append_optimize_op(self, block: Any, parameter_and_gradient: Any) -> None:
        parameter_and_gradient[0].scale_(1 - self.get_lr() * self._decay)
        super()._append_optimize_op(block, parameter_and_gradient)


class _RMSProp64(paddle.optimizer.RMSProp):
    """3.3's kernel holds rho and epsilon as float32, 4e-8 off in a float64 run."""

    def _append_optimize_op(self, block: Any, parameter_and_gradient: Any) -> None:
        parameter, gradient = parameter_and_gradient
        s = self._get_accumulator("mean_square", parameter)
        s.scale_(self._rho).add_(gradient.square() * (1 - self._rho))
        parameter.subtract_(gradient / (s + self._epsilon).sqrt() * self.get_lr())


class _Adagrad(paddle.optimizer.Adagrad):
    """The native one has its epsilon outside the root."""

    def _append_optimize_op(self, block: Any, parameter_and_gradient: Any) -> None:
        parameter, gradient = parameter_and_gradient
        s = self._get_accumulator("moment", parameter)
        s.add_(gradient.square())
        parameter.subtract_(gradient / (s + self._epsilon).sqrt() * self.get_lr())


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
DEVIATIONS: dict[str, Deviation] = {
    "adam.v and adamw.v in float32": Deviation(
        optimizers=("adam", "adamw"),
        slot="v",
        dtype="float32",
        relative=2e-5,
        reason="the kernels round beta2 before they form 1 - beta2, and so do its powers: with "
        "beta2 = 0.999 the slot v is off by 1.3e-5; the weights agree to rounding",
    )
}


_GRAPH_FLAGS = ("FLAGS_enable_pir_in_executor_trace_run", "FLAGS_eager_delete_tensor_gb")
_GPU_FLAGS = {"FLAGS_cudnn_exhaustive_search": False}


def version() -> str:
    return str(paddle.__version__)


def devices() -> list[str]:
    count = paddle.device.cuda.device_count() if paddle.is_compiled_with_cuda() else 0
    return ["cpu", *(["cuda"] if count else []), *(f"cuda:{i}" for i in range(count))]


def device_memory(device: str) -> int | None:
    if device == "cpu":
        return None
    return int(paddle.device.cuda.max_memory_allocated(device.replace("cuda", "gpu")))


def settings(execution: Execution) -> dict[str, str]:
    made = {"set_num_threads": str(execution.threads)}
    if execution.mode == "compiled":
        made |= {"to_static": "full_graph=True"} | {name: os.environ[name] for name in _GRAPH_FLAGS}
    if execution.device == "cpu":
        return made
    return made | {"TF32": "off", **{name: str(value) for name, value in _GPU_FLAGS.items()}}


def build(
    model: Model, weights: Weights, execution: Execution, *, seed: int, state: Weights | None
) -> _Trainer:
    refuse_unsupported(sys.modules[__name__], model, execution)
    paddle.base.core.set_num_threads(execution.threads)
    paddle.set_device(execution.device.replace("cuda", "gpu"))
    if execution.device != "cpu":
        paddle.base.core.set_cublas_switch(False)  # to use TF32
        paddle.base.core.set_cudnn_switch(False)
        paddle.set_flags(_GPU_FLAGS)
    paddle.set_default_dtype(execution.dtype)  # 3.3: Layer.to fails on a recurrent layer
    paddle.seed(seed)
    return _Trainer(model, weights, execution, state)


class _Batch(NamedTuple):
    x: Tensor
    y: Tensor
    masks: _TensorMasks | None


def _lower(nodes: Sequence[Node[Layer]]) -> tuple[_Sequence, dict[str, Tensor]]:
    """Return the native network of `nodes`, and its parameters by canonical name."""
    modules: list[nn.Layer] = []
    parameters: dict[str, Tensor] = {}
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
        self._model = model
        self._device, self._dtype = execution.device, execution.dtype
        self._axes = native_axes(LAYOUT, model)
        self._rates = {
            node.key: node.layer.rate for node in model.walk() if isinstance(node.layer, Dropout)
        }
        self._network, variables = _lower(model.nodes)
        self._variables = {name: variables[name] for name in model.weights}
        self._parameters = {name: self._variables[name] for name in model.trainable}
        self._learning = [p for p in self._network.parameters() if not p.stop_gradient]
        self._mean_loss: Any = _MeanLoss(self._network, LOSSES[type(model.loss)](model.loss))
        make_optimizer = OPTIMIZERS[type(model.optimizer)]
        self._optimizer, self._slots = make_optimizer(
            model.optimizer, list(self._parameters.values())
        )
        self._load(weights, slots)
        self._compiled = execution.mode == "compiled"
        if self._compiled:
            self._mean_loss = paddle.jit.to_static(self._mean_loss, full_graph=True)

    def stage(self, x: np.ndarray, y: np.ndarray, masks: Masks | None) -> _Batch:
        native = masks and {key: self._mask(key, mask) for key, mask in masks.items()}
        return _Batch(paddle.to_tensor(x), paddle.to_tensor(y), native)

    def hold(self, x: np.ndarray, y: np.ndarray) -> Callable[[np.ndarray], list[_Batch]]:
        # `to_tensor` copies, so that a batch that NumPy gathers is moved twice.
        images, labels = paddle.to_tensor(x), paddle.to_tensor(y)

        def gather(rows: Tensor) -> _Batch:
            return _Batch(paddle.gather(images, rows), paddle.gather(labels, rows), None)

        return lambda order: [gather(rows) for rows in map(paddle.to_tensor, order)]

    def train(self, batches: Iterable[_Batch]) -> np.ndarray:
        losses = []
        for batch in batches:
            loss = self._mean_loss(*batch)
            loss.backward()
            self._take_step()
            losses.append(loss.detach())
        result = paddle.stack(losses).numpy()
        self._synchronize()
        return result

    def split(self, batch: _Batch) -> dict[str, float]:
        began = self._now()
        loss = self._mean_loss(*batch)
        forward = self._now()
        loss.backward()
        backward = self._now()
        self._take_step()
        return {
            "forward": forward - began,
            "backward": backward - forward,
            "update": self._now() - backward,
        }

    def compilations(self) -> int:
        return len(self._mean_loss.forward.program_cache) if self._compiled else 0

    def _now(self) -> float:
        """Return the time when all that was asked of the device is done."""
        self._synchronize()
        return perf_counter()

    def _synchronize(self) -> None:
        if self._device != "cpu":
            paddle.device.synchronize()

    def _take_step(self) -> None:
        rate = self._model.optimizer.rate(self._step)
        if rate != self._optimizer.get_lr():
            self._optimizer.set_lr(rate)
        self._optimizer.step()
        self._clear_gradients()
        self._step += 1

    def _clear_gradients(self) -> None:
        for parameter in self._learning:  # the second biases of recurrent layers among them
            parameter.clear_gradient(False)

    def gradients(self, batch: _Batch) -> tuple[float, Weights]:
        with self._statistics_kept():
            loss = self._mean_loss(*batch)
            loss.backward()
        gradients = {name: self._array(name, p.grad) for name, p in self._parameters.items()}
        self._clear_gradients()
        return loss.item(), gradients

    def activations(self, batch: _Batch) -> dict[str, np.ndarray]:
        outputs: dict[str, np.ndarray] = {}

        def keep(module: nn.Layer, inputs: Any, output: Tensor) -> None:
            outputs[module.key] = output.numpy()

        keyed = [layer for layer in self._network.sublayers() if hasattr(layer, "key")]
        hooks = [layer.register_forward_post_hook(keep) for layer in keyed]
        try:
            with self._statistics_kept():
                self._network(batch.x, batch.masks)
        finally:
            for hook in hooks:
                hook.remove()
        return outputs

    def predict(self, x: np.ndarray) -> np.ndarray:
        self._network.eval()
        with paddle.no_grad():
            logits = self._network(paddle.to_tensor(x), None)
        self._network.train()
        return logits.numpy()

    def weights(self) -> Weights:
        return {name: self._array(name, v) for name, v in self._variables.items()}

    def state(self) -> Weights:
        slots = {
            f"{name}.{slot}": self._array(name, self._optimizer._get_accumulator(native, p))
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
            value.set_value(old)

    def _load(self, weights: Weights, slots: Weights) -> None:
        # Paddle makes the slots in its first step, unless asked for: then that step keeps them.
        block = paddle.static.default_main_program().global_block()
        self._optimizer._create_accumulators(block, list(self._parameters.values()))
        for name, variable in self._variables.items():
            self._copy(weights[name], name, variable)
        for name, parameter in self._parameters.items():
            for slot, native in self._slots.items():
                tensor = self._optimizer._get_accumulator(native, parameter)
                self._copy(slots[f"{name}.{slot}"], name, tensor)
            if isinstance(self._optimizer, paddle.optimizer.Adam | paddle.optimizer.AdamW):
                self._restore_powers(parameter)

    def _restore_powers(self, parameter: Tensor) -> None:
        """Set Adam's betas to the power step + 1 as its kernel does: by repeated products."""
        for native in ("beta1_pow_acc", "beta2_pow_acc"):
            power = self._optimizer._get_accumulator(native, parameter)
            factors = np.full(self._step + 1, power.item(), self._dtype)
            power.set_value(np.multiply.accumulate(factors)[-1:])

    def _copy(self, array: np.ndarray, name: str, tensor: Tensor) -> None:
        """Copy a canonical array, of the weight `name` or of its slot, into a native tensor."""
        native = to_native(array, self._axes.get(name))
        tensor.set_value(np.ascontiguousarray(native, self._dtype))

    def _mask(self, key: str, mask: np.ndarray) -> Tensor:
        return paddle.to_tensor(mask.astype(self._dtype) / (1 - self._rates[key]))

    def _array(self, name: str, tensor: Tensor) -> np.ndarray:
        canonical = to_canonical(tensor.numpy(), self._axes.get(name))
        return canonical.copy(order="C")
