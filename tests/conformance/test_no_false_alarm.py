"""The parity ladder on random models: a backend that conforms must pass it, in both precisions."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from bakeoff.backends.contract import Adapter, Execution
from bakeoff.bench.parity import evidence, probes
from bakeoff.bench.parity.certificate import in_words
from bakeoff.bench.parity.ladder import climb
from bakeoff.bench.parity.tolerance import Oracle
from conformance.random_models import models

_MODELS = 200
_STEPS = 4


@settings(
    max_examples=_MODELS,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(data=st.data())
def test_a_random_model_raises_no_false_alarm(adapter: Adapter, data: Any) -> None:
    model = data.draw(models(adapter))
    probe = probes.of_model(model, _STEPS)
    deviations = list(adapter.DEVIATIONS.values())
    for dtype in ("float64", "float32"):
        execution = Execution(device="cpu", dtype=dtype, mode="eager", threads=1)
        found = evidence.collect(adapter, probe, execution)
        oracle = Oracle(probe.model, dtype, deviations=deviations)
        failures = [c for c in climb(probe, found, dtype, oracle) if not c.passes]
        assert not failures, in_words(failures[0])
