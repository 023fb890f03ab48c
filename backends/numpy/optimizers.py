"""Each optimizer in one pass over all weights, a piece at a time that the cache holds.

`w`, `g` and the slots are such pieces; g is clipped and may be overwritten; `free` is memory. What
has no function of its own here takes the reference's formula.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from ...models import optimizers
from .. import reference
from ..contract import lowering
from .plan import Array

PIECE = 65536

Slots = dict[str, Array]
Update = Callable[[Any, Array, Array, Slots, int, float, Array], None]


def sgd(
    optimizer: optimizers.SGD, w: Array, g: Array, slots: Slots, t: int, rate: float, free: Array
) -> None:
    _decay(optimizer.weight_decay, w, g, free)
    if optimizer.momentum:
        v = slots["velocity"]
        np.multiply(v, optimizer.momentum, out=v)
        np.add(v, g, out=v)
        if optimizer.nesterov:
            np.multiply(v, optimizer.momentum, out=free)
            np.add(g, free, out=g)
        else:
            g = v
    np.multiply(g, rate, out=free)
    np.subtract(w, free, out=w)


def adam(
    optimizer: optimizers.Adam, w: Array, g: Array, slots: Slots, t: int, rate: float, free: Array
) -> None:
    _decay(optimizer.weight_decay, w, g, free)
    _adam_step(optimizer, w, g, slots, t, rate, free)


def adamw(
    optimizer: optimizers.AdamW, w: Array, g: Array, slots: Slots, t: int, rate: float, free: Array
) -> None:
    np.multiply(w, 1 - rate * optimizer.weight_decay, out=w)
    _adam_step(optimizer, w, g, slots, t, rate, free)


def _adam_step(
    optimizer: optimizers.Adam | optimizers.AdamW,
    w: Array,
    g: Array,
    slots: Slots,
    t: int,
    rate: float,
    free: Array,
) -> None:
    """With r = √(1 - β₂ᵗ), η m̂ / (√v̂ + ε) = (η r / (1 - β₁ᵗ)) m / (√v + r ε): two scalars."""
    m, v = slots["m"], slots["v"]
    root = math.sqrt(1 - optimizer.beta2**t)
    np.multiply(m, optimizer.beta1, out=m)
    np.multiply(g, 1 - optimizer.beta1, out=free)
    np.add(m, free, out=m)
    np.multiply(v, optimizer.beta2, out=v)
    np.multiply(g, g, out=free)
    np.multiply(free, 1 - optimizer.beta2, out=free)
    np.add(v, free, out=v)
    np.sqrt(v, out=free)
    np.add(free, root * optimizer.epsilon, out=free)
    np.divide(m, free, out=free)
    np.multiply(free, rate * root / (1 - optimizer.beta1**t), out=free)
    np.subtract(w, free, out=w)


def _decay(weight_decay: float, w: Array, g: Array, free: Array) -> None:
    if weight_decay:
        np.multiply(w, weight_decay, out=free)
        np.add(g, free, out=g)


def _canonical(function: Callable[..., None]) -> Update:
    """Make an update of one of the reference's."""

    @wraps(function)
    def update(
        optimizer: Any, w: Array, g: Array, slots: Slots, t: int, rate: float, free: Array
    ) -> None:
        function(optimizer, w, g, slots, t, rate)

    return update


_PLANNED = lowering(optimizers.Optimizer, globals())

OPTIMIZERS: dict[type, Update] = {
    spec: _PLANNED.get(spec) or _canonical(formula)
    for spec, formula in reference.OPTIMIZERS.items()
}


def take_step(
    optimizer: optimizers.Optimizer,
    w: Array,
    g: Array,
    slots: Slots,
    step: int,
    free: Array,
) -> None:
    """Update all weights and slots in place. `step` counts from 0; `free` is `PIECE` long."""
    _clip(optimizer, g)
    rate, update = optimizer.rate(step), OPTIMIZERS[type(optimizer)]
    for start in range(0, len(w), PIECE):
        piece = slice(start, start + PIECE)
        pieces = {name: slot[piece] for name, slot in slots.items()}
        update(optimizer, w[piece], g[piece], pieces, step + 1, rate, free[: len(w) - start])


def _clip(optimizer: optimizers.Optimizer, g: Array) -> None:
    """Clip each element, then all together by their norm."""
    if limit := optimizer.clip_value:
        np.clip(g, -limit, limit, out=g)
    if optimizer.clip_norm:
        norm = math.sqrt(np.dot(g, g))
        if norm > optimizer.clip_norm:
            np.multiply(g, optimizer.clip_norm / norm, out=g)
