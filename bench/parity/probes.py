"""What a model is probed with: moving rate, small batches, masks, all drawn by the parent."""

from __future__ import annotations

import numpy as np
from msgspec import structs

from ...datasets.dataset import Dataset
from ...models import Model
from ...models.init import batch_order, dropout_masks, initial_weights, stream
from ...models.layers import Embedding
from ...models.losses import BinaryCrossEntropy, SoftmaxCrossEntropy
from ...models.schedules import ConstantRate, ExponentialDecay
from .evidence import Probe

_SEED = 0
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
    order = np.resize(batch_order(size, batch_size=size, epochs=1, seed=_SEED), (steps, samples))
    batches = [(_representable(x[rows]), _targets(model, y[rows])) for rows in order]
    return _probe(model, batches)


def _probe(model: Model, batches: list[tuple[np.ndarray, np.ndarray]]) -> Probe:
    return Probe(
        model=_with_moving_rate(model, len(batches)),
        weights=initial_weights(model, _SEED, "float64"),
        batches=[
            (x, y, dropout_masks(model, len(x), seed=_SEED, step=step))
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


def draw(model: Model, samples: int, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw inputs, normal or ids, and targets to match the loss; both representable in float32."""
    rng = stream(_SEED, f"probe-{step}", model.name)
    shape, outputs = (samples, *model.input), model.output_shape[0]
    first = model.layers[0]
    if isinstance(first, Embedding):
        x = rng.integers(first.vocabulary_size, size=shape).astype(np.float64)
    else:
        x = _representable(rng.normal(size=shape))
    match model.loss:
        case SoftmaxCrossEntropy():
            return x, rng.integers(outputs, size=samples)
        case BinaryCrossEntropy():
            return x, rng.integers(2, size=(samples, outputs)).astype(np.float64)
        case _:
            return x, _representable(rng.normal(size=(samples, outputs)))


def _targets(model: Model, y: np.ndarray) -> np.ndarray:
    """Return targets in the form that the contract gives them for the model's loss."""
    if isinstance(model.loss, BinaryCrossEntropy):
        return y[:, None].astype(np.float64)
    return y if model.loss.task == "classification" else _representable(y)


def _representable(values: np.ndarray) -> np.ndarray:
    """Round to float32, so that both precisions see the same numbers."""
    return np.asarray(values).astype(np.float32).astype(np.float64)
