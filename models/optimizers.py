"""The optimizers: one frozen Struct each. g is the gradient of the mean loss, t = 1, 2, ... counts.

`slots()` names the state kept per weight, zero before the first step.
"""

from __future__ import annotations

from msgspec import Struct

from .shapes import Fraction, NonNegativeFloat, PositiveFloat


class _Optimizer(Struct, frozen=True, kw_only=True, tag_field="type", forbid_unknown_fields=True):
    learning_rate: PositiveFloat


class SGD(_Optimizer, frozen=True, tag="sgd"):
    """g ← g + weight_decay·w; v ← momentum·v + g; w ← w - learning_rate·u.

    u is g without momentum, v with it, and g + momentum·v with nesterov. The decay is coupled (L2)
    and falls on every weight, biases included. Slot: `velocity`, with momentum only.
    Keras and MXNet keep the rate inside v, which differs as soon as the rate changes.
    """

    momentum: Fraction = 0.0
    nesterov: bool = False
    weight_decay: NonNegativeFloat = 0.0

    def __post_init__(self) -> None:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs momentum > 0, got 0; set momentum, or drop nesterov")

    def slots(self) -> tuple[str, ...]:
        return ("velocity",) if self.momentum else ()


class Adam(_Optimizer, frozen=True, tag="adam"):
    """m ← β₁ m + (1 - β₁) g; v ← β₂ v + (1 - β₂) g²; w ← w - learning_rate·m̂ / (√v̂ + epsilon).

    m̂ = m / (1 - β₁ᵗ), v̂ = v / (1 - β₂ᵗ) (Kingma & Ba 2015, algorithm 1). Slots: `m`, `v`.
    Keras and MXNet use the paper's closing form, whose epsilon is larger by 1 / √(1 - β₂ᵗ).
    """

    beta1: Fraction = 0.9
    beta2: Fraction = 0.999
    epsilon: PositiveFloat = 1e-8

    def slots(self) -> tuple[str, ...]:
        return ("m", "v")


Optimizer = SGD | Adam
