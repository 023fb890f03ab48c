"""Each loss as Gluon has it: a block of (logits, targets) that gives one loss per sample."""

# ruff: noqa: N803  `F`, which is `nd` or, in a trace, `sym`, is Gluon's own name

from __future__ import annotations

from typing import Any

from mxnet import gluon

from ...models import losses
from ..contract import lowering
from . import formulas
from .formulas import Tensor


def mse(loss: losses.MSE) -> gluon.loss.Loss:
    return gluon.loss.L2Loss(weight=2)  # it has a half


def mae(loss: losses.MAE) -> gluon.loss.Loss:
    return gluon.loss.L1Loss()


def huber(loss: losses.Huber) -> gluon.loss.Loss:
    return gluon.loss.HuberLoss(rho=loss.delta, weight=loss.delta)  # it is divided by rho


def softmax_cross_entropy(loss: losses.SoftmaxCrossEntropy) -> gluon.loss.Loss:
    return _SoftmaxCrossEntropy(loss.label_smoothing)


def binary_cross_entropy(loss: losses.BinaryCrossEntropy) -> gluon.loss.Loss:
    return _BinaryCrossEntropy(weight=None, batch_axis=0)


class _SoftmaxCrossEntropy(gluon.loss.SoftmaxCrossEntropyLoss):
    """The native loss; its log_softmax by oneDNN is 3e-6 off in float32 (MXNet 1.9.1)."""

    def __init__(self, label_smoothing: float) -> None:
        super().__init__(from_logits=True)
        self._smoothing = label_smoothing

    def hybrid_forward(self, F: Any, z: Tensor, y: Tensor) -> Tensor:
        # Naming a temperature keeps it from oneDNN; that costs time only with 100s of classes.
        logs = F.log_softmax(z, axis=-1, temperature=1)
        loss = super().hybrid_forward(F, logs, y)
        if not self._smoothing:
            return loss
        return (1 - self._smoothing) * loss - self._smoothing * F.mean(logs, axis=-1)


class _BinaryCrossEntropy(gluon.loss.Loss):
    """softplus(z) - z y: the native loss with log1p, and right where z = 0.

    Native (MXNet 1.9.1): 2e-6 off by oneDNN's softrelu, even below 0, and the gradient -y at 0.
    """

    def hybrid_forward(self, F: Any, z: Tensor, y: Tensor) -> Tensor:
        return F.mean(formulas.softplus(F, z) - z * y, axis=self._batch_axis, exclude=True)


LOSSES = lowering(losses.Loss, globals())
