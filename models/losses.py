"""The losses: one frozen Struct each, on the network's raw output (logits, z), mean over the batch.

`check_output(shape)` raises a ValueError when a network's output cannot enter the loss;
`task` says what the targets y are: `"classification"` (labels) or `"regression"` (numbers).
"""

from __future__ import annotations

from typing import ClassVar, Literal

from msgspec import Struct

from .shapes import Fraction, PositiveFloat, Shape, show

Task = Literal["classification", "regression"]


class _Loss(Struct, frozen=True, tag_field="type", forbid_unknown_fields=True):
    task: ClassVar[Task] = "regression"

    def check_output(self, shape: Shape) -> None:
        if len(shape) != 1:
            tag = self.__struct_config__.tag
            raise ValueError(f"{tag} needs an output [K], got {show(shape)}; flatten or pool first")


class MSE(_Loss, frozen=True, tag="mse"):
    """L = mean over all elements of (z - y)². z, y: [N, K]."""


class MAE(_Loss, frozen=True, tag="mae"):
    """L = mean over all elements of |z - y|, dL/dz = 0 where z = y. z, y: [N, K]."""


class Huber(_Loss, frozen=True, tag="huber"):
    """L = mean of d²/2 if |d| <= delta else delta·(|d| - delta/2), d = z - y. z, y: [N, K].

    Huber 1964.
    """

    delta: PositiveFloat = 1.0


class SoftmaxCrossEntropy(_Loss, frozen=True, tag="softmax_cross_entropy"):
    """L = mean over n of log Σ_k exp z[n, k] - Σ_k q[n, k] z[n, k]. z: [N, C], y: [N] labels.

    q is 1 - s + s / C at the label, s / C elsewhere, s = `label_smoothing` (Szegedy et al. 2016).
    """

    label_smoothing: Fraction = 0.0

    task: ClassVar[Task] = "classification"

    def check_output(self, shape: Shape) -> None:
        super().check_output(shape)
        if shape[0] < 2:
            raise ValueError(
                "softmax_cross_entropy needs an output of at least 2 classes, got [1]; "
                "use binary_cross_entropy for one logit"
            )


class BinaryCrossEntropy(_Loss, frozen=True, tag="binary_cross_entropy"):
    """L = mean over all elements of log(1 + eᶻ) - z y. z, y: [N, 1], y in {0, 1}."""

    task: ClassVar[Task] = "classification"

    def check_output(self, shape: Shape) -> None:
        if shape != (1,):
            raise ValueError(
                f"binary_cross_entropy needs an output [1], got {show(shape)}; "
                "end the layers with a dense of 1 unit, or use softmax_cross_entropy"
            )


Loss = MSE | MAE | Huber | SoftmaxCrossEntropy | BinaryCrossEntropy
