"""Every optimizer: losses, weights and slots after one and five steps, and what a restart keeps."""

from __future__ import annotations

import numpy as np
import pytest

from bakeoff.backends import reference
from bakeoff.backends.contract import Adapter
from bakeoff.models.init import initial_weights
from conformance.cases import LAYERS, OPTIMIZERS, Case
from conformance.driving import staged, start, train, training_bound
from conformance.kinks import STEPS_AT_KINKS
from conformance.parity import assert_all_parity

_DENSE = next(case for case in OPTIMIZERS if case.id == "adam-dense")
# Compilation takes its time: one case per optimizer, with and without slots and convolutions.
_EACH = {"sgd", "sgd-momentum-dense", "adam", "adam-dense", "adamw", "rmsprop", "adagrad",
         "sgd-nesterov-cosine-warmup", "sgd-clip_norm", "batch_norm-running"}  # fmt: skip
_IN_EVERY_MODE = [pytest.param(case, id=case.id) for case in OPTIMIZERS if case.id in _EACH]
_AT_KINKS = [pytest.param(case, id=case.id) for case in STEPS_AT_KINKS]
_OPTIMIZERS = [pytest.param(case, id=case.id) for case in OPTIMIZERS]
_MODELS = [pytest.param(case, id=case.id) for case in [*LAYERS, *OPTIMIZERS]]


@pytest.mark.parametrize("steps", [1, 5])
@pytest.mark.parametrize("case", _OPTIMIZERS)
def test_steps(adapter: Adapter, case: Case, steps: int, dtype: str) -> None:
    expected = train(reference, case, "float64", steps)
    actual = train(adapter, case, dtype, steps)
    bound = training_bound(case, dtype, steps, expected)
    assert actual.losses.dtype == dtype
    assert {str(w.dtype) for w in actual.weights.values()} == {dtype}
    assert actual.state["step"] == steps
    assert_all_parity(actual.tensors(), expected.tensors(), bound=bound)


@pytest.mark.parametrize("case", _IN_EVERY_MODE)
def test_steps_in_every_mode(adapter: Adapter, case: Case, mode: str) -> None:
    expected = train(reference, case, "float64", 5)
    actual = train(adapter, case, "float32", 5, mode)
    bound = training_bound(case, "float32", 5, expected)
    assert_all_parity(actual.tensors(), expected.tensors(), bound=bound)


@pytest.mark.parametrize("case", _AT_KINKS)
def test_steps_at_kinks(adapter: Adapter, case: Case, dtype: str) -> None:
    expected = train(reference, case, "float64", 5)
    bound = training_bound(case, dtype, 5, expected)
    assert_all_parity(train(adapter, case, dtype, 5).tensors(), expected.tensors(), bound=bound)


@pytest.mark.parametrize("case", _OPTIMIZERS)
def test_a_restart_goes_on_as_if_unbroken(adapter: Adapter, case: Case, dtype: str) -> None:
    """Two steps, then three by a trainer built from the weights and state of the first."""
    unbroken = train(adapter, case, dtype, 5)
    first = start(adapter, case, dtype)
    losses = first.train(staged(first, case, dtype, 2))
    second = start(adapter, case, dtype, weights=first.weights(), state=first.state())
    losses = np.append(losses, second.train(staged(second, case, dtype, 5)[2:]))
    np.testing.assert_array_equal(losses, unbroken.losses)
    _assert_same(second.weights(), unbroken.weights)
    _assert_same(second.state(), unbroken.state)


@pytest.mark.parametrize("case", _MODELS)
def test_weights_survive_the_round_trip(adapter: Adapter, case: Case, dtype: str) -> None:
    weights = initial_weights(case.model, 3, dtype)
    trainer = start(adapter, case, dtype, weights=weights)
    _assert_same(trainer.weights(), weights)


def test_slots_are_zero_before_the_first_step(adapter: Adapter, dtype: str) -> None:
    case = _DENSE
    state = start(adapter, case, dtype).state()
    weights = initial_weights(case.model, 3, dtype)
    zeros = {f"{name}.{slot}": np.zeros_like(w) for name, w in weights.items() for slot in "mv"}
    _assert_same(state, zeros | {"step": np.array(0)})


def test_what_comes_out_is_the_callers(adapter: Adapter) -> None:
    """Writing into a returned array changes nothing inside."""
    case = _DENSE
    trainer = start(adapter, case, "float32")
    trainer.train(staged(trainer, case, "float32", 1))
    for read in (trainer.weights, trainer.state):
        before = {name: value.copy() for name, value in read().items()}
        for value in read().values():
            value += 1
        _assert_same(read(), before)


def test_what_goes_in_is_left_alone(adapter: Adapter) -> None:
    """Training does not write into the initial weights that it was given."""
    case = _DENSE
    weights = initial_weights(case.model, 3, "float32")
    before = {name: value.copy() for name, value in weights.items()}
    trainer = start(adapter, case, "float32", weights=weights)
    trainer.train(staged(trainer, case, "float32", 2))
    _assert_same(weights, before)


@pytest.mark.parametrize("case", _OPTIMIZERS)
def test_gradients_and_activations_take_no_step(adapter: Adapter, case: Case) -> None:
    plain = train(adapter, case, "float64", 2)
    trainer = start(adapter, case, "float64")
    batches = staged(trainer, case, "float64", 2)
    trainer.gradients(batches[0])
    trainer.activations(batches[1])
    trainer.predict(case.batches(1)[0][0])
    np.testing.assert_array_equal(trainer.train(batches), plain.losses)
    _assert_same(trainer.state(), plain.state)


def _assert_same(actual: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert sorted(actual) == sorted(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(actual[name], value, err_msg=name)
        assert actual[name].dtype == value.dtype, name
