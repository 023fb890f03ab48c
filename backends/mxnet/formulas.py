"""What is computed by formula in both precisions, in place of an operator or a class of MXNet."""

# ruff: noqa: N803  `F`, which is `nd` or, in a trace, `sym`, is Gluon's own name

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mxnet import nd
from mxnet.gluon import nn

from ...models.shapes import Shape

Tensor = Any  # an NDArray, or a Symbol while Gluon traces a hybridized block
Slots = tuple[Tensor, ...]  # those of one weight

# As `settings` tells it. The loss is in `losses.py`, and the clipping in `optimizers.py`.
REPLACED = (
    "global_avg_pool2d (by mean)",
    "hard_sigmoid",
    "softplus",
    "prelu",
    "binary_cross_entropy",
    "adagrad",
    "clip_value",
    "clip_norm",
)


def global_avg_pool2d(F: Any, x: Tensor) -> Tensor:
    """The mean; nn.GlobalAvgPool2D of MXNet 1.9.1 adds naively: 1e-5 off at 512x512."""
    return F.mean(x, axis=(2, 3))


def reshaped_copy(shape: Shape) -> Callable[..., Tensor]:
    """By the operator; the method gives a view, whose gradient max pooling gets wrong (1.9.1)."""
    return lambda F, x: F.reshape(x, shape=(-1, *shape))


def hard_sigmoid(F: Any, x: Tensor) -> Tensor:
    """By `where`: nd.hard_sigmoid's slope is a float32, and that of `clip` is 1 at its ends."""
    return F.where(F.abs(x) >= 3, x > 0, x / 6 + 0.5)


def softplus(F: Any, x: Tensor) -> Tensor:
    """max(x, 0) + log(1 + e^-|x|); the native softrelu of oneDNN is 2e-6 off (MXNet 1.9.1)."""
    magnitude = F.where(x > 0, x, -x)  # relu(x) leaves it to |x| to have a derivative at 0
    return F.relu(x) + F.log1p(F.exp(-magnitude))


class PReLU(nn.PReLU):
    """By `where`, over any axis; hybridized between other layers, the native one multiplies the
    gradient of alpha by alpha, and in float64 it multiplies in float32 (MXNet 1.9.1).
    """

    def __init__(self, shape: Shape) -> None:
        features_last = len(shape) == 2
        super().__init__(in_channels=shape[-1 if features_last else 0])
        self._shape = (1, 1, -1) if features_last else (1, -1, *[1] * len(shape[1:]))

    def hybrid_forward(self, F: Any, x: Tensor, alpha: Tensor) -> Tensor:
        return F.where(x > 0, x, F.broadcast_mul(x, alpha.reshape(self._shape)))


def adagrad(optimizer: Any, w: Tensor, g: Tensor, slots: Slots, step: int) -> None:
    """NDArray arithmetic, as MXNet's own is for dense gradients; its decay is not coupled."""
    spec, (s,) = optimizer.spec, slots
    g = decayed(g, w, spec.weight_decay)
    s += g * g
    w -= spec.rate(step - 1) * g / nd.sqrt(s + spec.epsilon)


def decayed(g: Tensor, w: Tensor, weight_decay: float) -> Tensor:
    return g + weight_decay * w if weight_decay else g
