"""How the learning rate moves: one frozen Struct each. `factor(t)` multiplies the base rate.

t = 0, 1, 2, ... counts updates: update t uses base · factor(t). The rate is computed here, in
float64, and handed to the framework before every step: frameworks' own schedulers differ in the
first step and at the end.
"""

from __future__ import annotations

import math

from msgspec import Struct

from .shapes import Natural, PositiveFloat, PositiveInt


class _Schedule(Struct, frozen=True, kw_only=True, tag_field="type", forbid_unknown_fields=True):
    """With `warmup_steps` w, factor(t) is (t + 1) / w for t < w, and the shape begins at t = w,
    where its own t is 0. A warm-up from 0 would waste the first step.
    """

    warmup_steps: Natural = 0

    def factor(self, t: int) -> float:
        if t < self.warmup_steps:
            return (t + 1) / self.warmup_steps
        return self._shape(t - self.warmup_steps)

    def _shape(self, t: int) -> float:
        return 1.0


class ConstantRate(_Schedule, frozen=True, kw_only=True, tag="constant"):
    """factor = 1."""


class StepDecay(_Schedule, frozen=True, kw_only=True, tag="step"):
    """factor(t) = gamma^⌊t / steps⌋."""

    steps: PositiveInt
    gamma: PositiveFloat = 0.5

    def _shape(self, t: int) -> float:
        return float(self.gamma ** (t // self.steps))


class ExponentialDecay(_Schedule, frozen=True, kw_only=True, tag="exponential"):
    """factor(t) = gamma^(t / steps)."""

    steps: PositiveInt
    gamma: PositiveFloat = 0.5

    def _shape(self, t: int) -> float:
        return float(self.gamma ** (t / self.steps))


class CosineDecay(_Schedule, frozen=True, kw_only=True, tag="cosine"):
    """factor(t) = (1 + cos(π min(t, steps) / steps)) / 2, and so 0 from t = steps on.

    Loshchilov & Hutter 2017, without restarts.
    """

    steps: PositiveInt

    def _shape(self, t: int) -> float:
        return (1 + math.cos(math.pi * min(t, self.steps) / self.steps)) / 2


Schedule = ConstantRate | StepDecay | ExponentialDecay | CosineDecay
