"""The optimizers: one frozen Struct each. g is the gradient of the mean loss, t = 1, 2, ... counts.

Every step: g of all weights is clipped, then g ← g + weight_decay·w where the decay is coupled (L2;
it falls on every weight, biases included), then the formula with η, the rate of this step. A
decoupled decay, which adamw alone has, is w ← w - η weight_decay·w, and does not enter the slots.
`slots()` names the state kept per weight, zero before the first step. `rate(t)` is η.
"""

from __future__ import annotations

from msgspec import Struct

from .schedules import ConstantRate, Schedule
from .shapes import Fraction, NonNegativeFloat, PositiveFloat


class _Optimizer(Struct, frozen=True, kw_only=True, tag_field="type", forbid_unknown_fields=True):
    """`clip_value` c: g ← min(max(g, -c), c), each element. `clip_norm` c: g ← g·min(1, c / ‖g‖),
    ‖g‖ over all weights together (Pascanu et al. 2013); after clip_value, if both are given.
    """

    learning_rate: PositiveFloat
    schedule: Schedule = ConstantRate()
    clip_value: PositiveFloat | None = None
    clip_norm: PositiveFloat | None = None

    def rate(self, step: int) -> float:
        """Return the learning rate of update `step`, counted from 0."""
        return self.learning_rate * self.schedule.factor(step)


class SGD(_Optimizer, frozen=True, kw_only=True, tag="sgd"):
    """v ← momentum·v + g; w ← w - η u; u is g without momentum, v with it, and g + momentum·v with
    nesterov. Slot: `velocity`, with momentum only. The decay is coupled. To keep the rate inside v,
    as some do, differs as soon as the rate changes.
    """

    momentum: Fraction = 0.0
    nesterov: bool = False
    weight_decay: NonNegativeFloat = 0.0

    def __post_init__(self) -> None:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs momentum > 0, got 0; set momentum, or drop nesterov")

    def slots(self) -> tuple[str, ...]:
        return ("velocity",) if self.momentum else ()


class _Adam(_Optimizer, frozen=True, kw_only=True):
    beta1: Fraction = 0.9
    beta2: Fraction = 0.999
    epsilon: PositiveFloat = 1e-8

    def slots(self) -> tuple[str, ...]:
        return ("m", "v")


class Adam(_Adam, frozen=True, kw_only=True, tag="adam"):
    """m ← β₁ m + (1 - β₁) g; v ← β₂ v + (1 - β₂) g²; w ← w - η m̂ / (√v̂ + epsilon).

    m̂ = m / (1 - β₁ᵗ), v̂ = v / (1 - β₂ᵗ) (Kingma & Ba 2015, algorithm 1; the form that closes
    their section 2 has an epsilon that is larger by 1 / √(1 - β₂ᵗ)). Slots: `m`, `v`. The decay is
    coupled.
    """

    weight_decay: NonNegativeFloat = 0.0


class AdamW(_Adam, frozen=True, kw_only=True, tag="adamw"):
    """w ← w - η weight_decay·w, then Adam without coupled decay (Loshchilov & Hutter 2019).

    The paper decays by the schedule's multiplier alone, frameworks by the rate, as here. The decay
    falls on every weight.
    """

    weight_decay: NonNegativeFloat = 0.01


class RMSprop(_Optimizer, frozen=True, kw_only=True, tag="rmsprop"):
    """s ← rho s + (1 - rho) g²; w ← w - η g / √(s + epsilon) (Tieleman & Hinton 2012).

    Slot: `s`.
    """

    rho: Fraction = 0.9
    epsilon: PositiveFloat = 1e-7
    weight_decay: NonNegativeFloat = 0.0

    def slots(self) -> tuple[str, ...]:
        return ("s",)


class Adagrad(_Optimizer, frozen=True, kw_only=True, tag="adagrad"):
    """s ← s + g²; w ← w - η g / √(s + epsilon) (Duchi et al. 2011, with δ outside the root).

    Slot: `s`.
    """

    epsilon: PositiveFloat = 1e-7
    weight_decay: NonNegativeFloat = 0.0

    def slots(self) -> tuple[str, ...]:
        return ("s",)


Optimizer = SGD | Adam | AdamW | RMSprop | Adagrad
