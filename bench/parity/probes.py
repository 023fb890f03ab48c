"""What a model is probed with: moving rate, small batches, masks, all drawn by the parent."""

from __future__ import annotations

import numpy as np
from msgspec import structs

from ...datasets.dataset import Dataset
from ...models import Model
from ...models.init import batch_order, dropout_masks, initial_weights
from ...models.losses import BinaryCrossEntropy
from ...models.schedules import ConstantRate, ExponentialDecay
from ..worker.draw import SEED, draw, representable
from ..worker.evidence import Probe

_BLOCK = 2  # steps in one call
_SAMPLES = (4, 8)  # of a batch: at least, at most
_FLOPS = 1e9  # what the oracle may spend on one batch, and five times that on all


def of_model(model: Model, steps: int) -> Probe:
    """Probe a model with random inputs: normal, or ids; targets to match its loss."""
    samples, steps = _size(model, steps)
    batches = [draw(model, samples, step) for step in range(steps)]
    return _probe(model, batches)


def of_workload(model: Model, dataset: Dataset, steps: int) -> Probe:
    """Probe a model with the first samples of its training data, in the order of seed 0."""
    samples, steps = _size(model, steps)
    size, x, y = len(dataset.train.x), dataset.train.x, dataset.train.y
    order = np.resize(batch_order(size, batch_size=size, epochs=1, seed=SEED), (steps, samples))
    batches = [(representable(x[rows]), _targets(model, y[rows])) for rows in order]
    return _probe(model, batches)


def _probe(model: Model, batches: list[tuple[np.ndarray, np.ndarray]]) -> Probe:
    return Probe(
        model=_with_moving_rate(model, len(batches)),
        weights=initial_weights(model, SEED, "float64"),
        batches=[
            (x, y, dropout_masks(model, len(x), seed=SEED, step=step))
            for step, (x, y) in enumerate(batches)
        ],
        block=min(_BLOCK, len(batches) - 1),
    )


def _size(model: Model, steps: int) -> tuple[int, int]:
    """Return samples per batch and steps: a large model is probed with fewer."""
    flops = model.cost.training_flops or 1
    samples = int(np.clip(_FLOPS / flops, *_SAMPLES))
    return samples, int(np.clip(5 * _FLOPS / (flops * samples), min(steps, 3), steps))


def _with_moving_rate(model: Model, steps: int) -> Model:
    """A constant rate would hide what an optimizer does with one that moves."""
    if not isinstance(model.optimizer.schedule, ConstantRate):
        return model
    warmup = model.optimizer.schedule.warmup_steps
    moving = ExponentialDecay(steps=max(1, steps // 2), warmup_steps=warmup)
    return structs.replace(model, optimizer=structs.replace(model.optimizer, schedule=moving))


def _targets(model: Model, y: np.ndarray) -> np.ndarray:
    """Return targets in the form that the contract gives them for the model's loss."""
    if isinstance(model.loss, BinaryCrossEntropy):
        return y[:, None].astype(np.float64)
    return y if model.loss.task == "classification" else representable(y)
