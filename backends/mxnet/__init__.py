"""MXNet Gluon, imperative and hybridized with its loss, on the CPU or a CUDA device.

Images are kept in MXNet's own NCHW. MXNet has no call for its threads: it reads OMP_NUM_THREADS.
"""

# ruff: noqa: N803  `F`, which is `nd` or, in a trace, `sym`, is Gluon's own name

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, partial
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

if np.lib.NumpyVersion(np.__version__) >= "1.24.0":
    raise ImportError(
        f"MXNet 1.9.1 needs NumPy below 1.24, this interpreter has {np.__version__}; "
        "make one that fits: bakeoff install mxnet"
    )

# Read by libgomp when MXNet loads it. Threads that spin without end starve each other; to wake one
# that sleeps costs more than most operators: 2 to 4 times the step. So they spin for a moment.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
# A copy by several threads leaves a second team of them, beside which libgomp does not spin at all.
os.environ.setdefault("MXNET_CPU_PARALLEL_SIZE", str(2**31 - 1))
# MXNet's own OpenBLAS (1.9.1) takes a newer CPU for one without AVX: 2.2 times the time.
if "avx2" in (Path("/proc/cpuinfo").read_text() if sys.platform == "linux" else ""):
    os.environ.setdefault("OPENBLAS_CORETYPE", "Haswell")

# On a GPU; the second is read by cuBLAS and cuDNN, of which MXNet has no switch for TF32.
os.environ["MXNET_CUDNN_AUTOTUNE_DEFAULT"] = "0"
os.environ["NVIDIA_TF32_OVERRIDE"] = "0"

import mxnet as mx
from mxnet import autograd, gluon, nd
from mxnet.gluon import nn, rnn

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
from ...models.layers.convolution import Pads
from ...models.losses import MAE, MSE, BinaryCrossEntropy, Huber, SoftmaxCrossEntropy
from ...models.optimizers import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop
from ...models.shapes import pair
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

Array = Any  # an NDArray, or a Symbol while Gluon traces a hybridized block
Lowered = tuple[gluon.HybridBlock, dict[str, gluon.Parameter]]  # the layer, its variables by role

LAYOUT: Layout = {}  # MXNet's own order of axes is the canonical one


# Layers


def dense(node: Node[Dense]) -> Lowered:
    layer = node.layer
    block = nn.Dense(
        layer.units, flatten=False, use_bias=layer.use_bias, in_units=node.input_shape[-1]
    )
    return block, _weight_and_bias(block)


def conv1d(node: Node[Conv1D]) -> Lowered:
    layer = node.layer
    return _convolution(node, nn.Conv1D, layer.kernel_size, layer.stride, layer.dilation)


def conv2d(node: Node[Conv2D]) -> Lowered:
    layer = node.layer
    sizes = (pair(layer.kernel_size), pair(layer.stride), pair(layer.dilation))
    return _convolution(node, nn.Conv2D, *sizes)


