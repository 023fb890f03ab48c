"""Cases at the kinks: what a construct's derivative is where it jumps, and where a norm is zero.

The values there are exact in every precision: a dense layer of zero weights gives its bias. So no
rounding decides to which side an element falls, and nothing is forgiven. What the norm says of each
place stands beside it, and `test_reference.py` holds the reference to that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bakeoff.models.initializers import Constant, Normal, Zeros
from bakeoff.models.layers import (
    ELU,
    GELU,
    BatchNorm,
    Concat,
    Dense,
    Flatten,
    HardSigmoid,
    Layer,
    LayerNorm,
    LeakyReLU,
    MaxPool2D,
    MultiHeadAttention,
    PReLU,
    ReLU,
    Reshape,
    SiLU,
    SimpleRNN,
    Softmax,
    Softplus,
)
from bakeoff.models.losses import MAE, MSE, BinaryCrossEntropy, Huber, Loss, SoftmaxCrossEntropy
from bakeoff.models.optimizers import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop
from bakeoff.models.schedules import CosineDecay, ExponentialDecay, StepDecay
from conformance.cases import BATCH, VECTOR, Case, model_of

_RANDOM = Normal(std=0.5)

# Layer, a number that it meets, and its derivative there.
SLOPES: list[tuple[Layer, float, float]] = [
    (ReLU(), 0.0, 0.0),
    (LeakyReLU(negative_slope=0.25), 0.0, 0.25),
    (PReLU(name="prelu", alpha_initializer=Constant(0.25)), 0.0, 0.25),
    (ELU(alpha=0.25), 0.0, 0.25),
    (HardSigmoid(), -3.0, 0.0),
    (HardSigmoid(), 3.0, 0.0),
    # No kinks, but formulas with two branches that meet here.
    (Softplus(), 0.0, 0.5),
    (SiLU(), 0.0, 0.5),
    (GELU(), 0.0, 0.5),
]


@dataclass(frozen=True)
class _At(Case):
    """A case whose targets are all one number."""

    target: float = 0.0

    def _batch(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        x, _ = super()._batch(step)
        return x, np.full((BATCH, *self.model.output_shape), self.target)


def _constant(name: str, units: int, value: float | None) -> Dense:
    """A layer that gives `value`, whatever it is given; without one, zeros without a bias."""
    bias = {"use_bias": False} if value is None else {"bias_initializer": Constant(value)}
    return Dense(name=name, units=units, weight_initializer=Zeros(), **bias)


def _head(units: int) -> Dense:
    return Dense(name="head", units=units, weight_initializer=_RANDOM, bias_initializer=_RANDOM)


def _layers(case_id: str, *paths: tuple[Layer, ...]) -> Case:
    layers = paths[0] if len(paths) == 1 else (Concat(paths=paths),)
    return Case(case_id, model_of([*layers, _head(2)], VECTOR))


def _path(layer: Layer, value: float | None, *shape: int) -> tuple[Layer, ...]:
    """A layer that meets `value` alone, in an input of `shape`."""
    place = (
        "constant"
        if value is None
        else f"at-{value:g}".replace("at--", "at-minus-").replace(".", "_")
    )
    name = f"{layer.__struct_config__.tag}-{place}-{'x'.join(map(str, shape))}"
    reshape = (Reshape(shape=shape),) if len(shape) > 1 else ()
    return _constant(name, math.prod(shape), value), *reshape, layer, Flatten()


_NORM = {"name": "layer_norm", "epsilon": 0.125}
_ATTENTION = {"name": "attention", "num_heads": 2, "weight_initializer": _RANDOM}

KINKS = [
    _layers("activations-at-their-kinks", *(_path(layer, at, 3) for layer, at, _ in SLOPES)),
    # Ties: among equals, among zeros behind a relu, and with the border.
    _layers(
        "maxima-of-equals",
        _path(MaxPool2D(kernel_size=2), 0.5, 2, 4, 6),
        _path(MaxPool2D(kernel_size=3, stride=1), 0.0, 2, 4, 5),
        _path(MaxPool2D(kernel_size=(2, 3), stride=(2, 1), padding=(1, 0)), -0.5, 1, 4, 5),
    ),
    _layers(
        "constant-rows-and-features",
        _path(LayerNorm(**_NORM), 0.5, 6),
        _path(BatchNorm(name="batch_norm", epsilon=0.125), None, 5),
        _path(Softmax(), 0.5, 7),
        _path(MultiHeadAttention(**_ATTENTION), 0.0, 3, 4),
    ),
    _layers(
        "relu-states-at-zero",
        _path(SimpleRNN(name="rnn", units=3, activation="relu", return_sequences=True), 0.0, 5, 2),
    ),
]


def _loss_at(case_id: str, loss: Loss, value: float, target: float) -> Case:
    """A loss whose logits are all `value`."""
    model = model_of([_head(5), _constant("logits", 1, value)], VECTOR, loss=loss)
    return _At(case_id, model, target)


def _extreme(case_id: str, loss: Loss, outputs: int) -> Case:
    """Logits of thousands: an exponential would overflow, a probability would be 0."""
    wide = Dense(name="wide", units=outputs, weight_initializer=Normal(std=1000.0))
    return Case(case_id, model_of([_head(5), wide], VECTOR, loss=loss))


KINKS += [
    _loss_at("mae-at-zero", MAE(), 0.25, 0.25),
    _loss_at("mse-at-zero", MSE(), 0.25, 0.25),
    _loss_at("huber-at-zero", Huber(delta=0.25), 0.5, 0.5),
    _loss_at("huber-at-delta", Huber(delta=0.25), 0.5, 0.25),
    _loss_at("huber-at-minus-delta", Huber(delta=0.25), 0.25, 0.5),
    _loss_at("binary_cross_entropy-at-zero", BinaryCrossEntropy(), 0.0, 1.0),
    Case(
        "softmax_cross_entropy-of-equals",
        model_of([_head(5), _constant("logits", 6, 0.0)], VECTOR, loss=SoftmaxCrossEntropy()),
    ),
    _extreme("softmax_cross_entropy-extreme", SoftmaxCrossEntropy(), 6),
    _extreme(
        "softmax_cross_entropy-smoothing-extreme", SoftmaxCrossEntropy(label_smoothing=0.25), 6
    ),
    _extreme("binary_cross_entropy-extreme", BinaryCrossEntropy(), 1),
]


def _dead(case_id: str, optimizer: Optimizer) -> Case:
    """Behind a relu that lets nothing through every gradient is zero but that of the last bias."""
    layers = [_constant("dead", 3, -1.0), ReLU(), _head(2)]
    return Case(case_id, model_of(layers, VECTOR, optimizer=optimizer))


def _still(case_id: str, optimizer: Optimizer, target: float = 0.5) -> Case:
    """Every gradient is zero, and so is their norm, unless the target is another number."""
    layers = [_head(5), _constant("logits", 2, 0.5)]
    return _At(case_id, model_of(layers, VECTOR, optimizer=optimizer), target)


_RATE = {"learning_rate": 0.125}
_SMALL = {**_RATE, "epsilon": 2.0**-20}
_ADAM = {**_SMALL, "beta1": 0.875, "beta2": 1 - 2**-10}  # which float32 holds

# Gradients of zero, one at the limit of its clipping, a rate of zero, and where a schedule goes
# over into its next part.
STEPS_AT_KINKS = [
    _still("clip_value-at-its-limit", SGD(**_RATE, clip_value=0.5), target=0.0),
    _dead("zero-gradients-sgd", SGD(**_RATE, momentum=0.5, clip_norm=0.25)),
    _dead("zero-gradients-adam", Adam(**_ADAM, clip_value=0.25)),
    _dead("zero-gradients-adamw", AdamW(**_ADAM, weight_decay=0.25)),
    _dead("zero-gradients-rmsprop", RMSprop(**_SMALL)),
    _dead("zero-gradients-adagrad", Adagrad(**_SMALL)),
    _still("zero-norm-sgd", SGD(**_RATE, clip_norm=0.25)),
    _still("zero-norm-adam", Adam(**_ADAM, clip_norm=0.25)),
    _dead("zero-rate-sgd", SGD(**_RATE, momentum=0.5, schedule=CosineDecay(steps=2))),
    _dead("zero-rate-nesterov", SGD(**_RATE, momentum=0.5, nesterov=True,
                                    schedule=CosineDecay(steps=1, warmup_steps=1))),
    _dead("zero-rate-adamw", AdamW(**_ADAM, schedule=CosineDecay(steps=2))),
    _dead("boundary-step-warmup", RMSprop(**_SMALL, schedule=StepDecay(steps=1, warmup_steps=1))),
    _dead("boundary-exponential", Adagrad(**_SMALL, schedule=ExponentialDecay(steps=1))),
]  # fmt: skip
