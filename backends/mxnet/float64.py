"""What is computed by formula in float64, where MXNet's own operators are used in float32.

Their attributes (slopes, epsilons, momenta, learning rates) are float32 whatever the arrays are
(MXNet 1.9.1), and so is the slope of `erf`; scalars in arithmetic have the dtype of the arrays.
"""

# ruff: noqa: N803  `F`, which is `nd` or, in a trace, `sym`, is Gluon's own name

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from mxnet import gluon, nd
from mxnet.gluon import nn

from .formulas import Slots, Tensor, decayed

# As `settings` tells it.
REPLACED = (
    "leaky_relu",
    "elu",
    "gelu",
    "layer_norm",
    "the running statistics of batch_norm",
    "simple_rnn of relu (by cells)",
    "sgd",
    "adam",
    "adamw",
    "rmsprop",
)


class Exact(gluon.HybridBlock):
    """A native layer; in float64 its formula, as its attributes are float32 (MXNet 1.9.1)."""

    _float64 = False

    def __init__(self, native: gluon.HybridBlock, formula: Callable[..., Tensor]) -> None:
        super().__init__()
        self._native, self._formula = native, formula

    def cast(self, dtype: str) -> None:
        super().cast(dtype)
        self._float64 = dtype == "float64"

    def hybrid_forward(self, F: Any, x: Tensor) -> Tensor:
        return self._formula(F, x) if self._float64 else self._native(x)


def leaky_relu(slope: float) -> Callable[..., Tensor]:
    return lambda F, x: F.where(x > 0, x, x * slope)


def elu(alpha: float) -> Callable[..., Tensor]:
    return lambda F, x: F.where(x > 0, x, alpha * F.expm1(F.minimum(x, 0)))


def gelu(F: Any, x: Tensor) -> Tensor:
    """x Φ(x), and its slope; `erf` of a float64 has a slope rounded to float32 (MXNet 1.9.1)."""
    at = F.BlockGrad(x)
    phi = (1 + F.erf(at / math.sqrt(2))) / 2
    density = F.exp(-at * at / 2) / math.sqrt(2 * math.pi)
    return at * phi + (phi + at * density) * (x - at)


class BatchNorm(nn.BatchNorm):
    """The native layer; its momentum is a float32 (MXNet 1.9.1).

    In float64 it leaves this batch's statistics in the running ones, and the trainer weighs them
    by `weigh_statistics`.
    """

    def cast(self, dtype: str) -> None:
        super().cast(dtype)
        if dtype == "float64":
            self._kwargs["momentum"] = 0


def weigh_statistics(
    before: Mapping[str, Tensor],
    variables: Mapping[str, gluon.Parameter],
    momenta: Mapping[str, float],
) -> None:
    """Weigh the statistics of the last batch, which stand in the running ones, with the old."""
    for name, old in before.items():
        momentum, new = momenta[name], variables[name].data()
        new[:] = (1 - momentum) * old + momentum * new


class LayerNorm(nn.LayerNorm):
    """The native layer; in float64 the formula, as its epsilon is a float32 (MXNet 1.9.1)."""

    _float64 = False

    def cast(self, dtype: str) -> None:
        super().cast(dtype)
        self._float64 = dtype == "float64"

    def hybrid_forward(self, F: Any, x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        if not self._float64:
            return super().hybrid_forward(F, x, gamma, beta)
        centred = F.broadcast_sub(x, F.mean(x, axis=-1, keepdims=True))
        var = F.mean(F.square(centred), axis=-1, keepdims=True)
        normal = F.broadcast_div(centred, F.sqrt(var + self._epsilon))
        return F.broadcast_add(F.broadcast_mul(normal, gamma), beta)


def unrolled(
    F: Any,
    x: Tensor,
    native: gluon.HybridBlock,
    steps: int,
    zeros: Callable[..., list[Tensor]],
) -> tuple[Tensor, Tensor]:
    """The states and the last one, by MXNet's cells: its fused relu rounds a float64 to float32."""
    cells = native._unfuse()
    states, final = cells.unroll(steps, x, zeros(F, x, cells), layout="NTC", merge_outputs=True)
    return states, F.concat(*final, dim=-1)


# The optimizers' `in_float64`: methods, of what has our `spec`.


def sgd(optimizer: Any, w: Tensor, g: Tensor, slots: Slots, step: int) -> None:
    spec = optimizer.spec
    g = decayed(g, w, spec.weight_decay)
    for velocity in slots:
        velocity *= spec.momentum
        velocity += g
        g = g + spec.momentum * velocity if spec.nesterov else velocity
    w -= spec.rate(step - 1) * g


def adam(optimizer: Any, w: Tensor, g: Tensor, slots: Slots, step: int) -> None:
    _adam(optimizer, w, decayed(g, w, optimizer.spec.weight_decay), slots, step)


def adamw(optimizer: Any, w: Tensor, g: Tensor, slots: Slots, step: int) -> None:
    w *= 1 - optimizer.spec.rate(step - 1) * optimizer.spec.weight_decay
    _adam(optimizer, w, g, slots, step)


def _adam(optimizer: Any, w: Tensor, g: Tensor, slots: Slots, step: int) -> None:
    spec, (m, v) = optimizer.spec, slots
    m *= spec.beta1
    m += (1 - spec.beta1) * g
    v *= spec.beta2
    v += (1 - spec.beta2) * g * g
    mhat = m / (1 - spec.beta1**step)
    vhat = v / (1 - spec.beta2**step)
    w -= spec.rate(step - 1) * mhat / (nd.sqrt(vhat) + spec.epsilon)


def rmsprop(optimizer: Any, w: Tensor, g: Tensor, slots: Slots, step: int) -> None:
    spec, (s,) = optimizer.spec, slots
    g = decayed(g, w, spec.weight_decay)
    s *= spec.rho
    s += (1 - spec.rho) * g * g
    w -= spec.rate(step - 1) * g / nd.sqrt(s + spec.epsilon)