def _convolution(
    node: Node[Conv1D] | Node[Conv2D],
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


def _pad(pads: Pads) -> Callable[..., Array]:
    """Zeros around space. `F.pad` takes 4 axes: those of a signal are [N, 1, C, L] in it."""
    width = (0,) * (8 - 2 * len(pads)) + tuple(amount for both in pads for amount in both)

    def pad(F: Any, x: Array) -> Array:
        image = x if len(pads) == 2 else F.expand_dims(x, axis=1)
        image = F.pad(image, mode="constant", pad_width=width, constant_value=0)
        return image if len(pads) == 2 else F.squeeze(image, axis=1)

    return pad


def conv_transpose2d(node: Node[ConvTranspose2D]) -> Lowered:
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


def max_pool2d(node: Node[MaxPool2D]) -> Lowered:
    layer = node.layer
    stride = pair(layer.stride or layer.kernel_size)
    return nn.MaxPool2D(pair(layer.kernel_size), stride, pair(layer.padding)), {}


def avg_pool2d(node: Node[AvgPool2D]) -> Lowered:
    layer = node.layer
    stride = pair(layer.stride or layer.kernel_size)
    sizes = (pair(layer.kernel_size), stride, pair(layer.padding))
    return nn.AvgPool2D(*sizes, count_include_pad=layer.count_include_pad), {}


def global_avg_pool1d(node: Node[GlobalAvgPool1D]) -> Lowered:
    return nn.HybridLambda(lambda F, x: F.mean(x, axis=1)), {}


def global_avg_pool2d(node: Node[GlobalAvgPool2D]) -> Lowered:
    # nn.GlobalAvgPool2D of MXNet 1.9.1 adds naively: 1e-5 off at 512x512.
    return nn.HybridLambda(lambda F, x: F.mean(x, axis=(2, 3))), {}


def flatten(node: Node[Flatten]) -> Lowered:
    return nn.Flatten(), {}


def reshape(node: Node[Reshape]) -> Lowered:
    return nn.HybridLambda(lambda F, x: x.reshape((-1, *node.output_shape))), {}


def permute(node: Node[Permute]) -> Lowered:
    axes = (0, *(axis + 1 for axis in node.layer.axes))
    return nn.HybridLambda(lambda F, x: F.transpose(x, axes=axes)), {}


def batch_norm(node: Node[BatchNorm]) -> Lowered:
    layer = node.layer
    block = _BatchNorm(
        momentum=1 - layer.momentum, epsilon=layer.epsilon, in_channels=node.input_shape[0]
    )
    return block, {role: getattr(block, role) for role in layer.weights(node.input_shape)}


def layer_norm(node: Node[LayerNorm]) -> Lowered:
    block = _LayerNorm(epsilon=node.layer.epsilon, in_channels=node.input_shape[-1])
    return block, {"gamma": block.gamma, "beta": block.beta}


def embedding(node: Node[Embedding]) -> Lowered:
    block = nn.Embedding(node.layer.vocabulary_size, node.layer.units)
    return block, {"weight": block.weight}


def simple_rnn(node: Node[SimpleRNN]) -> Lowered:
    return _recurrent(node, rnn.RNN, activation=node.layer.activation)


def lstm(node: Node[LSTM]) -> Lowered:
    return _recurrent(node, rnn.LSTM)


def gru(node: Node[GRU]) -> Lowered:
    return _recurrent(node, rnn.GRU)


def _recurrent(
    node: Node[SimpleRNN] | Node[LSTM] | Node[GRU],
    native: type[gluon.HybridBlock],
    **options: str,
) -> Lowered:
    layer, (steps, inputs) = node.layer, node.input_shape
    block = native(
        layer.units,
        layout="NTC",
        input_size=inputs,
        bidirectional=layer.bidirectional,
        **options,
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


def multi_head_attention(node: Node[MultiHeadAttention]) -> Lowered:
    block = _Attention(node)
    return block, {role: getattr(block, role) for role in ROLES}


def relu(node: Node[ReLU]) -> Lowered:
    return nn.Activation("relu"), {}


def leaky_relu(node: Node[LeakyReLU]) -> Lowered:
    slope = node.layer.negative_slope
    return _Exact(nn.LeakyReLU(slope), lambda F, x: F.where(x > 0, x, x * slope)), {}


def elu(node: Node[ELU]) -> Lowered:
    alpha = node.layer.alpha
    return _Exact(
        nn.ELU(alpha), lambda F, x: F.where(x > 0, x, alpha * F.expm1(F.minimum(x, 0)))
    ), {}


def gelu(node: Node[GELU]) -> Lowered:
    if node.layer.approximation == "none":
        return _Exact(nn.GELU(), _gelu), {}
    a, b = math.sqrt(2 / math.pi), 0.044715
    return nn.HybridLambda(lambda F, x: x * (1 + F.tanh(a * (x + b * x * x * x))) / 2), {}


def sigmoid(node: Node[Sigmoid]) -> Lowered:
    return nn.Activation("sigmoid"), {}


def hard_sigmoid(node: Node[HardSigmoid]) -> Lowered:
    # The slope of nd.hard_sigmoid is a float32.
    return nn.HybridLambda(lambda F, x: F.clip(x / 6 + 0.5, 0, 1)), {}


def tanh(node: Node[Tanh]) -> Lowered:
    return nn.Activation("tanh"), {}


def softplus(node: Node[Softplus]) -> Lowered:
    return nn.HybridLambda(_softplus), {}


def silu(node: Node[SiLU]) -> Lowered:
    return nn.HybridLambda(lambda F, x: x * F.sigmoid(x)), {}


def softmax(node: Node[Softmax]) -> Lowered:
    return nn.HybridLambda(lambda F, x: F.softmax(x, axis=-1)), {}


def dropout(node: Node[Dropout]) -> Lowered:
    return _Dropout(node.key, node.layer.rate), {}


def residual(node: Node[Residual]) -> Lowered:
    body, variables = _lower(node.branches["body"])
    shortcut, others = _lower(node.branches["shortcut"])
    return _Residual(body, shortcut), variables | others


def concat(node: Node[Concat]) -> Lowered:
    paths: list[_Sequence] = []
    variables: dict[str, gluon.Parameter] = {}
    for nodes in node.branches.values():
        path, own = _lower(nodes)
        paths.append(path)
        variables |= own
    return _Concat(paths), variables


def _weight_and_bias(block: gluon.HybridBlock) -> dict[str, gluon.Parameter]:
    return {"weight": block.weight} | ({} if block.bias is None else {"bias": block.bias})


def _chain(function: Callable[..., Array], block: gluon.HybridBlock) -> gluon.HybridBlock:
    both = nn.HybridSequential()
    both.add(nn.HybridLambda(function), block)
    return both


def _softplus(F: Any, x: Array) -> Array:
    """max(x, 0) + log(1 + e^-|x|); the native softrelu of oneDNN is 2e-6 off (MXNet 1.9.1)."""
    magnitude = F.where(x > 0, x, -x)  # relu(x) leaves it to |x| to have a derivative at 0
    return F.relu(x) + F.log1p(F.exp(-magnitude))


def _gelu(F: Any, x: Array) -> Array:
    """x Φ(x), and its slope; `erf` of a float64 has a slope rounded to float32 (MXNet 1.9.1)."""
    at = F.BlockGrad(x)
    phi = (1 + F.erf(at / math.sqrt(2))) / 2
    density = F.exp(-at * at / 2) / math.sqrt(2 * math.pi)
    return at * phi + (phi + at * density) * (x - at)


class _Exact(gluon.HybridBlock):
    """A native layer; in float64 its formula, as its attributes are float32 (MXNet 1.9.1)."""

    _float64 = False

    def __init__(self, native: gluon.HybridBlock, formula: Callable[..., Array]) -> None:
        super().__init__()
        self._native, self._formula = native, formula

    def cast(self, dtype: str) -> None:
        super().cast(dtype)
        self._float64 = dtype == "float64"

    def hybrid_forward(self, F: Any, x: Array) -> Array:
        return self._formula(F, x) if self._float64 else self._native(x)


class _BatchNorm(nn.BatchNorm):
    """The native layer; its momentum is a float32 (MXNet 1.9.1).

    In float64 it leaves this batch's statistics in the running ones, and the trainer weighs them.
    """

    def cast(self, dtype: str) -> None:
        super().cast(dtype)
        if dtype == "float64":
            self._kwargs["momentum"] = 0


class _LayerNorm(nn.LayerNorm):
    """The native layer; in float64 the formula, as its epsilon is a float32 (MXNet 1.9.1)."""

    _float64 = False

    def cast(self, dtype: str) -> None:
        super().cast(dtype)
        self._float64 = dtype == "float64"

    def hybrid_forward(self, F: Any, x: Array, gamma: Array, beta: Array) -> Array:
        if not self._float64:
            return super().hybrid_forward(F, x, gamma, beta)
        centred = F.broadcast_sub(x, F.mean(x, axis=-1, keepdims=True))
        var = F.mean(F.square(centred), axis=-1, keepdims=True)
        normal = F.broadcast_div(centred, F.sqrt(var + self._epsilon))
        return F.broadcast_add(F.broadcast_mul(normal, gamma), beta)


class _Recurrent(gluon.HybridBlock):
    """The fused layer, from a state of zeros, and its states or the last one.

    The fused relu rounds a float64 to float32 (MXNet 1.9.1), so that takes the cells.
    """

    def __init__(self, native: gluon.HybridBlock, steps: int, return_sequences: bool) -> None:
        super().__init__()
        self._native, self._steps, self._return_sequences = native, steps, return_sequences
        self._zeros_of: dict[int, list[Array]] = {}  # by the number of samples

    def hybrid_forward(self, F: Any, x: Array) -> Array:
        fused = (self._native._mode, self._native._dtype) != ("rnn_relu", "float64")
        states, last = self._fused(F, x) if fused else self._unrolled(F, x)
        return states if self._return_sequences else last

    def _fused(self, F: Any, x: Array) -> tuple[Array, Array]:
        states, final = self._native(x, self._zeros(F, x, self._native))
        last = final[0]  # [directions, N, units]; an LSTM's is [h, c]
        directions, units = self._native._dir, self._native._hidden_size
        if directions > 1:
            last = F.swapaxes(last, 0, 1)
        return states, last.reshape((-1, directions * units))

    def _unrolled(self, F: Any, x: Array) -> tuple[Array, Array]:
        cells = self._native._unfuse()
        zeros = self._zeros(F, x, cells)
        states, final = cells.unroll(self._steps, x, zeros, layout="NTC", merge_outputs=True)
        return states, F.concat(*final, dim=-1)

    def _zeros(self, F: Any, x: Array, block: gluon.Block) -> list[Array]:
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
    def __init__(self, node: Node[MultiHeadAttention]) -> None:
        super().__init__()
        (steps, features), layer = node.input_shape, node.layer
        for role in ROLES:
            setattr(self, role, self.params.get(role, shape=(features, features)))
        if layer.causal:
            future = np.triu(np.full((1, steps, steps), -1e30, np.float32), 1)
            self.future = self.params.get_constant("future", future)
        self._heads, self._features = layer.num_heads, features

    def hybrid_forward(
        self, F: Any, x: Array, *, future: Array | None = None, **weights: Array
    ) -> Array:
        mix = partial(F.FullyConnected, num_hidden=self._features, no_bias=True, flatten=False)
        q, k, v = (self._split(F, mix(x, weights[role])) for role in ROLES[:3])
        scores = F.batch_dot(q * (self._features // self._heads) ** -0.5, k, transpose_b=True)
        if future is not None:
            scores = F.broadcast_add(scores, future)
        y = F.batch_dot(F.softmax(scores, axis=-1), v)
        return mix(self._join(F, y), weights["output_weight"])

    def _split(self, F: Any, x: Array) -> Array:
        """[N, T, D] -> [N·heads, T, D / heads]"""
        heads = F.reshape(x, shape=(0, 0, self._heads, -1))
        return F.reshape(F.transpose(heads, axes=(0, 2, 1, 3)), shape=(-3, 0, 0))

    def _join(self, F: Any, x: Array) -> Array:
        """[N·heads, T, D / heads] -> [N, T, D]"""
        heads = F.reshape(x, shape=(-4, -1, self._heads, 0, 0))
        return F.reshape(F.transpose(heads, axes=(0, 2, 1, 3)), shape=(0, 0, -3))


class _Dropout(nn.Dropout):
    """Native dropout, or the supplied mask, already divided by 1 - rate."""

    def __init__(self, key: str, rate: float) -> None:
        super().__init__(rate)
        self._key = key

    def hybrid_forward(self, F: Any, x: Array, run: _Pass) -> Array:
        return x * run.scales[self._key] if run.scales else super().hybrid_forward(F, x)


class _Residual(gluon.HybridBlock):
    def __init__(self, body: _Sequence, shortcut: _Sequence) -> None:
        super().__init__()
        self._body, self._shortcut = body, shortcut

    def hybrid_forward(self, F: Any, x: Array, run: _Pass) -> Array:
        return self._body(x, run) + self._shortcut(x, run)


class _Concat(gluon.HybridBlock):
    def __init__(self, paths: Sequence[_Sequence]) -> None:
        super().__init__()
        self._paths = paths
        for path in paths:
            self.register_child(path)

    def hybrid_forward(self, F: Any, x: Array, run: _Pass) -> Array:
        return F.concat(*[path(x, run) for path in self._paths], dim=1)


# Losses: a block of (logits, targets) that gives one loss per sample


def mse(loss: MSE) -> gluon.loss.Loss:
    return gluon.loss.L2Loss(weight=2)  # it has a half


def mae(loss: MAE) -> gluon.loss.Loss:
    return gluon.loss.L1Loss()


def huber(loss: Huber) -> gluon.loss.Loss:
    return gluon.loss.HuberLoss(rho=loss.delta, weight=loss.delta)  # it is divided by rho


def softmax_cross_entropy(loss: SoftmaxCrossEntropy) -> gluon.loss.Loss:
    return _SoftmaxCrossEntropy(loss.label_smoothing)


def binary_cross_entropy(loss: BinaryCrossEntropy) -> gluon.loss.Loss:
    return _BinaryCrossEntropy(weight=None, batch_axis=0)


class _SoftmaxCrossEntropy(gluon.loss.SoftmaxCrossEntropyLoss):
    """The native loss; its log_softmax by oneDNN is 3e-6 off in float32 (MXNet 1.9.1)."""

    def __init__(self, label_smoothing: float) -> None:
        super().__init__(from_logits=True)
        self._smoothing = label_smoothing

    def hybrid_forward(self, F: Any, z: Array, y: Array) -> Array:
        # Naming a temperature keeps it from oneDNN; that costs time only with 100s of classes.
        logs = F.log_softmax(z, axis=-1, temperature=1)
        loss = super().hybrid_forward(F, logs, y)
        if not self._smoothing:
            return loss
        return (1 - self._smoothing) * loss - self._smoothing * F.mean(logs, axis=-1)


class _BinaryCrossEntropy(gluon.loss.Loss):
    """softplus(z) - z y: the native loss with log1p, and right where z = 0.

    Native (MXNet 1.9.1): 2e-6 off by oneDNN's softrelu, even below 0, and the gradient -y at 0.
    """

    def hybrid_forward(self, F: Any, z: Array, y: Array) -> Array:
        return F.mean(_softplus(F, z) - z * y, axis=self._batch_axis, exclude=True)


# Optimizers: MXNet's fused operators in float32. Their attributes are float32 whatever the weights
# are (1.9.1), so float64 takes the formula in NDArray arithmetic, whose scalars are float64.

_Slots = tuple[Array, ...]


def sgd(optimizer: SGD, slots: list[_Slots], step: int) -> _Optimizer:
    return _SGD(optimizer, slots, step)


def adam(optimizer: Adam, slots: list[_Slots], step: int) -> _Optimizer:
    return _Adam(optimizer, slots, step)


def adamw(optimizer: AdamW, slots: list[_Slots], step: int) -> _Optimizer:
    return _AdamW(optimizer, slots, step)


def rmsprop(optimizer: RMSprop, slots: list[_Slots], step: int) -> _Optimizer:
    return _RMSprop(optimizer, slots, step)


def adagrad(optimizer: Adagrad, slots: list[_Slots], step: int) -> _Optimizer:
    return _Adagrad(optimizer, slots, step)


class _Optimizer(mx.optimizer.Optimizer):
    """What a Gluon trainer drives, one `update` per weight and step; it starts from our slots.

    A fused operator keeps a slot in units of its own: in float32 that is ours times `units`.
    """

    def __init__(self, spec: Any, slots: list[_Slots], step: int) -> None:
        super().__init__(learning_rate=spec.learning_rate, begin_num_update=step)
        self.spec, self.slots = spec, slots

    @cached_property
    def units(self) -> tuple[float, ...]:
        return (1.0,)

    def create_state(self, index: int, weight: Array) -> _Slots:
        return self.slots[index]

    def update(self, index: int, weight: Array, grad: Array, state: _Slots) -> None:
        self._update_count(index)
        step = self._index_update_count[index]
        formula = self.in_float64 if weight.dtype == np.float64 else self.in_float32
        formula(weight, grad, state, step)


class _SGD(_Optimizer):
    """The native velocity holds the rate, for which the one that does not change is taken."""

    @cached_property
    def units(self) -> tuple[float, ...]:
        return (-self.spec.learning_rate,)

    def in_float32(self, w: Array, g: Array, slots: _Slots, step: int) -> None:
        spec, rate = self.spec, self.spec.rate(step - 1)
        if not slots:
            nd.sgd_update(w, g, out=w, lr=rate, wd=spec.weight_decay)
            return
        (velocity,) = slots
        constant = spec.learning_rate
        native = rate == constant and not spec.nesterov
        options = {"lr": constant, "momentum": spec.momentum, "wd": spec.weight_decay}
        nd.sgd_mom_update(w, g, velocity, out=w if native else None, **options)
        if native:
            return
        if spec.nesterov:
            nd.sgd_update(w, g, out=w, lr=rate, wd=spec.weight_decay)
            rate *= spec.momentum
        nd.sgd_update(w, velocity, out=w, lr=-rate / constant)

    def in_float64(self, w: Array, g: Array, slots: _Slots, step: int) -> None:
        spec = self.spec
        g = _decayed(g, w, spec.weight_decay)
        for velocity in slots:
            velocity *= spec.momentum
            velocity += g
            g = g + spec.momentum * velocity if spec.nesterov else velocity
        w -= spec.rate(step - 1) * g


class _Adam(_Optimizer):
    """`adam_update` forms 1 - β in float32, 1e-5 off at 0.999: its slots are that much larger."""

    @cached_property
    def units(self) -> tuple[float, ...]:
        return _excess(self.spec.beta1), _excess(self.spec.beta2)

    def in_float32(self, w: Array, g: Array, slots: _Slots, step: int) -> None:
        self._in_float32(w, g, slots, step, self.spec.weight_decay)

    def in_float64(self, w: Array, g: Array, slots: _Slots, step: int) -> None:
        self._in_float64(w, _decayed(g, w, self.spec.weight_decay), slots, step)

    def _in_float32(self, w: Array, g: Array, slots: _Slots, step: int, decay: float) -> None:
        spec, (unit_m, unit_v) = self.spec, self.units
        # native: m / (√v + ε), the paper's closing form
        correction = math.sqrt((1 - spec.beta2**step) * unit_v)
        options = {
            "lr": spec.rate(step - 1) * correction / ((1 - spec.beta1**step) * unit_m),
            "beta1": spec.beta1,
            "beta2": spec.beta2,
            "epsilon": spec.epsilon * correction,
            "wd": decay,
        }
        nd.adam_update(w, g, *slots, out=w, **options)

    def _in_float64(self, w: Array, g: Array, slots: _Slots, step: int) -> None:
        spec, (m, v) = self.spec, slots
        m *= spec.beta1
        m += (1 - spec.beta1) * g
        v *= spec.beta2
        v += (1 - spec.beta2) * g * g
        mhat = m / (1 - spec.beta1**step)
        vhat = v / (1 - spec.beta2**step)
        w -= spec.rate(step - 1) * mhat / (nd.sqrt(vhat) + spec.epsilon)


class _AdamW(_Adam):
    def in_float32(self, w: Array, g: Array, slots: _Slots, step: int) -> None:
        w *= 1 - self.spec.rate(step - 1) * self.spec.weight_decay
        self._in_float32(w, g, slots, step, 0)

    def in_float64(self, w: Array, g: Array, slots: _Slots, step: int) -> None:
        w *= 1 - self.spec.rate(step - 1) * self.spec.weight_decay
        self._in_float64(w, g, slots, step)


class _RMSprop(_Optimizer):
    @cached_property
    def units(self) -> tuple[float, ...]:
        return (_excess(self.spec.rho),)

    def in_float32(self, w: Array, g: Array, slots: _Slots, step: int) -> None:
        spec, (unit,) = self.spec, self.units
        rate = spec.rate(step - 1) * math.sqrt(unit)
        options = {"gamma1": spec.rho, "epsilon": spec.epsilon * unit, "wd": spec.weight_decay}
        nd.rmsprop_update(w, g, *slots, out=w, lr=rate, **options)

    def in_float64(self, w: Array, g: Array, slots: _Slots, step: int) -> None:
        spec, (s,) = self.spec, slots
        g = _decayed(g, w, spec.weight_decay)
        s *= spec.rho
        s += (1 - spec.rho) * g * g
        w -= spec.rate(step - 1) * g / nd.sqrt(s + spec.epsilon)


class _Adagrad(_Optimizer):
    def in_float64(self, w: Array, g: Array, slots: _Slots, step: int) -> None:
        spec, (s,) = self.spec, slots
        g = _decayed(g, w, spec.weight_decay)
        s += g * g
        w -= spec.rate(step - 1) * g / nd.sqrt(s + spec.epsilon)

    in_float32 = in_float64  # for dense gradients MXNet has no fused operator


def _decayed(g: Array, w: Array, weight_decay: float) -> Array:
    return g + weight_decay * w if weight_decay else g


def _excess(beta: float) -> float:
    """Return how much too large 1 - β is when it is formed in float32."""
    return float(1 - np.float32(beta)) / (1 - beta)


def _clip(spec: Optimizer, gradients: list[Array]) -> None:
    if spec.clip_value:  # not nd.clip, whose bounds are float32
        for g in gradients:
            g[:] = nd.minimum(nd.maximum(g, -spec.clip_value), spec.clip_value)
    if spec.clip_norm:  # Gluon's clip_global_norm takes float32 alone, and waits
        norm = nd.sqrt(nd.add_n(*[nd.sum(g * g) for g in gradients]))
        scale = nd.minimum(spec.clip_norm / norm, 1)
        for g in gradients:
            g *= scale


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
    return str(mx.__version__)


def devices() -> list[str]:
    count = mx.context.num_gpus()
    return ["cpu", *(["cuda"] if count else []), *(f"cuda:{i}" for i in range(count))]


def settings(execution: Execution) -> dict[str, str]:
    names = ["OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OPENBLAS_CORETYPE"]
    if execution.device != "cpu":
        names += ["MXNET_CUDNN_AUTOTUNE_DEFAULT", "NVIDIA_TF32_OVERRIDE"]
    made = {name: os.environ[name] for name in names if name in os.environ}
    if execution.mode == "compiled":
        made["hybridize"] = "static_alloc=True, static_shape=True"
    return made


def build(
    model: Model, weights: Weights, execution: Execution, *, seed: int, state: Weights | None
) -> _Trainer:
    refuse_unsupported(sys.modules[__name__], model, execution)
    mx.random.seed(seed)
    return _Trainer(model, weights, execution, state)


class _Batch(NamedTuple):
    x: Array
    y: Array
    scales: list[Array]  # the masks, divided by 1 - rate, in the order of the model


class _Pass(NamedTuple):
    """One forward pass: what the blocks need beside their input, and where outputs are kept."""

    scales: dict[str, Array]
    outputs: dict[str, Array] | None


_TAKE_PASS = (_Dropout, _Residual, _Concat)


class _Sequence(gluon.HybridBlock):
    def __init__(self, blocks: dict[str, gluon.HybridBlock]) -> None:
        super().__init__()
        for key, block in blocks.items():
            self.register_child(block, key)

    def hybrid_forward(self, F: Any, x: Array, run: _Pass) -> Array:
        for key, block in self._children.items():
            x = block(x, run) if isinstance(block, _TAKE_PASS) else block(x)
            if run.outputs is not None:
                run.outputs[key] = x
        return x


def _lower(nodes: Sequence[Node[Layer]]) -> tuple[_Sequence, dict[str, gluon.Parameter]]:
    """Return the native network of `nodes`, and its parameters by canonical name."""
    blocks: dict[str, gluon.HybridBlock] = {}
    parameters: dict[str, gluon.Parameter] = {}
    for node in nodes:
        blocks[node.key], variables = LAYERS[type(node.layer)](node)
        for role, variable in variables.items():  # a composite has named its own already
            parameters[role if node.branches else f"{node.key}.{role}"] = variable
    return _Sequence(blocks), parameters


def _momenta(model: Model) -> dict[str, float]:
    """Return the momentum of every running statistic, by name."""
    return {
        name: node.layer.momentum
        for node in model.walk()
        if isinstance(node.layer, BatchNorm)
        for name, spec in node.weights.items()
        if not spec.trainable
    }


class _Trainer:
    def __init__(
        self, model: Model, weights: Weights, execution: Execution, state: Weights | None
    ) -> None:
        slots, step = starting_state(model, weights, state)
        self._keys = [node.key for node in model.walk()]
        self._rates = {n.key: n.layer.rate for n in model.walk() if isinstance(n.layer, Dropout)}
        self._slots = model.optimizer.slots()
        self._axes = native_axes(LAYOUT, model)
        kind, _, index = execution.device.partition(":")
        self._device = mx.cpu() if kind == "cpu" else mx.gpu(int(index or 0))
        self._dtype = execution.dtype
        self._compiled = execution.mode == "compiled"

        self._network, parameters = _lower(model.nodes)
        self._network.cast(self._dtype)
        self._network.initialize(mx.init.Zero(), ctx=self._device)
        self._variables = {name: parameters[name] for name in model.weights}
        self._parameters = {name: parameters[name] for name in model.trainable}
        self._momenta = _momenta(model)
        for name, variable in self._variables.items():
            variable.set_data(self._native(name, weights[name]))
        native_slots = [
            tuple(self._native(name, slots[f"{name}.{slot}"]) for slot in self._slots)
            for name in self._parameters
        ]
        make_optimizer = OPTIMIZERS[type(model.optimizer)]
        self._optimizer = make_optimizer(model.optimizer, native_slots, step)
        units = self._optimizer.units if self._dtype == "float32" else (1.0,) * len(self._slots)
        self._units = dict(zip(self._slots, units, strict=False))
        for arrays in native_slots:
            for array, unit in zip(arrays, self._units.values(), strict=True):
                array *= unit
        self._clipped = bool(model.optimizer.clip_value or model.optimizer.clip_norm)
        parameters_in_order = list(self._parameters.values())
        self._trainer = gluon.Trainer(parameters_in_order, self._optimizer, kvstore=None)
        self._loss = LOSSES[type(model.loss)](model.loss)
        # One block with masks, one without: once hybridized, a block takes what it was traced on.
        self._mean_loss = {masked: self._whole(self._forward_loss) for masked in (False, True)}
        self._logits = self._whole(self._forward_logits)

    def stage(self, x: np.ndarray, y: np.ndarray, masks: Masks | None) -> _Batch:
        scales = [
            self._staged(masks[key].astype(self._dtype) / (1 - rate))
            for key, rate in self._rates.items()
            if masks
        ]
        return _Batch(self._staged(x), self._staged(y), scales)

    def hold(self, x: np.ndarray, y: np.ndarray) -> Callable[[np.ndarray], Iterable[_Batch]]:
        images, labels = self._staged(x), self._staged(y)

        def gather(rows: Array) -> _Batch:
            return _Batch(images.take(rows), labels.take(rows), [])

        return lambda order: map(gather, self._staged(order))

    def train(self, batches: Iterable[_Batch]) -> np.ndarray:
        losses = []
        for batch in batches:
            before = self._statistics() if self._dtype == "float64" else {}
            losses.append(self._backward(batch))
            if before:
                self._weigh(before)
            self._take_step()
        nd.waitall()
        return np.concatenate([loss.asnumpy() for loss in losses])

    def split(self, batch: _Batch) -> dict[str, float]:
        began = _now()
        before = self._statistics() if self._dtype == "float64" else {}
        loss = self._forward(batch)
        forward = _now()
        loss.backward()
        if before:
            self._weigh(before)
        backward = _now()
        self._take_step()
        return {
            "forward": forward - began,
            "backward": backward - forward,
            "update": _now() - backward,
        }

    def _take_step(self) -> None:
        if self._clipped:
            _clip(self._optimizer.spec, [p.grad() for p in self._parameters.values()])
        self._trainer.step(1)

    def gradients(self, batch: _Batch) -> tuple[float, Weights]:
        before = self._statistics()
        loss = self._backward(batch)
        self._put_back(before)
        gradients = {name: self._canonical(name, p.grad()) for name, p in self._parameters.items()}
        return loss.asscalar().item(), gradients

    def activations(self, batch: _Batch) -> dict[str, np.ndarray]:
        before = self._statistics()
        with autograd.train_mode():
            arrays = self._whole(self._forward_outputs)(batch.x, *batch.scales)
        self._put_back(before)
        return {key: array.asnumpy() for key, array in zip(self._keys, arrays, strict=True)}

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self._logits(self._staged(x)).asnumpy()

    def weights(self) -> Weights:
        return {name: self._canonical(name, v.data()) for name, v in self._variables.items()}

    def state(self) -> Weights:
        slots = {
            f"{name}.{slot}": self._canonical(name, array / self._units[slot])
            for name, arrays in zip(self._parameters, self._optimizer.slots, strict=True)
            for slot, array in zip(self._slots, arrays, strict=True)
        }
        return slots | {"step": np.array(self._optimizer.num_update)}

    def _statistics(self) -> dict[str, Array]:
        """Return the running statistics as they are; the backward pass moves them."""
        before = {name: self._variables[name].data().copy() for name in self._momenta}
        self._settle()
        return before

    def _put_back(self, before: dict[str, Array]) -> None:
        self._settle()
        for name, old in before.items():
            self._variables[name].data()[:] = old

    def _weigh(self, before: dict[str, Array]) -> None:
        """Weigh the statistics of the last batch, which stand in the running ones, with the old."""
        self._settle()
        for name, old in before.items():
            momentum, new = self._momenta[name], self._variables[name].data()
            new[:] = (1 - momentum) * old + momentum * new

    def _settle(self) -> None:
        """Wait, for the engine is not told what a hybridized backward pass writes (MXNet 1.9.1)."""
        if self._momenta and self._compiled:
            nd.waitall()

    def _forward(self, batch: _Batch) -> Array:
        with autograd.record():
            return self._mean_loss[bool(batch.scales)](batch.x, batch.y, *batch.scales)

    def _backward(self, batch: _Batch) -> Array:
        loss = self._forward(batch)
        loss.backward()
        return loss

    def _forward_logits(self, F: Any, x: Array) -> Array:
        return self._network(x, _Pass({}, None))

    def _forward_loss(self, F: Any, x: Array, y: Array, *scales: Array) -> Array:
        logits = self._network(x, _Pass(dict(zip(self._rates, scales, strict=False)), None))
        return F.mean(self._loss(logits, y))

    def _forward_outputs(self, F: Any, x: Array, *scales: Array) -> list[Array]:
        outputs: dict[str, Array] = {}
        self._network(x, _Pass(dict(zip(self._rates, scales, strict=False)), outputs))
        return list(outputs.values())

    def _whole(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function of arrays around the network, as one hybridized block if compiled."""
        if not self._compiled:
            return partial(function, nd)
        block = nn.HybridLambda(function)
        block.register_child(self._network)
        block.hybridize(static_alloc=True, static_shape=True)
        return block

    def _staged(self, array: np.ndarray) -> Array:
        """Return an array on the device; on the CPU it is the caller's memory: a copy is slow."""
        # A view, because MXNet makes what it is given read-only.
        return nd.from_numpy(array.view(), zero_copy=True).as_in_context(self._device)

    def _native(self, name: str, array: np.ndarray) -> Array:
        """Return a canonical array, of the weight `name` or of its slot, in MXNet's layout."""
        native = to_native(array, self._axes.get(name))
        return nd.array(native, ctx=self._device, dtype=self._dtype)

    def _canonical(self, name: str, array: Array) -> np.ndarray:
        return to_canonical(array.asnumpy(), self._axes.get(name)).copy(order="C")


def _now() -> float:
    """Return the time when all that was asked of the engine is done."""
    nd.waitall()
    return perf_counter()
