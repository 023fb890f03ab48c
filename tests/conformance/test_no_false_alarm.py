"""The parity ladder on random models: what conforms must pass it, in both precisions."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from bakeoff.backends import reference
from bakeoff.backends.contract import Adapter, DType
from bakeoff.bench.parity import probes
from bakeoff.bench.parity.certificate import in_words
from bakeoff.bench.parity.ladder import climb
from bakeoff.bench.parity.tolerance import Oracle
from bakeoff.bench.worker.evidence import Evidence, Probe, collect
from conformance.driving import execution
from conformance.random_models import models

_MODELS = 200
_FEWER = {"jax": 20}  # it compiles whatever is new, in either mode: a second for each model
_STEPS = 4


def test_random_models_raise_no_false_alarm(adapter: Adapter, pytestconfig: pytest.Config) -> None:
    # Derandomised: the same models each time, so that a failure is never a matter of luck.
    @settings(
        max_examples=_FEWER.get(pytestconfig.getoption("--backend"), _MODELS),
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(data=st.data())
    def try_one(data: Any) -> None:
        probe = probes.of_model(data.draw(models(adapter)), _STEPS)
        assume(_stays_in_range(probe))
        for dtype in get_args(DType):
            _assert_passes(adapter, probe, dtype)

    try_one()


def _assert_passes(adapter: Adapter, probe: Probe, dtype: DType) -> None:
    oracle = Oracle(probe.model, dtype, deviations=list(adapter.DEVIATIONS.values()))
    found = _ask(adapter, probe, dtype)
    failures = [check for check in climb(probe, found, dtype, oracle) if not check.passes]
    assert not failures, f"{dtype}: {in_words(failures[0])}\n{probe.model}"


def _stays_in_range(probe: Probe) -> bool:
    """Return whether float32 can hold the training: the rate of a random model may be too high."""
    with np.errstate(over="ignore", invalid="ignore"):
        found = _ask(reference, probe, "float64")
        return all(np.isfinite(array.astype(np.float32)).all() for array in found.values())


def _ask(adapter: Any, probe: Probe, dtype: DType) -> Evidence:
    return collect(adapter, probe, execution(adapter, dtype))
