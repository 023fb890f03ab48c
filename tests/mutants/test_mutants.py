"""The comparator is tested with backends that are wrong: each is caught, and its fault is named."""

from __future__ import annotations

import io
import sys
from typing import Any, get_args

import numpy as np
import pytest
from rich.console import Console

from bakeoff.backends.contract import DType, Execution, Weights
from bakeoff.bench.parity import probes
from bakeoff.bench.parity.ablation import cause
from bakeoff.bench.parity.ladder import RUNGS, climb
from bakeoff.bench.parity.mutants import selftest
from bakeoff.bench.parity.mutants.models import MODELS
from bakeoff.bench.parity.mutants.mutations import LEAK, MUTATIONS, Edit, Mutation
from bakeoff.bench.parity.mutants.selftest import Outcome
from bakeoff.bench.worker.evidence import collect

_FLOAT64 = Execution(device="cpu", dtype="float64", mode="eager", threads=1)
_BY_NAME = {mutation.name: mutation for mutation in MUTATIONS}
_CASES = [(mutation.name, dtype) for mutation in MUTATIONS for dtype in mutation.dtypes]


@pytest.fixture(scope="session")
def outcomes() -> dict[tuple[str, DType], Outcome]:
    cases = ((_BY_NAME[name], dtype) for name, dtype in _CASES)
    tried = [selftest.attempt(mutation, mutation.model, dtype) for mutation, dtype in cases]
    return {(outcome.mutation, outcome.dtype): outcome for outcome in tried}


@pytest.mark.parametrize(("name", "dtype"), _CASES)
def test_a_mutant_is_caught_on_its_rung(name: str, dtype: DType, outcomes: Any) -> None:
    failure = outcomes[name, dtype].first_failure
    assert failure, "missed"
    assert failure.rung == _BY_NAME[name].rung


@pytest.mark.parametrize(("name", "dtype"), [c for c in _CASES if _BY_NAME[c[0]].words])
def test_its_cause_is_named(name: str, dtype: DType, outcomes: Any) -> None:
    assert outcomes[name, dtype].cause == f"matches if {_BY_NAME[name].words}"


@pytest.mark.parametrize("dtype", get_args(DType))
@pytest.mark.parametrize("model", MODELS)
def test_the_reference_passes(model: str, dtype: DType) -> None:
    assert selftest.attempt(None, model, dtype).first_failure is None


def test_there_are_enough_mutants() -> None:
    assert len(_BY_NAME) == len(MUTATIONS) >= 40
    assert {mutation.rung for mutation in MUTATIONS} == set(RUNGS)


@pytest.mark.parametrize("rival", selftest.RIVALS)
def test_every_rival_misses_what_the_ladder_catches(rival: str, outcomes: Any) -> None:
    assert any(rival in outcome.passed_by for outcome in outcomes.values())


def test_the_table_has_every_comparator(outcomes: Any) -> None:
    table = selftest.markdown(list(outcomes.values()))
    assert f"| the ladder | {len(_CASES)} of {len(_CASES)} | 0 of 0 | none |" in table
    assert all(f"| {rival} |" in table for rival in selftest.RIVALS)


def _cause(mutations: list[str], model: str, dtype: DType) -> str:
    """Return the cause that is found for a backend with several mutations at once."""
    edits = [edit for name in mutations for edit in _BY_NAME[name].edits]
    return _cause_of(edits, model, dtype)


def _cause_of(edits: list[Edit], model: str, dtype: DType) -> str:
    mutant = Mutation(name="", rung="step", model=model, edits=tuple(edits))
    probe = probes.of_model(MODELS[model], steps=4)
    execution = Execution(device="cpu", dtype=dtype, mode="eager", threads=1)
    found = collect(mutant.adapter, probe, execution)
    return cause(probe, found, dtype, list(climb(probe, found, dtype)))


def test_of_two_faults_the_first_is_named() -> None:
    both = ["gelu-tanh-for-exact", "momentum-dampened"]
    expected = "closer if gelu is approximated with tanh"
    assert _cause(both, "activations", "float64") == expected


