"""What Keras's layers on PyTorch are not taken for: all of it by formula.

The gradient of PyTorch's hard_sigmoid (2.13) is float32's 1/6, in float64 too.
"""

from __future__ import annotations

from itertools import chain as all_of

import keras
import numpy as np
import torch
from torch.nn import functional

from ...contract import DType
from ..formulas import conv_transpose, padded_max_pool
from ..lowered import MeanLoss, Tensor
from ..lowered import chain as grouped

__all__ = ["conv_transpose", "grouped", "padded_max_pool"]
BY_FORMULA: dict[DType, tuple[str, ...]] = {
    "float32": ("prelu",),
    "float64": ("prelu", "hard_sigmoid"),
}
ATTENTION_BY_SCORES: tuple[DType, ...] = ()


def to_numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()


def binary_cross_entropy(dtype: DType) -> MeanLoss:
    """As Keras's own is: that asks for a GPU of Apple's first, which torch.compile cannot trace."""
    return lambda y, z: functional.binary_cross_entropy_with_logits(z, y)


def make_moments_exact(module: keras.layers.BatchNormalization) -> None:
    """Keras (3.15) takes E[x²] - E[x]² for the variance, by a list that breaks torch.compile's
    graph.
    """
    axes = tuple(module._reduction_axes)

    def moments(x: Tensor, mask: None) -> tuple[Tensor, Tensor]:
        var, mean = torch.var_mean(x, axes, correction=0)
        return mean, var

    module._moments = moments


def pad(x: Tensor, widths: list[tuple[int, int]], value: float = 0.0) -> Tensor:
    """Pad by PyTorch: Keras's own (3.15) makes torch.compile (2.13) give up at its next layer."""
    return functional.pad(x, [*all_of(*reversed(widths))], value=value)


def mean_absolute_error(dtype: DType) -> MeanLoss:
    return keras.losses.MeanAbsoluteError(dtype=dtype)
