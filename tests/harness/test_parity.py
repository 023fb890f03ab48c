"""Certificates: what the comparison is strict about, and whole commands with odd backends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from bakeoff.backends import reference
from bakeoff.backends.contract import Execution
from bakeoff.bench.parity import probes, rounding
from bakeoff.bench.parity.certificate import Certificate, in_words
from bakeoff.bench.parity.formulas import State
from bakeoff.bench.parity.ladder import RUNGS, Check, climb, compare
from bakeoff.bench.parity.noise import MULTIPLE, Meter
from bakeoff.bench.parity.tolerance import Expected, Oracle
from bakeoff.bench.results.stats import equivalence
from bakeoff.bench.worker import evidence
from bakeoff.models import read

Fake = Callable[[str], str]
Command = Callable[..., Any]

_VALUE = np.array([[1.0, 2.0, 3.0]])


def _problem(actual: dict[str, np.ndarray]) -> str:
    expected = {"w": Expected(_VALUE, np.full(_VALUE.shape, 1e-3))}
    (check,) = compare("gradients", 1, actual, expected, "float64")
    assert not check.passes
    return check.problem


def test_the_comparison_is_elementwise() -> None:
    expected = {"w": Expected(_VALUE, np.full(_VALUE.shape, 1e-3))}
    for place in range(3):
        actual = _VALUE.copy()
        actual[0, place] += 1.5e-3
        (check,) = compare("gradients", 1, {"w": actual}, expected, "float64")
        assert check.index == (0, place)
        assert check.ratio == pytest.approx(1.5 * MULTIPLE)
        assert (check.actual, check.expected) == (actual[0, place], _VALUE[0, place])
        assert not check.passes


def test_where_nothing_is_allowed_any_error_is_beyond() -> None:
    exact = {"w": Expected(_VALUE, np.zeros(_VALUE.shape))}
    (check,) = compare("weights", 0, {"w": _VALUE * (1 + 1e-16 + 2**-52)}, exact, "float64")
    assert not check.passes
    assert msgspec.json.decode(msgspec.json.encode(check), type=Check) == check
    assert "expected exactly" in in_words(check)


@pytest.mark.parametrize(
    ("actual", "problem"),
    [
        ({}, "is missing"),
        ({"w": _VALUE[0]}, "has the shape [3], expected [1, 3]"),
        ({"w": _VALUE.astype(np.float32)}, "is float32, expected float64"),
        ({"w": np.array([[1.0, np.nan, 3.0]])}, "is nan at [0, 1]"),
        ({"w": np.array([[1.0, 2.0, -np.inf]])}, "is -inf at [0, 2]"),
    ],
)
def test_what_is_no_distance_is_a_problem(actual: dict[str, np.ndarray], problem: str) -> None:
    assert problem in _problem(actual)


def test_a_surplus_name_fails() -> None:
    expected = {"w": Expected(_VALUE, np.zeros(_VALUE.shape))}
    checks = list(compare("weights", 0, {"w": _VALUE, "x": _VALUE}, expected, "float64"))
    assert [(check.tensor, check.passes) for check in checks] == [("x", False), ("w", True)]


_UNIT = 2.0**-24
_RNG = np.random.default_rng(0)
_A, _B = _RNG.normal(size=(3, 4, 5)), _RNG.normal(size=(5, 7))


class _Nothing:
    """A source that disturbs nothing."""

    def of_result(self, result: np.ndarray) -> np.ndarray:
        return result

    def of_function(self, result: np.ndarray) -> np.ndarray:
        return result

    def of_sum(self, sums: np.ndarray, magnitudes: np.ndarray, terms: int) -> np.ndarray:
        return sums

    def of_product(self, products: np.ndarray, magnitudes: Any, terms: int) -> np.ndarray:
        return products


def _computed(a: Any, b: Any) -> list[Any]:
    """Sums, products, what writes into an array, and what is no operation on numbers."""
    written = np.zeros_like(a)
    written[:, 1:] += a[:, 1:]
    sums = [a.sum(axis=axis) for axis in (None, 0, -1, (0, 2))]
    means = [a.mean(axis=(0, 2), keepdims=True), a.var(axis=1), a.max(axis=0)]
    return [a @ b, np.exp(a), written, np.where(a > 0, a, -np.inf), *sums, *means]


def test_a_source_that_disturbs_nothing_changes_nothing() -> None:
    a, b = rounding.disturbed(_A, _Nothing()), rounding.disturbed(_B, _Nothing())
    for found, expected in zip(_computed(a, b), _computed(_A, _B), strict=True):
        assert isinstance(found, rounding.Disturbed)
        assert found.shape == expected.shape
        np.testing.assert_array_equal(np.asarray(found), expected)


@pytest.mark.parametrize("unit", [_UNIT, 2.0**-53])
def test_results_are_off_by_their_roundings_at_most(unit: float) -> None:
    source = rounding.Roundings(unit, seed=1)
    a, b = rounding.disturbed(_A, source), rounding.disturbed(_B, source)
    half_an_ulp = 2.0**-53
    bounds = {
        "product": (a @ b, _A @ _B, np.sqrt(5) * np.abs(_A) @ np.abs(_B)),
        "sum": (a.sum(axis=1), _A.sum(axis=1), np.sqrt(4) * np.abs(_A).sum(axis=1)),
        "result": (a / 3, _A / 3, np.abs(_A / 3)),
        "function": (np.tanh(a), np.tanh(_A), 4 * np.abs(np.tanh(_A))),
    }
    for found, exact, size in bounds.values():
        error = np.abs(np.asarray(found) - exact)
        assert np.all(error <= (unit + 8 * half_an_ulp) * size)
        assert np.max(error / size) > unit / 4
    np.testing.assert_array_equal(np.asarray(np.maximum(a, -a)), np.abs(_A))  # is exact


def test_a_large_array_is_disturbed_everywhere_and_anew() -> None:
    ones = np.ones((3, 2**17))
    source = rounding.Roundings(_UNIT, seed=0)
    once, again = (np.asarray(rounding.disturbed(ones, source) * ones) - 1 for _ in range(2))
    assert np.mean(once == 0) < 1e-3
    assert abs(np.corrcoef(once.ravel(), again.ravel())[0, 1]) < 0.01


def test_kicks_mirror() -> None:
    x, ones = _RNG.normal(size=(1, 5000)), np.ones((5000, 1))
    exact = float(x.sum())
    for pattern in rounding.PATTERNS:
        up, down = (
            float(np.asarray(rounding.disturbed(x, rounding.Kick(size, pattern)) @ ones)[0, 0])
            for size in (1e-2, -1e-2)
        )
        size = 1e-2 * np.sqrt(5000) * abs(exact)  # of a sum of 5,000 terms
        assert up - exact == pytest.approx(exact - down, rel=1e-2)
        assert 0.99 * size <= abs(up - exact) <= 2.01 * size


@pytest.mark.parametrize("model", ["linear", "boston-mlp", "digits-mlp", "breast-cancer-logistic"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_reference_passes_its_own_ladder(model: str, dtype: Any) -> None:
    probe = probes.of_model(read(model), 5)
    found = evidence.collect(reference, probe, Execution("cpu", dtype, "eager", 1))
    checks = list(climb(probe, found, dtype))
    assert {check.rung for check in checks} == set(RUNGS)
    assert max(check.ratio for check in checks) <= (MULTIPLE if dtype == "float32" else 0)


def test_next_to_a_zero_gradient_adam_may_go_either_way() -> None:
    """A dead input has the gradient 0: there the step is certain; elsewhere it is certain too."""
    model = read("digits-mlp")
    probe = probes.of_model(model, 3)
    start, batches = State.start(model, probe.weights), [probe.batches[0]]
    noises = Meter(probe.model, "float32", careful=True).training(start, batches)
    expected = Oracle(probe.model, "float32").after(start, batches, noises)
    rate = model.optimizer.rate(0)
    for name in model.trainable:
        assert np.max(expected[f"weights/{name}"].allowed) <= 2.001 * rate


@pytest.mark.parametrize(
    ("differences", "said"),
    [
        ([0.001, -0.001, 0.0], True),
        ([0.02, 0.021, 0.022], False),
        ([0.004, -0.004, 0.012], None),
        ([0.0], None),
        ([0.0, 0.0], True),
    ],
)
def test_equivalence_is_shown_refuted_or_open(differences: list[float], said: bool | None) -> None:
    assert equivalence(differences, margin=0.005) is said


def _certificates(outcome: Any) -> dict[str, Certificate]:
    found = msgspec.json.decode(outcome.out, type=list[Certificate])
    return {certificate.backend: certificate for certificate in found}


def test_a_right_and_a_wrong_backend(bakeoff: Command, workload: Path, fake: Fake) -> None:
    arguments = ("parity", workload, "--mode", "eager", "--dtype", "float64",
                 "--backend", f"numpy,{fake('doubles')}")  # fmt: skip
    outcome = bakeoff(*arguments, "--json")
    assert outcome.code == 1
    certificates = _certificates(outcome)
    assert certificates["numpy"].verdict == "pass"
    wrong = certificates["doubles"]
    assert wrong.verdict == "fail"
    assert wrong.first_failure
    assert (wrong.first_failure.rung, wrong.first_failure.step) == ("step", 1)
    said = bakeoff(*arguments).out.replace("\n", " ")
    assert "step, weights/output.weight, step 1[0, 0]: " in said
    assert "2 certificates: 1 pass, 1 fail" in said


def test_a_certificate_is_kept_until_something_changes(
    bakeoff: Command, workload: Path, fake: Fake, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BAKEOFF_CACHE", str(tmp_path / "own-cache"))
    arguments = ("parity", workload, "--mode", "eager", "--dtype", "float32", "--json",
                 "--backend", adapter := fake("counts"))  # fmt: skip
    asked = Path(adapter).with_name("asked")

    def ask(*more: str) -> str:
        return _certificates(bakeoff(*arguments, *more))["counts"].key

    first = ask()
    assert ask() == first
    assert asked.read_text() == "x"
    assert ask("--no-cache") == first
    assert asked.read_text() == "xx"
    assert ask("--steps", "5") != first
    Path(adapter).write_text(Path(adapter).read_text() + "\n# another adapter\n")
    assert (second := ask()) != first
    assert asked.read_text() == "xxxx"
    monkeypatch.setenv("OPENBLAS_L2_SIZE", "12345")  # other kernels may be chosen
    assert ask() not in (first, second)
    assert asked.read_text() == "xxxxx"


_IN_TWO_FILES = """
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from bakeoff.backends.numpy import *
from bakeoff.backends.numpy import build as real_build
from rates_of_it import FACTOR
from msgspec import structs


