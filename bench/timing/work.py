"""What is timed: a model and the data that it is fed, resolved from a name."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...datasets import load
from ...datasets.dataset import Dataset
from ...models import Model
from ...models.init import initial_weights, stream
from .. import workload
from ..parity import probes
from ..results.summary import WorkloadFacts
from ..worker.draw import draw
from ..worker.evidence import Probe
from ..worker.files import write_arrays
from ..workload import facts

_PROBE_STEPS = 20
_SAMPLES = 4096  # that batches are drawn from
_BYTES = 2**28  # of them at most
_BATCH = 64  # of a model, which names none
_SEED = 0


class TimedWork(NamedTuple):
    """A model under the name that the user gave it, with data and what certifies it.

    x is [N, *input] and y as the dataset has it; `order` is a permutation of the N samples.
    """

    name: str
    model: Model
    x: np.ndarray
    y: np.ndarray
    batch_size: int
    facts: WorkloadFacts
    probe: Probe

    def write(self, path: Path) -> None:
        """Write what a worker needs: weights by name, `x`, `y` and `order`."""
        order = stream(_SEED, "order").permutation(len(self.x))
        weights = initial_weights(self.model, _SEED, "float64")
        write_arrays(path, {"x": self.x, "y": self.y, "order": order, **weights})


def find(name: workload.Named, data_dir: Path | None) -> TimedWork:
    """Resolve a workload, with the first of its training data, or a model, with random data.

    Raises InputError.
    """
    work = workload.find(name)
    if isinstance(work, Model):
        return _of_model(work)
    dataset = load(work.dataset, data_dir=data_dir)
    workload.check(work, dataset)
    return _of_workload(work, dataset)


def _of_workload(work: workload.Workload, dataset: Dataset) -> TimedWork:
    samples = _samples(work.model)
    return TimedWork(
        name=work.name,
        model=work.model,
        x=np.asarray(dataset.train.x[:samples]),
        y=np.asarray(dataset.train.y[:samples]),
        batch_size=work.batch_size,
        facts=facts(work, dataset),
        probe=probes.of_workload(work.model, dataset, _PROBE_STEPS),
    )


def _of_model(model: Model) -> TimedWork:
    x, y = draw(model, min(_samples(model), 2 * _BATCH), step=0)
    return TimedWork(
        name=model.name,
        model=model,
        x=x.astype(np.float32),
        y=y[:, 0] if y.ndim == 2 and model.loss.task == "classification" else y,
        batch_size=_BATCH,
        facts=WorkloadFacts(
            name=model.name,
            description=model.description,
            dataset="random data",
            dataset_sha256="",
            dataset_size="",
            batch_size=_BATCH,
            epochs=0,
            metric="",
            lower_is_better=False,
            warnings=[f"{model.name}: {line}" for line in model.warnings],
            **workload.facts_of(model),
        ),
        probe=probes.of_model(model, _PROBE_STEPS),
    )


def _samples(model: Model) -> int:
    """Return how many samples of a model's input are kept in memory."""
    return max(1, min(_SAMPLES, _BYTES // (4 * int(np.prod(model.input)))))
