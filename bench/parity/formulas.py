"""The formulas at a given point of a training: what the reference computes there, in float64."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from msgspec import structs

from ...backends import reference
from ...backends.contract import DType, Execution, Masks, Trainer, Weights
from ...backends.reference.trainer import Trainer as ReferenceTrainer
from ...models import Model
from ..worker.evidence import under
from .rounding import Source, disturbed

Batch = tuple[np.ndarray, np.ndarray, Masks | None]
Values = dict[str, np.ndarray]


class State(NamedTuple):
    """Where a training stands, in float64: all weights, optimizer slots, steps taken."""

    weights: Weights
    slots: Weights
    step: int

    @property
    def arrays(self) -> Values:
        """All of it as `weights/<name>` and `state/<slot>`."""
        weights = {f"weights/{name}": a for name, a in self.weights.items()}
        return weights | {f"state/{name}": a for name, a in self.slots.items()}

    def farther(self, start: State, by: Values) -> State:
        """Return this state with every weight moved on, in the direction that it took."""
        weights = {
            name: w + np.copysign(1.0, w - start.weights[name]) * by[f"weights/{name}"]
            for name, w in self.weights.items()
        }
        return self._replace(weights=weights)

    @classmethod
    def of(cls, weights: Weights, state: Weights) -> State:
        """Take over what a backend reports."""
        as64 = {name: value.astype(np.float64) for name, value in weights.items()}
        slots = {n: v.astype(np.float64) for n, v in state.items() if n != "step"}
        return cls(as64, slots, int(state["step"]))

    @classmethod
    def start(cls, model: Model, weights: Weights) -> State:
        """Before the first step: every slot is zero."""
        as64 = {name: value.astype(np.float64) for name, value in weights.items()}
        names = (f"{name}.{slot}" for name in model.trainable for slot in model.optimizer.slots())
        slots = {name: np.zeros_like(as64[name.rpartition(".")[0]]) for name in names}
        return cls(as64, slots, 0)


class Formulas:
    """The reference's formulas for a model, or those of an `adapter` with something changed."""

    def __init__(self, model: Model, adapter: Any = reference) -> None:
        self.model, self.adapter = model, adapter
        self.running = [name for name in model.weights if name not in model.trainable]
        self._unclipped = structs.replace(model.optimizer, clip_value=None, clip_norm=None)

    def derivatives(self, state: State, batch: Batch) -> Values:
        """Return `forward/<key>`, `loss`, `gradients/<weight>`, `statistics/<weight>`."""
        trainer = self._trainer(state)
        batch = trainer.stage(*batch)
        values = {f"forward/{key}": a for key, a in trainer.activations(batch).items()}
        loss, gradients = trainer.gradients(batch)
        values["loss"] = np.array(loss)
        values |= {f"gradients/{name}": gradient for name, gradient in gradients.items()}
        if self.running:
            trainer.train([batch])
            moved = trainer.weights()
            values |= {f"statistics/{name}": moved[name] for name in self.running}
        return values

    def evaluation(self, state: State, batch: Batch) -> Values:
        """Return `evaluation`: the logits in evaluation mode."""
        return {"evaluation": self._trainer(state).predict(batch[0])}

    def clip(self, gradients: Weights) -> Weights:
        """Return gradients clipped as the optimizer asks."""
        clipped: Weights = self.adapter.clip(self.model.optimizer, gradients)
        return clipped

    def step(self, state: State, clipped: Weights, statistics: Weights) -> State:
        """Take a step with gradients that are clipped already."""
        weights = {name: weight.copy() for name, weight in state.weights.items()}
        slots = {name: slot.copy() for name, slot in state.slots.items()}
        self.adapter.take_step(self._unclipped, weights, clipped, slots, state.step)
        return State(weights | statistics, slots, state.step + 1)

    def after(self, state: State, derivatives: Values) -> State:
        """Take a step with what is derived there."""
        clipped = self.clip(under("gradients", derivatives))
        return self.step(state, clipped, under("statistics", derivatives))

    def trained(self, state: State, batch: Batch) -> State:
        """Take a step on a batch."""
        return self.after(state, self.derivatives(state, batch))

    def disturbed_derivatives(self, state: State, batch: Batch, source: Source) -> Values:
        """Return the same as `derivatives`, of the reference itself, in one disturbed pass."""
        x, y, masks = batch
        trainer = self._disturbed_trainer(state, source)
        targets = y if y.dtype.kind == "i" else disturbed(y, source)
        outputs, loss, gradients, moved = trainer.derivatives(disturbed(x, source), targets, masks)
        values = {f"forward/{key}": a for key, a in outputs.items()} | {"loss": loss}
        values |= {f"gradients/{name}": gradient for name, gradient in gradients.items()}
        values |= {f"statistics/{name}": a for name, a in moved.items()}
        return {name: np.asarray(value) for name, value in values.items()}

    def disturbed_evaluation(self, state: State, batch: Batch, source: Source) -> Values:
        """Return the same as `evaluation`, likewise."""
        trainer = self._disturbed_trainer(state, source)
        return {"evaluation": np.asarray(trainer.predict(disturbed(batch[0], source)))}

    def _trainer(self, state: State) -> Trainer:
        slots = {**state.slots, "step": np.array(state.step)}
        trainer: Trainer = self.adapter.build(
            self.model, state.weights, FLOAT64, seed=0, state=slots
        )
        return trainer

    def _disturbed_trainer(self, state: State, source: Source) -> ReferenceTrainer:
        weights: Weights = {name: disturbed(w, source) for name, w in state.weights.items()}
        slots = {**state.slots, "step": np.array(state.step)}
        return reference.build(self.model, weights, FLOAT64, seed=0, state=slots)


def on_cpu(dtype: DType) -> Execution:
    """Return how the oracle, and what stands beside it, is executed."""
    return Execution(device="cpu", dtype=dtype, mode="eager", threads=1)


def largest(value: np.ndarray) -> float:
    """Return the largest absolute value, 0 if there is none."""
    return float(np.max(np.abs(value), initial=0.0))


FLOAT64 = on_cpu("float64")
