"""Each optimizer as optax has it: the native one for a rate, and its own names for our slots."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import optax

from ...models import optimizers
from ..contract import lowering
from .arrays import Array

NativeOptimizer = tuple[Callable[[Array], Any], dict[str, str]]


def sgd(optimizer: optimizers.SGD) -> NativeOptimizer:
    def native(learning_rate: Array) -> Any:
        momentum = optimizer.momentum or None
        step = optax.sgd(learning_rate, momentum, nesterov=optimizer.nesterov)
        return _clipped_and_decayed(optimizer, step, optimizer.weight_decay)

    return native, {"velocity": "trace"} if optimizer.momentum else {}


def adam(optimizer: optimizers.Adam) -> NativeOptimizer:
    def native(learning_rate: Array) -> Any:
        betas = (optimizer.beta1, optimizer.beta2)
        step = optax.adam(learning_rate, *betas, optimizer.epsilon)
        return _clipped_and_decayed(optimizer, step, optimizer.weight_decay)

    return native, {"m": "mu", "v": "nu"}


def adamw(optimizer: optimizers.AdamW) -> NativeOptimizer:
    def native(learning_rate: Array) -> Any:
        betas, decay = (optimizer.beta1, optimizer.beta2), optimizer.weight_decay
        step = optax.adamw(learning_rate, *betas, optimizer.epsilon, weight_decay=decay)
        return _clipped_and_decayed(optimizer, step, 0.0)

    return native, {"m": "mu", "v": "nu"}


def rmsprop(optimizer: optimizers.RMSprop) -> NativeOptimizer:
    def native(learning_rate: Array) -> Any:
        step = optax.rmsprop(learning_rate, optimizer.rho, optimizer.epsilon, eps_in_sqrt=True)
        return _clipped_and_decayed(optimizer, step, optimizer.weight_decay)

    return native, {"s": "nu"}


def adagrad(optimizer: optimizers.Adagrad) -> NativeOptimizer:
    def native(learning_rate: Array) -> Any:
        step = optax.adagrad(learning_rate, 0.0, optimizer.epsilon)
        return _clipped_and_decayed(optimizer, step, optimizer.weight_decay)

    return native, {"s": "sum_of_squares"}


def _clipped_and_decayed(optimizer: optimizers.Optimizer, step: Any, weight_decay: float) -> Any:
    """Put what the spec has of clipping and coupled decay before an optimizer's own step."""
    before = []
    if optimizer.clip_value:
        before.append(optax.clip(optimizer.clip_value))
    if optimizer.clip_norm:
        before.append(optax.clip_by_global_norm(optimizer.clip_norm))
    if weight_decay:
        before.append(optax.add_decayed_weights(weight_decay))
    return optax.chain(*before, step) if before else step


OPTIMIZERS = lowering(optimizers.Optimizer, globals())
