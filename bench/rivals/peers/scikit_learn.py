"""scikit-learn's `MLPClassifier`, by `partial_fit`: one call takes all steps, in the order given.

It trains in float32 when x is float32. Its layers are dense ones alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.neural_network import MLPClassifier

MODES = ("eager",)


class _Classifier(MLPClassifier):
    """Keeps the loss of every step: the public `loss_` is the mean over a call."""

    def _backprop(self, *args: Any) -> Any:
        loss, *gradients = super()._backprop(*args)
        self.losses.append(loss)
        return loss, *gradients


def mnist_mlp() -> MLPClassifier:
    """784-256-128-10, SGD with momentum."""
    return _Classifier(
        hidden_layer_sizes=(256, 128),
        solver="sgd",
        learning_rate_init=2**-5,
        momentum=0.875,
        nesterovs_momentum=False,
        alpha=0.0,
        shuffle=False,
    )


WORKLOADS = {"mnist-mlp": mnist_mlp}


def prepare(
    workload: str, x: np.ndarray, y: np.ndarray, *, mode: str, threads: int
) -> Callable[[np.ndarray], np.ndarray]:
    """Return `train(order)`: int64 [steps, batch] -> losses [steps]. BLAS has its own threads."""
    net = WORKLOADS[workload]()
    x = x.reshape(len(x), -1)

    def train(order: np.ndarray) -> np.ndarray:
        net.set_params(batch_size=order.shape[1])
        net.losses = []
        net.partial_fit(x[order.ravel()], y[order.ravel()], classes=np.arange(10))
        return np.array(net.losses)

    return train
