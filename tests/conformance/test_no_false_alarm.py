"""The parity ladder on random models: what conforms must pass it, in both precisions.

`BAKEOFF_NETS` is how many troublesome nets are tried, if it is set.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable

from bakeoff.backends import reference
from bakeoff.backends.contract import Adapter, DType, Mode
from bakeoff.bench.parity import probes
from bakeoff.bench.parity.certificate import in_words
from bakeoff.bench.parity.ladder import climb
from bakeoff.bench.parity.tolerance import Oracle
from bakeoff.bench.worker.evidence import Evidence, Probe, collect
from conformance.driving import execution
from conformance.random_models import models
from conformance.troublesome_models import troublesome

_MODELS, _NETS = 200, 20
# Seconds a net: JAX compiles whatever is new. Keras's layers are tried in full on TensorFlow.
_FEWER_MODELS = {"jax": 20, "keras-jax": 10, "keras-torch": 40}
_FEWER_NETS = {"jax": 6, "keras-jax": 4, "keras-torch": 8}
_COMPILED_IN_NO_TIME = {"mxnet", "paddle"}
_STEPS = 4


def test_random_models_raise_no_false_alarm(adapter: Adapter, pytestconfig: pytest.Config) -> None:
    count = _FEWER_MODELS.get(pytestconfig.getoption("--backend"), _MODELS)

    def try_one(data: Any) -> None:
        probe = probes.of_model(data.draw(models(adapter)), _STEPS)
        _assert_no_alarm(adapter, probe, ["eager"])

    _try_many(try_one, count)


def test_troublesome_nets_raise_no_false_alarm(
    adapter: Adapter, pytestconfig: pytest.Config
) -> None:
    backend = pytestconfig.getoption("--backend")
    count = int(os.environ.get("BAKEOFF_NETS", _FEWER_NETS.get(backend, _NETS)))
    modes = adapter.MODES if backend in _COMPILED_IN_NO_TIME else adapter.MODES[:1]

    def try_one(data: Any) -> None:
        _assert_no_alarm(adapter, data.draw(troublesome(adapter, _STEPS)), modes)

    _try_many(try_one, count)


def _try_many(try_one: Callable[[Any], None], count: int) -> None:
    """Derandomised: the same models each time, so that a failure is never a matter of luck."""
    many = settings(
        max_examples=count,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        # An adapter with a few layers has none of many nets.
        suppress_health_check=[
            HealthCheck.too_slow,
            HealthCheck.data_too_large,
            HealthCheck.filter_too_much,
        ],
    )
    try:
        many(given(data=st.data())(try_one))()
    except Unsatisfiable:
        pytest.skip("the adapter lacks something of each of these nets")


def _assert_no_alarm(adapter: Adapter, probe: Probe, modes: Sequence[Mode]) -> None:
    assume(_stays_in_range(probe))
    for mode in modes:
        for dtype in get_args(DType):
            _assert_passes(adapter, probe, dtype, mode)


def _assert_passes(adapter: Adapter, probe: Probe, dtype: DType, mode: Mode) -> None:
    oracle = Oracle(probe.model, dtype, deviations=list(adapter.DEVIATIONS.values()))
    found = _ask(adapter, probe, dtype, mode)
    failures = [check for check in climb(probe, found, dtype, oracle) if not check.passes]
    assert not failures, f"{mode}, {dtype}: {in_words(failures[0])}\n{probe.model}"


def _stays_in_range(probe: Probe) -> bool:
    """Return whether float32 can hold the training and all on the way: a rate may be too high."""
    try:
        with np.errstate(over="raise", invalid="raise"):
            found = [_ask(reference, probe, dtype) for dtype in get_args(DType)]
    except FloatingPointError:
        return False
    return all(np.isfinite(a.astype(np.float32)).all() for each in found for a in each.values())


def _ask(adapter: Any, probe: Probe, dtype: DType, mode: Mode = "eager") -> Evidence:
    return collect(adapter, probe, execution(adapter, dtype, mode))
