"""Each loss of logits z, [K, N]: a function of the targets that gives the mean loss and dz.

What has no function of its own here takes the reference's formula.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from ...models import losses
from .. import aligned, reference
from ..contract import lowering
from .plan import Array, Evaluate


def mse(loss: losses.MSE, z: Array) -> Evaluate:
    """The mean of (z - y)², over samples and outputs."""
    dz, squares = aligned.empty_like(z), aligned.empty_like(z)

    def evaluate(y: Array) -> tuple[Any, Array]:
        np.subtract(z, y.T, out=dz)
        np.multiply(dz, dz, out=squares)
        return squares.mean(), np.multiply(dz, 2 / dz.size, out=dz)

    return evaluate


def softmax_cross_entropy(loss: losses.SoftmaxCrossEntropy, z: Array) -> Evaluate:
    """-Σ q log softmax(z) per sample, q = 1 at y, smoothed; dz = (softmax(z) - q) / N."""
    shifted, dz, q = aligned.empty_like(z), aligned.empty_like(z), aligned.empty_like(z)
    largest, sums = aligned.empty_like(z[0]), aligned.empty_like(z[0])
    samples = np.arange(len(sums))

    def evaluate(y: Array) -> tuple[Any, Array]:
        q.fill(loss.label_smoothing / len(z))
        q[y, samples] += 1 - loss.label_smoothing
        np.subtract(z, np.max(z, axis=0, out=largest), out=shifted)
        np.exp(shifted, out=dz)
        np.sum(dz, axis=0, out=sums)
        np.divide(dz, sums, out=dz)
        np.subtract(dz, q, out=dz)
        np.multiply(q, shifted, out=q)
        mean = (np.log(sums, out=sums).sum() - q.sum()) / len(sums)
        return mean, np.divide(dz, len(sums), out=dz)

    return evaluate


def _canonical(function: Callable[..., Any]) -> Callable[..., Evaluate]:
    """Make a loss of one of the reference's."""

    @wraps(function)
    def planned(loss: Any, z: Array) -> Evaluate:
        def evaluate(y: Array) -> tuple[Any, Array]:
            mean, dz = function(loss, z.T, y)
            return mean, dz.T

        return evaluate

    return planned


_PLANNED = lowering(losses.Loss, globals())

LOSSES: dict[type, Callable[..., Evaluate]] = {
    spec: _PLANNED.get(spec) or _canonical(formula) for spec, formula in reference.LOSSES.items()
}