def build(model, weights, execution, *, seed, state):
    optimizer = structs.replace(
        model.optimizer, learning_rate=FACTOR * model.optimizer.learning_rate
    )
    model = structs.replace(model, optimizer=optimizer)
    return real_build(model, weights, execution, seed=seed, state=state)
"""


def test_a_certificate_holds_for_all_files_that_the_adapter_had_loaded(
    bakeoff: Command, workload: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BAKEOFF_CACHE", str(tmp_path / "own-cache"))
    adapter, imported = tmp_path / "in_two_files.py", tmp_path / "rates_of_it.py"
    adapter.write_text(_IN_TWO_FILES)

    def verdict(factor: float) -> str:
        imported.write_text(f"FACTOR = {factor}\n")
        asked = ("--mode", "eager", "--json", "--backend", adapter)
        return str(_certificates(bakeoff("parity", workload, *asked))["in_two_files"].verdict)

    assert [verdict(factor) for factor in (1.0, 3.0, 1.0)] == ["pass", "fail", "pass"]


def test_a_run_that_goes_on_asks_a_changed_adapter_again(
    bakeoff: Command, workload: Path, tmp_path: Path
) -> None:
    adapter, imported = tmp_path / "in_two_files.py", tmp_path / "rates_of_it.py"
    adapter.write_text(_IN_TWO_FILES)
    imported.write_text("FACTOR = 1.0\n")
    bakeoff("run", workload, "--backend", adapter, "--seeds", 1, "--output", "out")
    imported.write_text("FACTOR = 3.0\n")
    (row,) = bakeoff("run", "--resume", "out", "--json").json()["rows"]
    assert row["parity"]["verdict"] == "fail"


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("unimportable", "No module named"),
        ("dies_when_asked", "SIGKILL"),
        ("hangs_when_asked", "timed out after 2 s"),
    ],
)
def test_a_backend_that_cannot_answer_is_an_error_of_its_own(
    bakeoff: Command, workload: Path, fake: Fake, behaviour: str, reason: str
) -> None:
    outcome = bakeoff("parity", workload, "--mode", "eager", "--timeout", 2, "--json",
                      "--backend", f"{fake(behaviour)},numpy")  # fmt: skip
    assert outcome.code == 1
    found = msgspec.json.decode(outcome.out, type=list[Certificate])
    verdicts = [(c.backend, c.verdict) for c in found]
    assert verdicts == [(behaviour, "error")] * 2 + [("numpy", "pass")] * 2
    assert reason in found[0].reason


def test_two_environments_of_one_framework(bakeoff: Command, workload: Path) -> None:
    import sys

    outcome = bakeoff("parity", workload, "--mode", "eager", "--json",
                      "--python", f"numpy-a={sys.executable}",
                      "--python", f"numpy-b={sys.executable}")  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert set(_certificates(outcome)) == {"numpy-a", "numpy-b"}


def test_without_a_terminal_each_certificate_is_told_when_it_is_there(
    bakeoff: Command, workload: Path
) -> None:
    outcome = bakeoff("parity", workload, "--backend", "numpy", "--mode", "eager")
    lines = [line for line in outcome.out.splitlines() if line.startswith("parity: ")]
    assert {line.partition(": ")[2].partition(":")[0] for line in lines} == {
        f"{workload} numpy float64 eager",
        f"{workload} numpy float32 eager",
    }


def test_where_nothing_is_proved_the_exit_code_says_so(bakeoff: Command, workload: Path) -> None:
    outcome = bakeoff("parity", workload, "--backend", "numpy", "--mode", "compiled", "--json")
    assert {one["verdict"] for one in outcome.json()} == {"unsupported"}
    assert outcome.code == 1


def test_a_module_is_given_its_interpreter_by_its_last_name(
    bakeoff: Command, workload: Path
) -> None:
    import sys

    outcome = bakeoff("parity", workload, "--mode", "eager", "--json",
                      "--backend", "bakeoff.backends.reference",
                      "--python", f"reference={sys.executable}")  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert set(_certificates(outcome)) == {"reference"}


def test_the_output_folder(bakeoff: Command, workload: Path) -> None:
    bakeoff("parity", workload, "--backend", "numpy", "--output", "out")
    assert {path.name for path in Path("out").iterdir()} == {"certificates.json", "parity.png"}
    assert Path("out/parity.png").read_bytes().startswith(b"\x89PNG")
    assert len(json.loads(Path("out/certificates.json").read_bytes())) == 4
    again = bakeoff("parity", workload, "--backend", "numpy", "--output", "out")
    assert again.code == 2
    assert "exists already" in again.err


def test_a_training_that_diverges_in_the_oracle_is_nobody_s_fault(
    bakeoff: Command, home: Path
) -> None:
    model = home / "wild.toml"
    model.write_text(
        """
        name = "wild"
        input = [3]
        layers = [{ type = "dense", name = "output", units = 1 }]
        loss = { type = "mse" }
        optimizer = { type = "sgd", learning_rate = 1e30 }
        """,
        encoding="utf-8",
    )
    outcome = bakeoff("parity", model, "--backend", "numpy", "--dtype", "float64", "--no-cache")
    assert outcome.code == 1, outcome.err
    assert "error: the training diverges in the oracle itself" in outcome.out
    assert "FAIL" not in outcome.out
    assert "Warning" not in outcome.out + outcome.err


def test_what_a_killed_parity_left_is_removed_by_the_next(
    bakeoff: Command, workload: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left, alive = (tmp_path / f"bakeoff-parity-{pid}-x" for pid in (gone.pid, os.getpid()))
    left.mkdir()
    alive.mkdir()
    bakeoff("parity", workload, "--backend", "numpy", "--dtype", "float64", "--no-cache")
    assert (left.exists(), alive.exists()) == (False, True)
