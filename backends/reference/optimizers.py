"""Each optimizer by its formula: it moves one weight and its slots, in place.

The gradient is clipped, t counts from 1, and the rate is that of t.
"""

from __future__ import annotations

import numpy as np

from ...models import optimizers
from ..contract import Weights, lowering
from .passes import Array

Slots = dict[str, Array]


def sgd(optimizer: optimizers.SGD, w: Array, g: Array, slots: Slots, t: int, rate: float) -> None:
    g = _decayed(g, w, optimizer.weight_decay)
    if optimizer.momentum:
        v = slots["velocity"]
        v *= optimizer.momentum
        v += g
        g = g + optimizer.momentum * v if optimizer.nesterov else v
    w -= rate * g


def adam(optimizer: optimizers.Adam, w: Array, g: Array, slots: Slots, t: int, rate: float) -> None:
    _adam_step(optimizer, w, _decayed(g, w, optimizer.weight_decay), slots, t, rate)


def adamw(
    optimizer: optimizers.AdamW, w: Array, g: Array, slots: Slots, t: int, rate: float
) -> None:
    w *= 1 - rate * optimizer.weight_decay
    _adam_step(optimizer, w, g, slots, t, rate)


def _adam_step(
    optimizer: optimizers.Adam | optimizers.AdamW,
    w: Array,
    g: Array,
    slots: Slots,
    t: int,
    rate: float,
) -> None:
    m, v = slots["m"], slots["v"]
    m *= optimizer.beta1
    m += (1 - optimizer.beta1) * g
    v *= optimizer.beta2
    v += (1 - optimizer.beta2) * g * g
    mhat = m / (1 - optimizer.beta1**t)
    vhat = v / (1 - optimizer.beta2**t)
    w -= rate * mhat / (np.sqrt(vhat) + optimizer.epsilon)


def rmsprop(
    optimizer: optimizers.RMSprop, w: Array, g: Array, slots: Slots, t: int, rate: float
) -> None:
    g = _decayed(g, w, optimizer.weight_decay)
    s = slots["s"]
    s *= optimizer.rho
    s += (1 - optimizer.rho) * g * g
    w -= rate * g / np.sqrt(s + optimizer.epsilon)


def adagrad(
    optimizer: optimizers.Adagrad, w: Array, g: Array, slots: Slots, t: int, rate: float
) -> None:
    g = _decayed(g, w, optimizer.weight_decay)
    s = slots["s"]
    s += g * g
    w -= rate * g / np.sqrt(s + optimizer.epsilon)


def _decayed(g: Array, w: Array, weight_decay: float) -> Array:
    return g + weight_decay * w if weight_decay else g


OPTIMIZERS = lowering(optimizers.Optimizer, globals())


def take_step(
    optimizer: optimizers.Optimizer, weights: Weights, gradients: Weights, slots: Weights, step: int
) -> None:
    """Update every weight that has a gradient, and its slots, in place. `step` counts from 0."""
    rate, update = optimizer.rate(step), OPTIMIZERS[type(optimizer)]
    for name, g in clip(optimizer, gradients).items():
        its_slots = {slot: slots[f"{name}.{slot}"] for slot in optimizer.slots()}
        update(optimizer, weights[name], g, its_slots, step + 1, rate)


def clip(optimizer: optimizers.Optimizer, gradients: Weights) -> Weights:
    """Clip each element, then all together by their norm, as far as the optimizer asks for it."""
    if limit := optimizer.clip_value:
        gradients = {name: np.clip(g, -limit, limit) for name, g in gradients.items()}
    if optimizer.clip_norm:
        norm = np.sqrt(sum(np.sum(g * g) for g in gradients.values()))
        if norm > optimizer.clip_norm:
            gradients = {name: g * (optimizer.clip_norm / norm) for name, g in gradients.items()}
    return gradients
