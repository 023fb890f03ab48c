"""Random models against NumPy in float64; what fails is shrunk to a small one, printed as TOML."""

from __future__ import annotations

from typing import Any

import tomli_w
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from bakeoff.backends import reference
from bakeoff.backends.contract import Adapter
from bakeoff.models.toml import plain
from conformance.cases import Case
from conformance.driving import derivatives, train
from conformance.parity import assert_all_parity, float32_bound, gamma
from conformance.random_models import models

_MODELS = 40
_STEPS = 3
_UNITS = 2.0**-29  # float64's unit roundoff over float32's: rounding is of first order in it


# Derandomised: the same models each time, so that a failure is never a matter of luck.
@settings(
    max_examples=_MODELS,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(data=st.data())
def test_a_random_model_computes_what_numpy_computes(adapter: Adapter, data: Any) -> None:
    """Every output, the loss, every gradient, and three steps with the optimizer's state."""
    model = data.draw(models(adapter))
    case = Case("random", model)
    note(f"\n{_toml(case)}")
    expected = derivatives(reference, case, "float64")
    own = derivatives(reference, case, "float32")
    bound = _bound(case, {**own.activations, **own.gradients},
                   {**expected.activations, **expected.gradients})  # fmt: skip
    actual = derivatives(adapter, case, "float64")
    assert_all_parity(actual.activations, expected.activations, bound=bound)
    assert_all_parity(actual.gradients, expected.gradients, bound=bound)

    trained = train(reference, case, "float64", _STEPS).tensors()
    bound = _bound(case, train(reference, case, "float32", _STEPS).tensors(), trained)
    assert_all_parity(train(adapter, case, "float64", _STEPS).tensors(), trained, bound=bound)


def _bound(case: Case, own: dict[str, Any], expected: dict[str, Any]) -> float:
    """Return the a-priori bound, or what the reference's float32 rounding of this very model says
    if that is more: a random model may be ill-conditioned.
    """
    a_priori = gamma(case.model, len(case.batches(1)[0][0]), _STEPS)
    return max(a_priori, float32_bound(own, expected) * _UNITS)


def _toml(case: Case) -> str:
    return tomli_w.dumps(plain(case.model))
