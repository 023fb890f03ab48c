"""Each optimizer as one that a Gluon trainer drives: MXNet's fused operators in float32."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import mxnet as mx
import numpy as np
from mxnet import nd

from ...models import optimizers
from ..contract import lowering
from . import float64, formulas
from .formulas import Slots, Tensor


def sgd(optimizer: optimizers.SGD, slots: list[Slots], step: int) -> _Optimizer:
    return _SGD(optimizer, slots, step)


def adam(optimizer: optimizers.Adam, slots: list[Slots], step: int) -> _Optimizer:
    return _Adam(optimizer, slots, step)


def adamw(optimizer: optimizers.AdamW, slots: list[Slots], step: int) -> _Optimizer:
    return _AdamW(optimizer, slots, step)


def rmsprop(optimizer: optimizers.RMSprop, slots: list[Slots], step: int) -> _Optimizer:
    return _RMSprop(optimizer, slots, step)


def adagrad(optimizer: optimizers.Adagrad, slots: list[Slots], step: int) -> _Optimizer:
    return _Adagrad(optimizer, slots, step)


class _Optimizer(mx.optimizer.Optimizer):
    """What a Gluon trainer drives, one `update` per weight and step; it starts from our slots.

    A fused operator keeps a slot in units of its own: in float32 that is ours times `units`.
    """

    def __init__(self, spec: Any, slots: list[Slots], step: int) -> None:
        super().__init__(learning_rate=spec.learning_rate, begin_num_update=step)
        self.spec, self.slots = spec, slots

    @cached_property
    def units(self) -> tuple[float, ...]:
        return (1.0,)

    def create_state(self, index: int, weight: Tensor) -> Slots:
        return self.slots[index]

    def update(self, index: int, weight: Tensor, grad: Tensor, state: Slots) -> None:
        self._update_count(index)
        step = self._index_update_count[index]
        formula = self.in_float64 if weight.dtype == np.float64 else self.in_float32
        formula(weight, grad, state, step)


class _SGD(_Optimizer):
    """The native velocity holds the rate, for which the one that does not change is taken."""

    @cached_property
    def units(self) -> tuple[float, ...]:
        return (-self.spec.learning_rate,)

    def in_float32(self, w: Tensor, g: Tensor, slots: Slots, step: int) -> None:
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

    in_float64 = float64.sgd


class _Adam(_Optimizer):
    """`adam_update` forms 1 - β in float32, 1e-5 off at 0.999: its slots are that much larger."""

    @cached_property
    def units(self) -> tuple[float, ...]:
        return _excess(self.spec.beta1), _excess(self.spec.beta2)

    def in_float32(self, w: Tensor, g: Tensor, slots: Slots, step: int) -> None:
        self._in_float32(w, g, slots, step, self.spec.weight_decay)

    in_float64 = float64.adam

    def _in_float32(self, w: Tensor, g: Tensor, slots: Slots, step: int, decay: float) -> None:
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


class _AdamW(_Adam):
    def in_float32(self, w: Tensor, g: Tensor, slots: Slots, step: int) -> None:
        w *= 1 - self.spec.rate(step - 1) * self.spec.weight_decay
        self._in_float32(w, g, slots, step, 0)

    in_float64 = float64.adamw


class _RMSprop(_Optimizer):
    @cached_property
    def units(self) -> tuple[float, ...]:
        return (_excess(self.spec.rho),)

    def in_float32(self, w: Tensor, g: Tensor, slots: Slots, step: int) -> None:
        spec, (unit,) = self.spec, self.units
        rate = spec.rate(step - 1) * math.sqrt(unit)
        options = {"gamma1": spec.rho, "epsilon": spec.epsilon * unit, "wd": spec.weight_decay}
        nd.rmsprop_update(w, g, *slots, out=w, lr=rate, **options)

    in_float64 = float64.rmsprop


class _Adagrad(_Optimizer):
    in_float32 = in_float64 = formulas.adagrad


def _excess(beta: float) -> float:
    """Return how much too large 1 - β is when it is formed in float32."""
    return float(1 - np.float32(beta)) / (1 - beta)


def clip(spec: optimizers.Optimizer, gradients: list[Tensor]) -> None:
    """Clip the gradients in place, each element and then all by their norm, if it is asked for."""
    if spec.clip_value:  # not nd.clip, whose bounds are float32
        for g in gradients:
            g[:] = nd.minimum(nd.maximum(g, -spec.clip_value), spec.clip_value)
    if spec.clip_norm:  # Gluon's clip_global_norm takes float32 alone, and waits
        norm = nd.sqrt(nd.add_n(*[nd.sum(g * g) for g in gradients]))
        scale = nd.minimum(spec.clip_norm / norm, 1)
        for g in gradients:
            g *= scale


OPTIMIZERS = lowering(optimizers.Optimizer, globals())
