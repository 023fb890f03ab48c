"""What is by formula of ours in float32 and in float64.

Paddle's own is another function, or has a wrong value or gradient somewhere: each says which.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import paddle
from paddle import Tensor, nn
from paddle.nn import functional

from .float64 import scalar


class Mean(nn.Layer):
    """Over space; Paddle's adaptive pooling has the gradient of its avg_pool2d, see `float64`."""

    def __init__(self, axes: list[int]) -> None:
        super().__init__()
        self._axes = axes

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(axis=self._axes)


class LeakyReLU(nn.Layer):
    """The native one has the derivative 1 at 0, this sum the slope, in twice its time (3.3)."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self._slope = slope

    def forward(self, x: Tensor) -> Tensor:
        rest = functional.relu(x) * scalar(1 - self._slope, x)
        return x * scalar(self._slope, x) + rest


class HardSigmoid(nn.Layer):
    """The native one has float32's 0.1666667 for a slope."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu6(x + 3) / scalar(6, x)


class SiLU(nn.Layer):
    """The native one has the derivative NaN below -88 in float32 (3.3)."""

    def forward(self, x: Tensor) -> Tensor:
        return x * functional.sigmoid(x)


def mean_cross_entropy(smooth: float) -> Callable[[Tensor, Tensor], Tensor]:
    """The native one, and log_softmax, cap the loss at 64 on the CPU (3.3)."""

    def mean(z: Tensor, y: Tensor) -> Tensor:
        # Without the shift, a small loss is the difference of two large numbers.
        shifted = z - z.detach().max(axis=1, keepdim=True)
        logs = shifted - shifted.logsumexp(axis=1, keepdim=True)
        loss_of_labels = functional.nll_loss(logs, y)
        if not smooth:
            return loss_of_labels
        return loss_of_labels * scalar(1 - smooth, z) - logs.mean() * scalar(smooth, z)

    return mean


def mean_binary_cross_entropy(z: Tensor, y: Tensor) -> Tensor:
    """The native one has a gradient that is less by 1 at z = 0 (3.3)."""
    return (functional.softplus(z, threshold=40) - z * y).mean()  # the threshold: see `layers`


class Adagrad(paddle.optimizer.Adagrad):
    """The native one has its epsilon outside the root."""

    def _append_optimize_op(self, block: Any, parameter_and_gradient: Any) -> None:
        parameter, gradient = parameter_and_gradient
        s = self._get_accumulator("moment", parameter)
        s.add_(gradient.square())
        parameter.subtract_(gradient / (s + self._epsilon).sqrt() * self.get_lr())


FORMULAS: dict[str, Any] = {  # by Paddle's name for what they replace
    "adaptive_avg_pool2d": Mean,
    "leaky_relu": LeakyReLU,
    "hardsigmoid": HardSigmoid,
    "silu": SiLU,
    "cross_entropy": mean_cross_entropy,
    "binary_cross_entropy_with_logits": mean_binary_cross_entropy,
    "Adagrad": Adagrad,
}
