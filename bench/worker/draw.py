"""Random data for a model, the same in every process."""

from __future__ import annotations

import numpy as np

from ...models import Model
from ...models.init import stream
from ...models.losses import BinaryCrossEntropy, SoftmaxCrossEntropy

SEED = 0


def draw(model: Model, samples: int, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw inputs, normal or ids, and targets to match the loss; both representable in float32."""
    rng = stream(SEED, f"probe-{step}", model.name)
    shape, outputs = (samples, *model.input), model.output_shape[0]
    if model.vocabulary:
        x = rng.integers(model.vocabulary, size=shape).astype(np.float64)
    else:
        x = representable(rng.normal(size=shape))
    match model.loss:
        case SoftmaxCrossEntropy():
            return x, rng.integers(outputs, size=samples)
        case BinaryCrossEntropy():
            return x, rng.integers(2, size=(samples, outputs)).astype(np.float64)
        case _:
            return x, representable(rng.normal(size=(samples, outputs)))


def representable(values: np.ndarray) -> np.ndarray:
    """Round to float32, so that both precisions see the same numbers."""
    return np.asarray(values).astype(np.float32).astype(np.float64)
