"""Each optimizer as Keras has it, built for its variables, and the native ones that are our slots.

SGD's momentum and Adam are Keras's classes around the engine's operators: the formulas of Keras's
own are others than the spec's.
"""

from __future__ import annotations

from typing import NamedTuple

import keras
from keras import ops

from ...models import optimizers
from ..contract import lowering
from .engine import own
from .lowered import Tensor

NativeOptimizer = tuple[keras.Optimizer, dict[str, "Slots"]]

_OWN = own("optimizers")


class Slots(NamedTuple):
    """The native variables of a slot, which hold ours times `unit`."""

    variables: list[keras.Variable]
    unit: float = 1.0


def sgd(optimizer: optimizers.SGD, variables: list[keras.Variable]) -> NativeOptimizer:
    rate = float(optimizer.learning_rate)
    native = _OWN.SGD(optimizer) if optimizer.momentum else keras.optimizers.SGD(rate)
    native.build(variables)
    return native, {"velocity": Slots(native.momentums)} if optimizer.momentum else {}


def adam(optimizer: optimizers.Adam, variables: list[keras.Variable]) -> NativeOptimizer:
    return _adam(_OWN.Adam(optimizer), variables)


def adamw(optimizer: optimizers.AdamW, variables: list[keras.Variable]) -> NativeOptimizer:
    return _adam(_OWN.Adam(optimizer, decay=optimizer.weight_decay), variables)


def _adam(native: keras.Optimizer, variables: list[keras.Variable]) -> NativeOptimizer:
    native.build(variables)
    unit_m, unit_v = native.units
    slots = {"m": Slots(native._momentums, unit_m), "v": Slots(native._velocities, unit_v)}
    return native, slots


def rmsprop(optimizer: optimizers.RMSprop, variables: list[keras.Variable]) -> NativeOptimizer:
    rate = float(optimizer.learning_rate)
    native = keras.optimizers.RMSprop(rate, optimizer.rho, epsilon=optimizer.epsilon)
    native.build(variables)
    return native, {"s": Slots(native._velocities)}


def adagrad(optimizer: optimizers.Adagrad, variables: list[keras.Variable]) -> NativeOptimizer:
    rate = float(optimizer.learning_rate)
    native = keras.optimizers.Adagrad(rate, epsilon=optimizer.epsilon)
    native.build(variables)
    return native, {"s": Slots(native._accumulators)}


def clip_and_decay(
    spec: optimizers.Optimizer, gradients: list[Tensor], variables: list[Tensor]
) -> list[Tensor]:
    """Clip, then add the coupled decay, which Keras has not; its own clipping would come after."""
    if limit := spec.clip_value:
        gradients = [ops.clip(g, -limit, limit) for g in gradients]
    if spec.clip_norm:
        norm = ops.sqrt(sum(ops.sum(ops.square(g)) for g in gradients))
        scale = ops.minimum(spec.clip_norm / norm, 1)
        gradients = [g * scale for g in gradients]
    if spec.weight_decay and not isinstance(spec, optimizers.AdamW):
        pairs = zip(gradients, variables, strict=True)
        gradients = [g + spec.weight_decay * w for g, w in pairs]
    return gradients


OPTIMIZERS = lowering(optimizers.Optimizer, globals())
