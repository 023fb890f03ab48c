"""Each loss as Paddle has it: a function of (logits, targets) that gives the mean."""

from __future__ import annotations

from collections.abc import Callable

from paddle import Tensor
from paddle.nn import functional

from ...models import losses
from ..contract import lowering
from . import float64, formulas

MeanLoss = Callable[[Tensor, Tensor], Tensor]


def mse(loss: losses.MSE) -> MeanLoss:
    return functional.mse_loss


def mae(loss: losses.MAE) -> MeanLoss:
    return functional.l1_loss


def huber(loss: losses.Huber) -> MeanLoss:
    return float64.mean_huber(loss.delta)


def softmax_cross_entropy(loss: losses.SoftmaxCrossEntropy) -> MeanLoss:
    return formulas.mean_cross_entropy(loss.label_smoothing)


def binary_cross_entropy(loss: losses.BinaryCrossEntropy) -> MeanLoss:
    return formulas.mean_binary_cross_entropy


LOSSES = lowering(losses.Loss, globals())
