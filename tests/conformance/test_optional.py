"""What an adapter may have beside the contract: each is skipped where it does not have it."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from bakeoff.backends.contract import Adapter, DType, Trainer
from bakeoff.bench.worker.draw import draw
from bakeoff.bench.worker.feeding import feeder, stage
from conformance.cases import LAYERS, OPTIMIZERS, Case
from conformance.driving import execution, staged, start

_DENSE = next(case for case in OPTIMIZERS if case.id == "adam-dense")
_IMAGES = next(case for case in LAYERS if case.id == "flatten-first")


def _optional(owner: Adapter | Trainer, name: str) -> None:
    if not hasattr(owner, name):
        pytest.skip(f"no {name}")


def test_a_split_step_is_the_step_of_train(adapter: Adapter, mode: str) -> None:
    whole, split = (start(adapter, _DENSE, "float32", mode) for _ in range(2))
    _optional(split, "split")
    batches = staged(whole, _DENSE, "float32", 3)

    whole.train(batches)
    for batch in batches:
        seconds = split.split(batch)
        assert sorted(seconds) == ["backward", "forward", "update"]
        assert all(part > 0 for part in seconds.values())

    for read in ("weights", "state"):
        expected = getattr(whole, read)()
        for name, value in getattr(split, read)().items():
            np.testing.assert_array_equal(value, expected[name], err_msg=name)


@pytest.mark.parametrize("case", [_DENSE, _IMAGES], ids=lambda case: case.id)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_batches_of_what_is_held_are_those_that_are_staged(
    adapter: Adapter, mode: str, dtype: DType, case: Case
) -> None:
    here, there = (start(adapter, case, dtype, mode) for _ in range(2))
    _optional(there, "hold")
    (x, y), order = draw(case.model, 7, step=0), np.random.default_rng(1).integers(7, size=(3, 5))
    y = y if y.dtype.kind == "i" else y.astype(dtype)
    feed = feeder(there, x, y, dtype)
    for block in (order, order[:1]):
        expected = here.train(stage(here, x, y, dtype, block))
        np.testing.assert_array_equal(there.train(feed(block)), expected)
    for name, value in here.weights().items():
        np.testing.assert_array_equal(there.weights()[name], value, err_msg=name)


def test_compilations_are_counted_and_end(adapter: Adapter) -> None:
    if "compiled" not in adapter.MODES:
        pytest.skip("nothing is compiled")
    trainer = start(adapter, _DENSE, "float32", "compiled")
    _optional(trainer, "compilations")
    batches = staged(trainer, _DENSE, "float32", 2)
    counts = [trainer.compilations()]
    for _ in range(4):
        trainer.train(batches)
        counts.append(trainer.compilations())
    assert counts[0] < counts[1]
    assert counts[-2] == counts[-1]


def test_memory_is_counted_on_a_device_and_none_on_the_cpu(adapter: Adapter) -> None:
    _optional(adapter, "device_memory")
    trainer = start(adapter, _DENSE, "float32")
    trainer.train(staged(trainer, _DENSE, "float32", 1))
    device = execution(adapter, "float32").device
    assert device == "cpu" or adapter.device_memory(device) > 0
    assert adapter.device_memory("cpu") is None


def test_settings_are_named_in_words(adapter: Adapter, mode: str) -> None:
    _optional(adapter, "settings")
    settings = adapter.settings(execution(adapter, "float32", mode))
    assert settings
    assert all(isinstance(word, str) and word for pair in settings.items() for word in pair)


def test_formulas_in_place_of_native_kernels_in_float64_are_told(adapter: Adapter) -> None:
    if f"{adapter.__name__}.float64" not in sys.modules:
        pytest.skip("no kernel is replaced in float64 alone")
    single, double = (
        adapter.settings(execution(adapter, dtype)) for dtype in ("float32", "float64")
    )
    assert "by formula" in double["float64"]
    assert "float64" not in single
