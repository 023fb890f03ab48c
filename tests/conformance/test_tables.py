"""The tables of an adapter: the whole vocabulary is there or excused, and refusals say why."""

from __future__ import annotations

from typing import get_args

import pytest

from bakeoff import backends
from bakeoff.backends.contract import Adapter, Execution, Unsupported
from bakeoff.models.init import initial_weights
from bakeoff.models.layers import Layer
from bakeoff.models.losses import Loss
from bakeoff.models.optimizers import Optimizer
from conformance.cases import LAYERS, OPTIMIZERS
from conformance.driving import execution, start

_DENSE = next(case for case in OPTIMIZERS if case.id == "adam-dense")
_VOCABULARY = {"LAYERS": Layer, "LOSSES": Loss, "OPTIMIZERS": Optimizer}


@pytest.mark.parametrize("table", _VOCABULARY)
def test_the_vocabulary_is_supported_or_excused(adapter: Adapter, table: str) -> None:
    spec_types = set(get_args(_VOCABULARY[table]))
    supported = set(getattr(adapter, table))
    excused = {gap for gap in adapter.UNSUPPORTED if gap in spec_types}
    assert supported | excused == spec_types
    assert not supported & excused


@pytest.mark.parametrize("table", _VOCABULARY)
def test_functions_are_named_as_in_the_spec(adapter: Adapter, table: str) -> None:
    for spec, function in getattr(adapter, table).items():
        assert function.__name__ == spec.__struct_config__.tag


def test_tables_keep_the_order_of_the_spec(adapter: Adapter) -> None:
    for table, union in _VOCABULARY.items():
        order = [spec for spec in get_args(union) if spec in getattr(adapter, table)]
        assert list(getattr(adapter, table)) == order


def test_every_gap_has_a_reason(adapter: Adapter) -> None:
    deviations = [deviation.reason for deviation in adapter.DEVIATIONS.values()]
    for reason in [*adapter.UNSUPPORTED.values(), *deviations]:
        assert len(reason.split()) >= 3


def test_a_mode_is_offered_or_excused(adapter: Adapter) -> None:
    assert {*adapter.MODES, *(set(adapter.UNSUPPORTED) & {"eager", "compiled"})} == {
        "eager",
        "compiled",
    }


def test_the_typical_mode_is_offered(adapter: Adapter, pytestconfig: pytest.Config) -> None:
    backend = pytestconfig.getoption("--backend")
    mode, why = backends.typical(backend)  # which reads the source
    assert mode in adapter.MODES
    assert len(why.split()) >= 3
    assert backend not in backends.NAMES or (mode, why) == adapter.TYPICAL


def test_version_and_devices(adapter: Adapter) -> None:
    assert type(adapter.version()) is str
    assert adapter.version()[0].isdigit()
    assert adapter.devices()[0] == "cpu"


@pytest.mark.parametrize("device", ["cuda:97", "abacus"])
def test_a_device_that_is_not_there_is_refused_by_name(adapter: Adapter, device: str) -> None:
    elsewhere = Execution(device=device, dtype="float32", mode="eager", threads=1)
    case = _DENSE
    weights = initial_weights(case.model, 0, "float32")
    with pytest.raises(Unsupported, match=device):
        adapter.build(case.model, weights, elsewhere, seed=0, state=None)


@pytest.mark.parametrize("choice", ["eager", "compiled"])
def test_a_mode_that_is_not_offered_is_refused_by_name(adapter: Adapter, choice: str) -> None:
    if choice in adapter.MODES:
        assert start(adapter, _DENSE, "float32", choice)
    else:
        with pytest.raises(Unsupported, match=choice):
            start(adapter, _DENSE, "float32", choice)


def test_a_layer_that_is_not_in_the_table_is_refused_by_name(
    adapter: Adapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = next(case for case in LAYERS if case.id == "relu")
    tested = case.model.nodes[1]
    shorter = {spec: f for spec, f in adapter.LAYERS.items() if spec is not type(tested.layer)}
    monkeypatch.setattr(adapter, "LAYERS", shorter)
    monkeypatch.setattr(adapter, "UNSUPPORTED", {type(tested.layer): "for the sake of this test"})
    how = execution(adapter, "float32")
    weights = initial_weights(case.model, 0, "float32")
    with pytest.raises(Unsupported, match=r"layers\[1\].*relu.*for the sake of this test"):
        adapter.build(case.model, weights, how, seed=0, state=None)


def test_missing_and_surplus_weights_are_refused_by_name(adapter: Adapter) -> None:
    case = _DENSE
    weights = initial_weights(case.model, 0, "float32")
    surplus = weights | {"nobody.weight": weights["head.weight"]}
    missing = {name: w for name, w in weights.items() if name != "head.bias"}
    with pytest.raises(ValueError, match=r"nobody\.weight"):
        start(adapter, case, "float32", weights=surplus)
    with pytest.raises(ValueError, match=r"head\.bias"):
        start(adapter, case, "float32", weights=missing)
