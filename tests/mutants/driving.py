"""Run a backend as it is timed, in this process, and audit what its workers noted."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np

from bakeoff.backends.contract import Execution, Weights
from bakeoff.bench.results.summary import Audits
from bakeoff.bench.timing import audits as of_bench
from bakeoff.bench.timing.race import Entrant
from bakeoff.bench.training import audits as of_run
from bakeoff.bench.worker import job, task, time, train
from bakeoff.bench.worker.draw import draw
from bakeoff.bench.worker.records import read
from bakeoff.models import Model, layers, losses, optimizers
from bakeoff.models.init import batch_order, initial_weights
from bakeoff.models.schedules import ExponentialDecay

FLOAT32 = Execution(device="cpu", dtype="float32", mode="eager", threads=1)
BATCH = 48  # large for every mutant
_STEPS = 40  # of an epoch: more than 32 and, in four epochs, more than 100
_EPOCHS = 4
_ROWS = {"train": BATCH * _STEPS, "validation": 300, "test": 600}

_HEAD = layers.Dense(name="head", units=3)
_HIDDEN = (
    layers.Dense(name="hidden", units=7, use_bias=False),
    layers.BatchNorm(name="norm"),
    layers.Tanh(),
)
_DROPPING = (
    layers.Dense(name="first", units=32),
    layers.Dropout(name="drop1", rate=0.25),
    layers.Dense(name="second", units=32),
    layers.Dropout(name="drop2", rate=0.25),
)


def _model(name: str, body: tuple[layers.Layer, ...]) -> Model:
    """Return a model that has all that the mutants are wrong about."""
    optimizer = optimizers.SGD(
        learning_rate=0.0625,
        momentum=0.875,
        weight_decay=0.015625,
        clip_value=0.03125,
        schedule=ExponentialDecay(steps=64, warmup_steps=8),
    )
    loss = losses.SoftmaxCrossEntropy()
    return Model(name=name, input=(4,), layers=(*body, _HEAD), loss=loss, optimizer=optimizer)


NORMALIZED, DROPPING = _model("normalized", _HIDDEN), _model("dropping", _DROPPING)


class Data:
    """A dataset and inputs on disk, for all jobs of one model."""

    def __init__(self, model: Model, folder: Path) -> None:
        self.model, self.folder = model, folder
        x, y = draw(model, sum(_ROWS.values()), step=0)
        ends = np.cumsum(list(_ROWS.values()))[:-1]
        (folder / "dataset").mkdir(parents=True)
        for name, rows, labels in zip(
            _ROWS, np.split(x.astype(np.float32), ends), np.split(y, ends), strict=True
        ):
            np.save(folder / "dataset" / f"x_{name}.npy", rows)
            np.save(folder / "dataset" / f"y_{name}.npy", labels)
        (folder / "inputs").mkdir()
        self.weights = initial_weights(model, 1, "float32")
        order = batch_order(_ROWS["train"], batch_size=BATCH, epochs=_EPOCHS, seed=0)
        np.save(folder / "inputs" / "order.npy", order)
        np.savez(folder / "inputs" / "weights.npz", **self.weights)
        self._numbers = itertools.count()

    def resumed_from(self, weights: Weights, state: Weights) -> None:
        """Let every job go on from here."""
        np.savez(self.folder / "inputs" / "weights.npz", **weights)
        np.savez(self.folder / "inputs" / "state.npz", **state)

    def run(self, adapter: str, *, epochs_done: int = 0) -> Audits:
        """Train as `bakeoff run` does, in the worker's own code, and judge it."""
        folder = self.folder / "jobs" / str(next(self._numbers)) / "job"
        plan = of_run.Plan(_STEPS, _EPOCHS + 1)
        what = job.Job(
            workload=self.model.name,
            model=self.model,
            dataset=str(self.folder / "dataset"),
            dataset_sha256="",
            backend="mutant",
            adapter=adapter,
            execution=FLOAT32,
            seed=0,
            target_mean=0.0,
            target_scale=1.0,
            epochs=_EPOCHS,
            epochs_done=epochs_done,
            steps_per_block=_STEPS,
            audits=of_run.draw(plan, range(epochs_done + 1, _EPOCHS + 1), _STEPS),
            metric="accuracy",
            inputs="../../../inputs",
            python="",
            environment={},
        )
        job.write(what, folder, folder)
        assert train.main(folder) == 0, read(folder / "records.jsonl")[-1]
        of_run.judge_jobs([str(folder)])
        found = of_run.read(folder)
        assert found
        return found

    def bench(self, adapter: str, phase: Any) -> Audits:
        """Take a few turns as `bakeoff bench` does, and judge them."""
        entrant = self.folder / "cases" / str(next(self._numbers))
        inputs = self.folder / "timed.npz"
        x, y = draw(self.model, 4 * BATCH, step=0)
        order = np.random.default_rng(0).permutation(len(x))
        np.savez(inputs, x=x.astype(np.float32), y=y, order=order, **self.weights)
        what = task.Task(
            name=self.model.name,
            model=self.model,
            backend="mutant",
            adapter=adapter,
            execution=FLOAT32,
            phase=phase,
            batch_size=BATCH,
            steps=25,
            inputs=str(inputs),
            python="",
            environment={},
        )
        task.write(what, entrant / "0")
        turns = [(feed, number, number != 1) for number in range(3) for feed in what.feeds]
        records: list[Any] = []
        time.time_task(what, entrant / "0", records.append, iter(turns))
        found = of_bench.judge_entrant(Entrant(what, entrant, [records]))
        assert found.blocks == 2 * len(what.feeds)
        return found
