"""NumPy, as fast as it goes: a plan per batch size, and no memory taken while it trains.

How a plan works stands in `plan.py`; the formulas by themselves in `reference/`, whose layer
functions are used as they are for what no plan is worth. No compiler, no framework.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Any

import numpy as np

from ...models import Model
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
from ...models.losses import MAE, MSE, BinaryCrossEntropy, Huber, SoftmaxCrossEntropy
from ...models.optimizers import SGD, Adagrad, Adam, AdamW, RMSprop
from .. import aligned, reference
from ..contract import (
    Deviation,
    Execution,
    Gap,
    Masks,
    Mode,
    Weights,
    refuse_unsupported,
    starting_state,
)
from . import losses, optimizers
from .composite import concat, residual
from .convolution import conv2d, pooled_conv2d
from .dense import dense
from .elementwise import dropout, flatten, permute, relu, reshape, sigmoid, tanh
from .normalization import batch_norm
from .plan import Array, Parameters, Pass, Plan, Tables, canonical, views
from .pooling import (
    avg_pool2d,
    global_avg_pool1d,
    global_avg_pool2d,
    max_pool2d,
    pooled_relu,
)
from .recurrent import lstm

LAYERS: dict[type, Callable[..., Any]] = {
    Dense: dense,
    Conv1D: canonical(reference.conv1d),
    Conv2D: conv2d,
    ConvTranspose2D: canonical(reference.conv_transpose2d),
    MaxPool2D: max_pool2d,
    AvgPool2D: avg_pool2d,
    GlobalAvgPool1D: global_avg_pool1d,
    GlobalAvgPool2D: global_avg_pool2d,
    Flatten: flatten,
    Reshape: reshape,
    Permute: permute,
    BatchNorm: batch_norm,
    LayerNorm: canonical(reference.layer_norm),
    Embedding: canonical(reference.embedding),
    SimpleRNN: canonical(reference.simple_rnn),
    LSTM: lstm,
    GRU: canonical(reference.gru),
    MultiHeadAttention: canonical(reference.multi_head_attention),
    ReLU: relu,
    LeakyReLU: canonical(reference.leaky_relu),
    ELU: canonical(reference.elu),
    GELU: canonical(reference.gelu),
    Sigmoid: sigmoid,
    HardSigmoid: canonical(reference.hard_sigmoid),
    Tanh: tanh,
    Softplus: canonical(reference.softplus),
    SiLU: canonical(reference.silu),
    Softmax: canonical(reference.softmax),
    Dropout: dropout,
    Residual: residual,
    Concat: concat,
}
FUSIONS: dict[tuple[type, ...], Callable[..., Any]] = {
    (Conv2D, ReLU, MaxPool2D): pooled_conv2d,
    (Conv2D, MaxPool2D): pooled_conv2d,
    (ReLU, MaxPool2D): pooled_relu,
}
LOSSES: dict[type, Callable[..., Any]] = {
    MSE: losses.mse,
    MAE: losses.canonical(reference.mae),
    Huber: losses.canonical(reference.huber),
    SoftmaxCrossEntropy: losses.softmax_cross_entropy,
    BinaryCrossEntropy: losses.canonical(reference.binary_cross_entropy),
}
OPTIMIZERS: dict[type, Callable[..., Any]] = {
    SGD: optimizers.sgd,
    Adam: optimizers.adam,
    AdamW: optimizers.adamw,
    RMSprop: optimizers.canonical(reference.rmsprop),
    Adagrad: optimizers.canonical(reference.adagrad),
}

MODES: tuple[Mode, ...] = ("eager",)
UNSUPPORTED: dict[Gap, str] = {"compiled": "NumPy has no compiler; use --mode eager"}
DEVIATIONS: dict[str, Deviation] = {}

_Batch = tuple[Array, Array, Masks | None]


def version() -> str:
    return np.__version__


def devices() -> list[str]:
    return ["cpu"]


def build(
    model: Model, weights: Weights, execution: Execution, *, seed: int, state: Weights | None
) -> _Trainer:
    refuse_unsupported(sys.modules[__name__], model, execution)
    return _Trainer(model, weights, np.dtype(execution.dtype), seed, state)


class _Trainer:
    def __init__(
        self, model: Model, weights: Weights, dtype: np.dtype, seed: int, state: Weights | None
    ) -> None:
        start, self._step = starting_state(model, weights, state)
        self._model = model
        self._rng = np.random.Generator(np.random.Philox(key=seed))
        self._parameters = Parameters(model, weights, dtype)
        self._slots: dict[str, Array] = {}
        for slot in model.optimizer.slots():
            self._slots[slot] = aligned.empty_like(self._parameters.flat)
            for name, part in views(self._slots[slot], model).items():
                np.copyto(part, start[f"{name}.{slot}"])
        self._free = aligned.empty(optimizers.PIECE, dtype)
        self._plans: dict[tuple[int, bool], Plan] = {}

    def stage(self, x: Array, y: Array, masks: Masks | None) -> _Batch:
        return x, y, masks

    def hold(self, x: Array, y: Array) -> Callable[[Array], Iterable[_Batch]]:
        # Not `blocks.gather`: for one batch, aligned memory costs more than it gives.
        return lambda order: ((x.take(rows, 0), y.take(rows, 0), None) for rows in order)

    def train(self, batches: Iterable[_Batch]) -> Array:
        means = []
        for batch in batches:
            means.append(self._derive(batch))
            self._update()
        return np.array(means, self._parameters.flat.dtype)

    def split(self, batch: _Batch) -> dict[str, float]:
        """Take one step; return the seconds that its parts took."""
        times = [perf_counter()]
        plan, _, dlogits = self._forward(batch)
        times.append(perf_counter())
        plan.network.backward(dlogits)
        times.append(perf_counter())
        self._update()
        times.append(perf_counter())
        return dict(zip(("forward", "backward", "update"), np.diff(times).tolist(), strict=True))

    def gradients(self, batch: _Batch) -> tuple[float, Weights]:
        loss = float(self._derive(batch))
        return loss, {name: g.copy() for name, g in self._parameters.gradients.items()}

    def activations(self, batch: _Batch) -> dict[str, Array]:
        x, _, masks = batch
        plan = self._run(x, Pass(training=True, masks=masks), fused=False)
        return {key: _batch_first(y) for key, y in plan.outputs.items()}

    def predict(self, x: Array) -> Array:
        return _batch_first(self._run(x, Pass(training=False)).network.y)

    def weights(self) -> Weights:
        return {name: weight.copy() for name, weight in self._parameters.weights.items()}

    def state(self) -> Weights:
        slots = {
            f"{name}.{slot}": part.copy()
            for slot, flat in self._slots.items()
            for name, part in views(flat, self._model).items()
        }
        return slots | {"step": np.array(self._step)}

    def _run(self, x: Array, run: Pass, *, fused: bool = True) -> Plan:
        """Compute the network of x; its plan holds the outputs until the next time."""
        key = (len(x), fused)
        if key not in self._plans:
            tables = Tables(LAYERS, FUSIONS if fused else {}, LOSSES)
            self._plans[key] = Plan(self._model, len(x), self._parameters, self._rng, tables)
        plan = self._plans[key]
        np.copyto(plan.x, x)
        plan.network.forward(run)
        return plan

    def _forward(self, batch: _Batch) -> tuple[Plan, Any, Array]:
        x, y, masks = batch
        plan = self._run(x, Pass(training=True, masks=masks))
        mean, dlogits = plan.loss(y)
        return plan, mean, dlogits

    def _derive(self, batch: _Batch) -> Any:
        """Compute the mean loss, which is returned, and all gradients."""
        plan, mean, dlogits = self._forward(batch)
        plan.network.backward(dlogits)
        return mean

    def _update(self) -> None:
        parameters = self._parameters
        optimizers.take_step(
            self._model.optimizer,
            parameters.flat,
            parameters.flat_gradient,
            self._slots,
            self._step,
            OPTIMIZERS,
            self._free,
        )
        parameters.take_statistics()
        self._step += 1


def _batch_first(y: Array) -> Array:
    return np.moveaxis(y, -1, 0).copy(order="C")
