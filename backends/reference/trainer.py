"""A model in plain NumPy: its weights and slots, and nothing kept from one step to the next."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ...models import Model
from ..contract import Masks, Weights, starting_state
from .layers import sequence
from .losses import LOSSES
from .optimizers import take_step
from .passes import Array, Pass


class Trainer:
    """See `contract.Trainer`."""

    def __init__(
        self, model: Model, weights: Weights, dtype: np.dtype, seed: int, state: Weights | None
    ) -> None:
        slots, self._step = starting_state(model, weights, state)
        self._model = model
        self._rng = np.random.Generator(np.random.Philox(key=seed))
        self._weights = {name: weights[name].astype(dtype) for name in model.weights}
        self._slots = {name: slot.astype(dtype) for name, slot in slots.items()}

    def stage(self, x: Array, y: Array, masks: Masks | None) -> tuple[Array, Array, Masks | None]:
        return x, y, masks

    def train(self, batches: Iterable[tuple[Array, Array, Masks | None]]) -> Array:
        return np.stack([self._train_one(*batch) for batch in batches])

    def gradients(self, batch: tuple[Array, Array, Masks | None]) -> tuple[float, Weights]:
        loss, gradients, _ = self._loss_and_gradients(*batch)
        return float(loss), gradients

    def activations(self, batch: tuple[Array, Array, Masks | None]) -> dict[str, Array]:
        x, _, masks = batch
        run = self._run(training=True, masks=masks)
        sequence(self._model.nodes, x, run)
        return {key: output.copy() for key, output in run.outputs.items()}

    def derivatives(
        self, x: Array, y: Array, masks: Masks | None
    ) -> tuple[dict[str, Array], Array, Weights, Weights]:
        """Return every output, the mean loss, its gradients, and the statistics that would move."""
        run = self._run(training=True, masks=masks)
        loss, gradients = self._derive(x, y, run)
        return run.outputs, loss, gradients, run.statistics

    def predict(self, x: Array) -> Array:
        run = self._run(training=False, masks=None)
        return sequence(self._model.nodes, x, run)[0]

    def weights(self) -> Weights:
        return {name: weight.copy() for name, weight in self._weights.items()}

    def state(self) -> Weights:
        slots = {name: slot.copy() for name, slot in self._slots.items()}
        return slots | {"step": np.array(self._step)}

    def _run(self, *, training: bool, masks: Masks | None) -> Pass:
        return Pass(self._weights, training, masks, self._rng, outputs={}, statistics={})

    def _loss_and_gradients(
        self, x: Array, y: Array, masks: Masks | None
    ) -> tuple[Array, Weights, Weights]:
        run = self._run(training=True, masks=masks)
        loss, gradients = self._derive(x, y, run)
        return loss, gradients, run.statistics

    def _derive(self, x: Array, y: Array, run: Pass) -> tuple[Array, Weights]:
        logits, backprop = sequence(self._model.nodes, x, run)
        loss, dlogits = LOSSES[type(self._model.loss)](self._model.loss, logits, y)
        return loss, backprop(dlogits)[1]

    def _train_one(self, x: Array, y: Array, masks: Masks | None) -> Array:
        loss, gradients, statistics = self._loss_and_gradients(x, y, masks)
        take_step(self._model.optimizer, self._weights, gradients, self._slots, self._step)
        self._weights |= statistics
        self._step += 1
        return loss
