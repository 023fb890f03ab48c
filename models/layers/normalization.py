"""Normalisation over the batch, or over a sample's features."""

from __future__ import annotations

from ..initializers import Constant, WeightSpec, Zeros
from ..shapes import Fraction, PositiveFloat, Shape, show
from .base import BaseLayer, Name


class BatchNorm(BaseLayer, frozen=True, kw_only=True, tag="batch_norm"):
    """y = gamma (x - μ) / √(σ² + epsilon) + beta, for each channel (Ioffe & Szegedy 2015).

    Training: μ and σ² (biased: divided by the count) are of this batch and all of space, and
    running ← (1 - momentum)·running + momentum·batch's, for the mean and for the biased variance.
    Evaluation: they are the running ones. [C] -> [C], [C, H, W] -> [C, H, W]; gamma, beta,
    running_mean, running_var: [C], starting at 1, 0, 0, 1. A bias just before it has no effect.

    `momentum` is the weight of the new. The paper's algorithm 2 evaluates with the unbiased
    variance, times n / (n - 1).
    """

    name: Name
    momentum: Fraction = 0.1
    epsilon: PositiveFloat = 1e-5

    def output_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) not in (1, 3):
            raise ValueError(f"batch_norm needs an input [C] or [C, H, W], got {show(input_shape)}")
        return input_shape

    def weights(self, input_shape: Shape) -> dict[str, WeightSpec]:
        return {
            **_scale_and_shift(input_shape[0]),
            "running_mean": _statistic(input_shape[0], 0.0),
            "running_var": _statistic(input_shape[0], 1.0),
        }


class LayerNorm(BaseLayer, frozen=True, kw_only=True, tag="layer_norm"):
    """y = gamma (x - μ) / √(σ² + epsilon) + beta, μ and biased σ² over the last axis.

    Ba et al. 2016. [D] -> [D], [T, D] -> [T, D]; gamma, beta: [D], starting at 1, 0.
    """

    name: Name
    epsilon: PositiveFloat = 1e-5

    def output_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) > 2:
            raise ValueError(f"layer_norm needs an input [D] or [T, D], got {show(input_shape)}")
        return input_shape

    def weights(self, input_shape: Shape) -> dict[str, WeightSpec]:
        return _scale_and_shift(input_shape[-1])


def _scale_and_shift(size: int) -> dict[str, WeightSpec]:
    fans = (size, size)
    return {
        "gamma": WeightSpec((size,), *fans, Constant(1.0)),
        "beta": WeightSpec((size,), *fans, Zeros()),
    }


def _statistic(size: int, start: float) -> WeightSpec:
    return WeightSpec((size,), size, size, Constant(start), trainable=False)
