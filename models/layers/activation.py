"""Activations, and dropout: each number for itself (softmax: each row)."""

from __future__ import annotations

from typing import Literal

from ..initializers import Constant, Initializer, WeightSpec
from ..shapes import Fraction, NonNegativeFloat, PositiveFloat, Shape, show
from .base import BaseLayer, Elementwise, Name


class ReLU(Elementwise, frozen=True, kw_only=True, tag="relu"):
    """y = max(x, 0), dy/dx = 0 at 0. `maximum(x, 0)` gives 1/2 or 1 there in most frameworks."""


class LeakyReLU(Elementwise, frozen=True, kw_only=True, tag="leaky_relu"):
    """y = x if x > 0 else negative_slope·x; at 0 the derivative is negative_slope.

    Defaults elsewhere: PyTorch, Paddle, JAX 0.01, Keras' layer 0.3, MXNet's operator 0.25; Paddle's
    and JAX's own function has the derivative 1 at 0.
    """

    negative_slope: NonNegativeFloat = 0.01


class PReLU(BaseLayer, frozen=True, kw_only=True, tag="prelu"):
    """y = x if x > 0 else alpha·x, with alpha trained; at 0 dy/dx is alpha (He et al. 2015).

    One alpha per channel of [C, H, W], or per feature of [D] and [T, D]; alpha: [C] or [D],
    starting at 0.25. [C, L] is taken for [T, D]: permute it first.

    Defaults elsewhere: PyTorch, Paddle and MXNet one alpha for all, from 0.25; Keras one per number
    of a sample, from 0, and its dy/dx at 0 is 0. JAX has none. He et al. do not decay alpha; a
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

    `tanh`: y = x (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2, which differs by up to 5e-4. PyTorch,
    Paddle, MXNet, Keras' activation: exact by default; JAX and Keras' ops: tanh.
    """

    approximation: Literal["none", "tanh"] = "none"


class Sigmoid(Elementwise, frozen=True, kw_only=True, tag="sigmoid"):
    """y = 1 / (1 + e⁻ˣ)."""


class HardSigmoid(Elementwise, frozen=True, kw_only=True, tag="hard_sigmoid"):
    """y = min(max(x / 6 + 1/2, 0), 1), the form of Howard et al. 2019 (MobileNetV3).

    dy/dx = 1/6 between -3 and 3, 0 elsewhere. MXNet, and Keras before 3: x / 5 + 1/2;
    Courbariaux et al. 2015: x / 2 + 1/2. Paddle's slope is 0.1666667.
    """


class Tanh(Elementwise, frozen=True, kw_only=True, tag="tanh"):
    """y = tanh x."""


class Softplus(Elementwise, frozen=True, kw_only=True, tag="softplus"):
    """y = log(1 + eˣ). PyTorch and Paddle return x itself above 20: 2e-9 off."""


class SiLU(Elementwise, frozen=True, kw_only=True, tag="silu"):
    """y = x / (1 + e⁻ˣ) (also called swish). Paddle's own gradient is NaN below -88 in float32."""


class Softmax(Elementwise, frozen=True, kw_only=True, tag="softmax"):
    """y = eˣ / Σ eˣ over the last axis. The losses take logits: it is not for the end of a model.

    Paddle on the CPU cuts off at max - 64.
    """


class Dropout(Elementwise, frozen=True, kw_only=True, tag="dropout"):
    """Training: y = x·mask / (1 - rate), mask ~ Bernoulli(1 - rate). Evaluation: y = x.

    Srivastava et al. 2014, in the inverted form. No two frameworks draw the same numbers: parity
    jobs supply the mask, plain jobs let the framework draw.
    """

    name: Name
    rate: Fraction = 0.5
