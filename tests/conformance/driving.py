"""Drive an adapter through the contract on a case: what the tests compare."""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
import pytest

from bakeoff.backends import reference
from bakeoff.backends.contract import Adapter, Execution, Trainer, Unsupported, Weights
from bakeoff.models.init import initial_weights
from conformance.cases import Case
from conformance.parity import float32_bound, gamma

SEED = 7
device = "cpu"  # of the adapter under test: `--device`


class Outcome(NamedTuple):
    """What one backend says of a case: every tensor by name, and the dtypes that it answered in."""

    activations: Weights
    gradients: Weights
    dtypes: set[str]


class Training(NamedTuple):
    """Losses, weights and optimizer state after some steps."""

    losses: np.ndarray
    weights: Weights
    state: Weights

    def tensors(self) -> Weights:
        weights = {f"weights/{name}": value for name, value in self.weights.items()}
        state = {f"state/{name}": value for name, value in self.state.items()}
        return {"losses": self.losses, **weights, **state}


def execution(adapter: Adapter, dtype: str, mode: str = "eager") -> Execution:
    """Return how an adapter is run: on the device asked for, but for the reference, on the CPU."""
    where = "cpu" if adapter is reference else device
    return Execution(device=where, dtype=dtype, mode=mode, threads=1)


def start(
    adapter: Adapter,
    case: Case,
    dtype: str,
    mode: str = "eager",
    *,
    weights: Weights | None = None,
    state: Weights | None = None,
) -> Trainer:
    """Build a case's model with its initial weights, or with those given.

    A case that the adapter lists as unsupported is expected to fail: it must refuse, with the
    reason that it lists.
    """
    how = execution(adapter, dtype, mode)
    weights = weights or initial_weights(case.model, SEED, dtype)
    if excuse := _excuse(adapter, case, mode):
        with pytest.raises(Unsupported, match=re.escape(excuse)):
            adapter.build(case.model, weights, how, seed=SEED, state=state)
        pytest.xfail(excuse)
    return adapter.build(case.model, weights, how, seed=SEED, state=state)


def _excuse(adapter: Adapter, case: Case, mode: str) -> str | None:
    specs = [node.layer for node in case.model.walk()]
    for kind in map(type, [*specs, case.model.loss, case.model.optimizer]):
        for gap in (kind, (mode, kind)):
            if gap in adapter.UNSUPPORTED:
                return adapter.UNSUPPORTED[gap]
    return None


def staged(trainer: Trainer, case: Case, dtype: str, count: int) -> list[object]:
    """Stage the first batches of a case, with their dropout masks."""
    return [
        trainer.stage(x.astype(dtype), cast_targets(y, dtype), case.masks(step))
        for step, (x, y) in enumerate(case.batches(count))
    ]


def cast_targets(y: np.ndarray, dtype: str) -> np.ndarray:
    """Give targets in the dtype of the contract: labels stay int64."""
    return y if y.dtype.kind == "i" else y.astype(dtype)


def derivatives(adapter: Adapter, case: Case, dtype: str, mode: str = "eager") -> Outcome:
    """Return a case's activations, and the gradients and loss of its first batch."""
    trainer = start(adapter, case, dtype, mode)
    (batch,) = staged(trainer, case, dtype, 1)
    activations = trainer.activations(batch)
    loss, gradients = trainer.gradients(batch)
    dtypes = {str(value.dtype) for value in [*activations.values(), *gradients.values()]}
    return Outcome(activations, {"loss": np.array(loss), **gradients}, dtypes)


def train(adapter: Adapter, case: Case, dtype: str, steps: int, mode: str = "eager") -> Training:
    """Take some steps, one call of `train` for them all."""
    trainer = start(adapter, case, dtype, mode)
    losses = trainer.train(staged(trainer, case, dtype, steps))
    return Training(losses, trainer.weights(), trainer.state())


def derivative_bound(case: Case, dtype: str, expected: Outcome) -> float:
    """Return the bound for `derivatives` of a case."""
    if dtype == "float64":
        return gamma(case.model, len(case.batches(1)[0][0]))
    own = derivatives(reference, case, "float32")
    return float32_bound(own.activations | own.gradients, expected.activations | expected.gradients)


def training_bound(case: Case, dtype: str, steps: int, expected: Training) -> float:
    """Return the bound for `train` of a case."""
    if dtype == "float64":
        return gamma(case.model, len(case.batches(1)[0][0]), steps)
    return float32_bound(train(reference, case, "float32", steps).tensors(), expected.tensors())
