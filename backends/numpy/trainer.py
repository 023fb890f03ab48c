"""A model in NumPy: a plan for each batch size, and one flat array of all that is trained."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Any

import numpy as np

from ...models import Model
from .. import aligned
from ..contract import Masks, Weights, starting_state
from .layers import FUSIONS, LAYERS
from .losses import LOSSES
from .optimizers import PIECE, take_step
from .plan import Array, Parameters, Pass, Plan, Tables, views

_Batch = tuple[Array, Array, Masks | None]


class Trainer:
    """See `contract.Trainer`."""

    def __init__(
        self, model: Model, weights: Weights, dtype: np.dtype, seed: int, state: Weights | None
    ) -> None:
        start, self._step = starting_state(model, weights, state)
        self._model = model
        self._rng = np.random.Generator(np.random.Philox(key=seed))
        self.parameters = Parameters(model, weights, dtype)
        self._slots: dict[str, Array] = {}
        for slot in model.optimizer.slots():
            self._slots[slot] = aligned.empty_like(self.parameters.flat)
            for name, part in views(self._slots[slot], model).items():
                np.copyto(part, start[f"{name}.{slot}"])
        self._free = aligned.empty(PIECE, dtype)
        self._plans: dict[tuple[int, bool], Plan] = {}

    def stage(self, x: Array, y: Array, masks: Masks | None) -> _Batch:
        return x, y, masks

    def hold(self, x: Array, y: Array) -> Callable[[Array], Iterable[_Batch]]:
        # Not `blocks.gather`: for one batch, aligned memory costs more than it gives.
        return lambda order: ((x.take(rows, 0), y.take(rows, 0), None) for rows in order)

    def train(self, batches: Iterable[_Batch]) -> Array:
        means = []
        for batch in batches:
            means.append(self.derive(batch))
            self.update()
        return np.array(means, self.parameters.flat.dtype)

    def split(self, batch: _Batch) -> dict[str, float]:
        """Take one step; return the seconds that its parts took."""
        times = [perf_counter()]
        plan, _, dlogits = self._forward(batch)
        times.append(perf_counter())
        plan.network.backward(dlogits)
        times.append(perf_counter())
        self.update()
        times.append(perf_counter())
        return dict(zip(("forward", "backward", "update"), np.diff(times).tolist(), strict=True))

    def gradients(self, batch: _Batch) -> tuple[float, Weights]:
        loss = float(self.derive(batch))
        return loss, {name: g.copy() for name, g in self.parameters.gradients.items()}

    def activations(self, batch: _Batch) -> dict[str, Array]:
        x, _, masks = batch
        plan = self._run(x, Pass(training=True, masks=masks), fused=False)
        return {key: _batch_first(y) for key, y in plan.outputs.items()}

    def predict(self, x: Array) -> Array:
        return _batch_first(self._run(x, Pass(training=False)).network.y)

    def weights(self) -> Weights:
        return {name: weight.copy() for name, weight in self.parameters.weights.items()}

    def state(self) -> Weights:
        slots = {
            f"{name}.{slot}": part.copy()
            for slot, flat in self._slots.items()
            for name, part in views(flat, self._model).items()
        }
        return slots | {"step": np.array(self._step)}

    def _run(self, x: Array, run: Pass, *, fused: bool = True) -> Plan:
        """Compute the network of x; its plan holds the outputs until the next time."""
        key = (len(x), fused)
        if key not in self._plans:
            tables = Tables(LAYERS, FUSIONS if fused else {}, LOSSES)
            self._plans[key] = Plan(self._model, len(x), self.parameters, self._rng, tables)
        plan = self._plans[key]
        np.copyto(plan.x, x)
        plan.network.forward(run)
        return plan

    def _forward(self, batch: _Batch) -> tuple[Plan, Any, Array]:
        x, y, masks = batch
        plan = self._run(x, Pass(training=True, masks=masks))
        mean, dlogits = plan.loss(y)
        return plan, mean, dlogits

    def derive(self, batch: _Batch) -> Any:
        """Compute the mean loss, which is returned, and all gradients: half of a step."""
        plan, mean, dlogits = self._forward(batch)
        plan.network.backward(dlogits)
        return mean

    def update(self) -> None:
        """Take the step along the gradients that were derived: the other half."""
        parameters = self.parameters
        take_step(
            self._model.optimizer,
            parameters.flat,
            parameters.flat_gradient,
            self._slots,
            self._step,
            self._free,
        )
        parameters.take_statistics()
        self._step += 1


def _batch_first(y: Array) -> Array:
    return np.moveaxis(y, -1, 0).copy(order="C")
