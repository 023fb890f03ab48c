"""The loops written by hand that an adapter's speed is compared with: do they train?"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest

from bakeoff import backends
from conformance import driving

_SAMPLES = {"mnist-mlp": 16, "lenet5": 16, "convnet": 4, "mnist-rows-lstm": 16}
_STEPS = 8


@pytest.fixture(scope="module")
def native(request: pytest.FixtureRequest) -> Any:
    backend = request.config.getoption("--backend")
    if driving.device != "cpu":
        pytest.skip("the loops written by hand are for the CPU")
    if backend not in backends.NAMES:
        pytest.skip("only our own backends have a loop written by hand")
    return importlib.import_module(f"bakeoff.bench.rivals.native.{backend.replace('-', '_')}")


# PyTorch 2.13 warns of itself where an LSTM breaks the graph in torch.compile.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
@pytest.mark.parametrize("workload", _SAMPLES)
def test_losses_fall_on_a_repeated_batch(native: Any, workload: str, mode: str) -> None:
    if mode not in native.MODES:
        pytest.skip(f"{native.__name__} has {', '.join(native.MODES)}")
    samples = _SAMPLES[workload]
    draw = np.random.default_rng(5)
    x = draw.standard_normal((3 * samples, 1, 28, 28), np.float32)
    y = draw.integers(10, size=3 * samples)
    train = native.prepare(workload, x, y, mode=mode, threads=1)
    order = np.tile(np.arange(samples, 2 * samples), (_STEPS, 1))

    losses = np.concatenate([train(order), train(order)])

    assert losses.shape == (2 * _STEPS,)
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[_STEPS] < losses[0]


def test_the_batches_are_those_of_the_order(native: Any) -> None:
    """A loss is that of its own row: the batch trained on has learned, the other has not."""
    draw = np.random.default_rng(5)
    x, y = draw.standard_normal((64, 1, 28, 28), np.float32), draw.integers(10, size=64)
    train = native.prepare("mnist-mlp", x, y, mode="eager", threads=1)
    first, second = np.arange(32), np.arange(32, 64)

    losses = train(np.stack([*[first] * 30, second, first]))

    assert losses[-1] < 0.5 * losses[0]
    assert losses[-2] > 2 * losses[-1]


def test_the_workloads_are_those_of_every_backend(native: Any) -> None:
    assert list(native.WORKLOADS) == list(_SAMPLES)
