"""Metrics, computed once and in NumPy for every backend, from its logits and the true targets.

Classification: `accuracy`, `macro_f1`, `log_loss`. Regression, in the target's original units:
`mse`, `mae`, `r2`.
"""

from __future__ import annotations

import numpy as np

from ...models.losses import BinaryCrossEntropy, Loss, Task

METRICS: dict[Task, tuple[str, ...]] = {
    "classification": ("accuracy", "macro_f1", "log_loss"),
    "regression": ("mse", "mae", "r2"),
}
LOWER_IS_BETTER = {"log_loss", "mse", "mae"}
BOUNDS = {
    "accuracy": (0.0, 1.0),
    "macro_f1": (0.0, 1.0),
    "log_loss": (0.0, np.inf),
    "mse": (0.0, np.inf),
    "mae": (0.0, np.inf),
    "r2": (-np.inf, 1.0),
}


def classification(loss: Loss, logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Return accuracy, macro-averaged F1 and mean log-loss.

    logits: [N, C], or [N, 1] under binary_cross_entropy; labels: int64 [N]. F1 is averaged over
    the classes that occur in labels or predictions; log-loss is in nats.
    """
    z = logits.astype(np.float64)
    if isinstance(loss, BinaryCrossEntropy):
        z = np.concatenate([np.zeros_like(z), z], axis=1)
    shifted = z - z.max(axis=1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    predicted = z.argmax(axis=1)
    return {
        "accuracy": float(np.mean(predicted == labels)),
        "macro_f1": _macro_f1(predicted, labels),
        "log_loss": float(-np.mean(log_probabilities[np.arange(len(labels)), labels])),
    }


def _macro_f1(predicted: np.ndarray, labels: np.ndarray) -> float:
    scores = []
    for label in np.union1d(predicted, labels):
        hits = np.sum((predicted == label) & (labels == label))
        scores.append(2 * hits / (np.sum(predicted == label) + np.sum(labels == label)))
    return float(np.mean(scores))


def regression(predicted: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """Return the mean squared error, mean absolute error and R². predicted, targets: [N, K].

    R² is 1 - Σ(y - ŷ)² / Σ(y - ȳ)², and NaN where the targets do not vary.
    """
    d = predicted.astype(np.float64) - targets
    spread = np.sum((targets - targets.mean(axis=0)) ** 2)
    return {
        "mse": float(np.mean(d * d)),
        "mae": float(np.mean(np.abs(d))),
        "r2": float(1 - np.sum(d * d) / spread) if spread else float("nan"),
    }
