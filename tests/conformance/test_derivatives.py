"""Every layer and loss: each layer's output, the loss, and the gradient of every weight."""

from __future__ import annotations

import numpy as np
import pytest

from bakeoff.backends import reference
from bakeoff.backends.contract import Adapter
from bakeoff.models.layers import Dropout
from conformance.cases import LAYERS, LOSSES, Case
from conformance.driving import SEED, derivative_bound, derivatives, start
from conformance.kinks import KINKS
from conformance.parity import assert_all_parity, assert_parity
from conformance.reshaped import RESHAPED

_CASES = [pytest.param(case, id=case.id) for case in [*LAYERS, *LOSSES]]
_COMPOSED = [pytest.param(case, id=case.id) for case in [*KINKS, *RESHAPED]]
_DROPOUTS = [
    pytest.param(case, id=case.id)
    for case in LAYERS
    if any(isinstance(node.layer, Dropout) for node in case.model.walk())
]


@pytest.mark.parametrize("case", _CASES)
def test_activations_loss_and_gradients(
    adapter: Adapter, case: Case, dtype: str, mode: str
) -> None:
    _assert_derivatives(adapter, case, dtype, mode)


@pytest.mark.parametrize("case", _COMPOSED)
def test_at_kinks_and_behind_reshapes(adapter: Adapter, case: Case, mode: str) -> None:
    is_traced = adapter.__name__.endswith(".keras.torch") and mode == "compiled"
    if is_traced and sum(1 for _ in case.model.walk()) > 100:
        pytest.skip("torch.compile takes minutes to trace Keras's calls of so many layers")
    _assert_derivatives(adapter, case, "float32", mode)


@pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in KINKS])
def test_at_kinks_in_float64(adapter: Adapter, case: Case) -> None:
    """Where formulas may replace native kernels; in one mode, as compilation takes its time."""
    _assert_derivatives(adapter, case, "float64", adapter.MODES[0])


def _assert_derivatives(adapter: Adapter, case: Case, dtype: str, mode: str) -> None:
    expected = derivatives(reference, case, "float64")
    actual = derivatives(adapter, case, dtype, mode)
    bound = derivative_bound(case, dtype, expected)
    assert actual.dtypes == {dtype}
    assert_all_parity(actual.activations, expected.activations, bound=bound)
    assert_all_parity(actual.gradients, expected.gradients, bound=bound)


@pytest.mark.parametrize("case", _CASES)
def test_predictions_in_evaluation_mode(adapter: Adapter, case: Case, dtype: str) -> None:
    expected = derivatives(reference, case, "float64")
    bound = derivative_bound(case, dtype, expected)
    x = case.batches(1)[0][0]
    logits = start(adapter, case, dtype).predict(x.astype(dtype))
    assert logits.dtype == dtype
    want = start(reference, case, "float64").predict(x)
    assert_parity(logits, want, name="logits", bound=bound)


@pytest.mark.parametrize("case", _DROPOUTS)
def test_dropout_drawn_by_the_framework(adapter: Adapter, case: Case, mode: str) -> None:
    """Its own masks keep 1 - rate of the inputs and scale them; one seed draws the same again."""
    rng = np.random.default_rng(SEED)
    x = rng.normal(size=(512, *case.model.input)).astype(np.float32)
    y = np.zeros((512, *case.model.output_shape), np.float32)

    def outputs() -> dict[str, np.ndarray]:
        trainer = start(adapter, case, "float32", mode)
        return trainer.activations(trainer.stage(x, y, None))

    first, again = outputs(), outputs()
    node = next(node for node in case.model.walk() if isinstance(node.layer, Dropout))
    kept = first["tested"] != 0
    rate = node.layer.rate
    deviation = np.sqrt(rate * (1 - rate) / kept.size)
    assert abs(kept.mean() - (1 - rate)) < 5 * deviation
    scaled = first["before"] / np.float32(1 - rate)
    # One rounding here; two there, when it multiplies by a rounded 1 / (1 - rate).
    np.testing.assert_array_max_ulp(first["tested"][kept], scaled[kept], maxulp=2)
    np.testing.assert_array_equal(first["tested"], again["tested"])
