"""Activations, and dropout: each number for itself (softmax: each row)."""

from __future__ import annotations

from typing import Literal

from ..initializers import Constant, Initializer, WeightSpec
from ..shapes import Fraction, NonNegativeFloat, PositiveFloat, Shape, show
from .base import BaseLayer, Elementwise, Name


class ReLU(Elementwise, frozen=True, kw_only=True, tag="relu"):
    """y = max(x, 0), dy/dx = 0 at 0."""


class LeakyReLU(Elementwise, frozen=True, kw_only=True, tag="leaky_relu"):
    """y = x if x > 0 else negative_slope·x; at 0 the derivative is negative_slope."""

    negative_slope: NonNegativeFloat = 0.01


class PReLU(BaseLayer, frozen=True, kw_only=True, tag="prelu"):
    """y = x if x > 0 else alpha·x, with alpha trained; at 0 dy/dx is alpha (He et al. 2015).

    One alpha per channel of [C, H, W], or per feature of [D] and [T, D]; alpha: [C] or [D],
    starting at 0.25. [C, L] is taken for [T, D]: permute it first. He et al. do not decay alpha; a
    `weight_decay` here does.
    """

    name: Name
    alpha_initializer: Initializer = Constant(0.25)

    def output_shape(self, input_shape: Shape) -> Shape:
        if not 1 <= len(input_shape) <= 3:
            raise ValueError(
                f"prelu needs an input [D], [T, D] or [C, H, W], got {show(input_shape)}"
            )
        return input_shape

    def weights(self, input_shape: Shape) -> dict[str, WeightSpec]:
        size = input_shape[0 if len(input_shape) == 3 else -1]
        return {"alpha": WeightSpec((size,), size, size, self.alpha_initializer)}


class ELU(Elementwise, frozen=True, kw_only=True, tag="elu"):
    """y = x if x > 0 else alpha (eˣ - 1) (Clevert et al. 2016)."""

    alpha: PositiveFloat = 1.0


class GELU(Elementwise, frozen=True, kw_only=True, tag="gelu"):
    """y = x Φ(x) = x (1 + erf(x / √2)) / 2 (Hendrycks & Gimpel 2016).

    `tanh`: y = x (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2, which differs by up to 5e-4.
    """

    approximation: Literal["none", "tanh"] = "none"


class Sigmoid(Elementwise, frozen=True, kw_only=True, tag="sigmoid"):
    """y = 1 / (1 + e⁻ˣ)."""


class HardSigmoid(Elementwise, frozen=True, kw_only=True, tag="hard_sigmoid"):
    """y = min(max(x / 6 + 1/2, 0), 1), the form of Howard et al. 2019 (MobileNetV3).

    dy/dx = 1/6 between -3 and 3, 0 elsewhere and at both. Courbariaux et al. 2015: x / 2 + 1/2.
    """


class Tanh(Elementwise, frozen=True, kw_only=True, tag="tanh"):
    """y = tanh x."""


class Softplus(Elementwise, frozen=True, kw_only=True, tag="softplus"):
    """y = log(1 + eˣ). To return x itself above 20, as some do, is 2e-9 off."""


class SiLU(Elementwise, frozen=True, kw_only=True, tag="silu"):
    """y = x / (1 + e⁻ˣ) (also called swish)."""


class Softmax(Elementwise, frozen=True, kw_only=True, tag="softmax"):
    """y = eˣ / Σ eˣ over the last axis. The losses take logits: it is not for a model's end."""


class Dropout(Elementwise, frozen=True, kw_only=True, tag="dropout"):
    """Training: y = x·mask / (1 - rate), mask ~ Bernoulli(1 - rate). Evaluation: y = x.

    Srivastava et al. 2014, in the inverted form. Some frameworks share a kind of generator, none
    the draws: parity jobs supply the mask, plain jobs let the framework draw.
    """

    name: Name
    rate: Fraction = 0.5
