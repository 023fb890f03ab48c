"""A block of steps, and of predictions, of the nets that every backend is timed on."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bakeoff import models
from bakeoff.backends.contract import Adapter, Execution, Mode, Unsupported
from bakeoff.bench.worker import time as timer
from bakeoff.bench.worker.task import Task, steps_per_block

_BATCH = 64


@pytest.mark.parametrize("phase", ["train", "infer"])
@pytest.mark.parametrize("name", ["linear", "mnist-mlp", "lenet5", "convnet", "mnist-rows-lstm"])
def test_steps(
    benchmark: BenchmarkFixture,
    adapter: Adapter,
    device: str,
    name: str,
    mode: Mode,
    phase: Literal["train", "infer"],
) -> None:
    model = models.read(name)
    task = Task(
        name=name,
        model=model,
        backend=adapter.__name__,
        adapter=adapter.__name__,
        execution=Execution(device=device, dtype="float32", mode=mode, threads=1),
        phase=phase,
        batch_size=_BATCH,
        steps=steps_per_block(model, phase, _BATCH),
        inputs="",
        python="",
        environment={},
    )
    case = timer.with_random_data(task, adapter)
    try:
        trainer = case.build()
    except Unsupported as refusal:
        pytest.skip(str(refusal))
    train = timer.staged(case, trainer)
    train(task.steps)  # compiles
    benchmark.group = f"{name} {phase}"
    benchmark.extra_info["samples per block"] = task.steps * _BATCH
    found = benchmark(train, task.steps)
    assert len(found) == task.steps
    assert np.isfinite(found).all()
