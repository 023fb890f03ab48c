"""Each loss as PyTorch has it: a function of (logits, targets) that gives the mean."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional

from ...models import losses
from ..contract import lowering

MeanLoss = Callable[[Tensor, Tensor], Tensor]


def mse(loss: losses.MSE) -> MeanLoss:
    return functional.mse_loss


def mae(loss: losses.MAE) -> MeanLoss:
    return functional.l1_loss


def huber(loss: losses.Huber) -> MeanLoss:
    return lambda z, y: functional.huber_loss(z, y, delta=loss.delta)


def softmax_cross_entropy(loss: losses.SoftmaxCrossEntropy) -> MeanLoss:
    return lambda z, y: functional.cross_entropy(z, y, label_smoothing=loss.label_smoothing)


def binary_cross_entropy(loss: losses.BinaryCrossEntropy) -> MeanLoss:
    return functional.binary_cross_entropy_with_logits


LOSSES = lowering(losses.Loss, globals())