def test_float32_is_named_wherever_it_is() -> None:
    edit = Edit("activation.tanh", "np.tanh(x)", "np.tanh(x.astype(np.float32)).astype(x.dtype)")
    assert _cause_of([edit], "momentum", "float64") == f"matches if {LEAK}"


def test_what_no_mutation_explains_has_no_cause() -> None:
    edit = Edit("activation.tanh", "np.tanh(x)", "np.tanh(1.5 * x)")
    assert _cause_of([edit], "momentum", "float64") == ""


@pytest.mark.parametrize(
    "edit",
    [
        Edit("activation.tanh", "np.cosh(x)", "x"),
        Edit("activation.cosh", "np.tanh(x)", "x"),
        Edit("activations.tanh", "np.tanh(x)", "x"),
    ],
    ids=["text", "function", "module"],
)
def test_an_edit_that_does_not_apply_is_an_error(edit: Edit) -> None:
    mutation = Mutation(name="", rung="step", model="momentum", edits=(edit,))
    with pytest.raises(ValueError, match="reference has no"):
        _ = mutation.adapter


def test_an_edit_that_cannot_be_imported_leaves_nothing_behind() -> None:
    edit = Edit("trainer.Trainer", "self._model = model\n", "self._model = (model\n")
    mutation = Mutation(name="broken", rung="step", model="momentum", edits=(edit,))
    before = set(sys.modules)
    with pytest.raises(SyntaxError):
        _ = mutation.adapter
    assert set(sys.modules) == before


def test_a_spec_that_a_mutation_is_about_is_known() -> None:
    with pytest.raises(ValueError, match="no spec has the tag dens"):
        Mutation(name="", rung="step", model="momentum", about=("dens",))


_FORMULAS = [
    m.name for m in MUTATIONS if m.words not in ("", LEAK) and m.rung in ("forward", "loss")
]


@pytest.mark.parametrize("name", _FORMULAS)
def test_a_suspect_is_a_formula_with_its_own_gradient(name: str) -> None:
    """Along a random direction, by a central difference: see `test_reference` for h and bound."""
    mutation = _BY_NAME[name]
    probe = probes.of_model(MODELS[mutation.model], steps=2)
    rng = np.random.default_rng(0)
    along = {name: rng.normal(size=probe.weights[name].shape) for name in probe.model.trainable}

    def loss_and_gradients(distance: float) -> tuple[float, Weights]:
        moved = {name: w + distance * along.get(name, 0.0) for name, w in probe.weights.items()}
        trainer = mutation.adapter.build(probe.model, moved, _FLOAT64, seed=0, state=None)
        return trainer.gradients(trainer.stage(*probe.batches[0]))

    eps = np.finfo(np.float64).eps
    h = eps ** (1 / 3)
    numeric = (loss_and_gradients(h)[0] - loss_and_gradients(-h)[0]) / (2 * h)
    terms = [np.sum(g * along[name]) for name, g in loss_and_gradients(0.0)[1].items()]
    assert abs(numeric - sum(terms)) <= 100 * eps ** (2 / 3) * max(1.0, *np.abs(terms))


def test_the_self_test_says_whether_all_went_well(monkeypatch: pytest.MonkeyPatch) -> None:
    def printed() -> tuple[int, str]:
        console = Console(file=io.StringIO(), width=300)
        return selftest.print_self_test(console), console.file.getvalue()

    mutation = _BY_NAME["nesterov-ignored"]
    monkeypatch.setattr(selftest, "MODELS", {"nesterov": MODELS["nesterov"]})
    monkeypatch.setattr(selftest, "MUTATIONS", (mutation,))
    code, text = printed()
    assert code == 0
    assert "matches if nesterov is ignored" in text
    harmless = Mutation(name="harmless", rung="step", model="nesterov")
    monkeypatch.setattr(selftest, "MUTATIONS", (mutation, harmless))
    code, text = printed()
    assert code == 1
    assert "MISSED, expected step" in text
