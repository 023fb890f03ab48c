"""The comparison itself, on real Boston and MNIST, by every backend."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from end_to_end.conftest import Command

from bakeoff.backends import USUAL
from bakeoff.datasets.dataset import open_dataset

_HERE = Path(__file__).parent


def test_boston_linear_agrees_to_ten_digits(bakeoff: Command) -> None:
    rows = bakeoff.rows("boston-linear", "--dtype", "float64", "--seeds", 2)
    assert {backend for _, backend in rows} == set(USUAL)
    assert {row["status"] for row in rows.values()} == {"ok"}
    digits = {tuple(f"{v:.10g}" for v in row["metric"]["values"]) for row in rows.values()}
    assert len(digits) == 1
    assert len(set(*digits)) == 2


def test_full_batches_meet_the_closed_form(bakeoff: Command) -> None:
    """To the digits that the condition of the normal equations leaves in float64."""
    bakeoff("run", _HERE / "least-squares.toml", "--dtype", "float64", "--seeds", 1,
            "--output", "out")  # fmt: skip
    jobs = bakeoff.folder / "out" / "jobs" / "least-squares"
    train = open_dataset(
        Path(json.loads((jobs / "numpy-eager-0/job.json").read_bytes())["dataset"])
    )
    x = np.column_stack([train.train.x, np.ones(len(train.train.x))])
    expected = np.linalg.lstsq(x, train.train.y, rcond=None)[0][:, 0]
    allowed = 100 * np.linalg.cond(x) ** 2 * np.finfo(np.float64).eps
    for backend in USUAL:
        (job,) = jobs.glob(f"{backend}-*-0")
        weights = np.load(job / "weights.npz", allow_pickle=False)
        found = np.append(weights["output.weight"][0], weights["output.bias"])
        assert np.max(np.abs(found - expected)) <= allowed * np.max(np.abs(expected))


@pytest.fixture(scope="module")
def default_suite(
    tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str], installed: None
) -> dict[tuple[str, str], Any]:
    command = Command(tmp_path_factory.mktemp("suite"), environment)
    return command.rows("--seeds", 1)


@pytest.mark.parametrize("backend", USUAL)
@pytest.mark.parametrize("workload", ["boston-linear", "mnist-mlp", "mnist-lenet5"])
def test_the_default_suite_learns_alike(
    default_suite: dict[tuple[str, str], Any], workload: str, backend: str
) -> None:
    row, reference = (default_suite[workload, name] for name in (backend, "numpy"))
    assert row["status"] == "ok", row["reason"]
    assert row["loss"]["first"] == pytest.approx(reference["loss"]["first"], rel=1e-3)
    assert row["loss"]["last"] < row["loss"]["first"]
    speed = row["samples_per_second"]
    assert speed["median"] > 0
    assert speed["low"] is speed["high"] is None  # one process has no interval
    assert row["peak_rss_mb"] > 0
    assert row["parity"]["verdict"] == "pass", row["parity"]


def test_lenet5_accuracies_lie_within_half_a_point(
    default_suite: dict[tuple[str, str], Any],
) -> None:
    accuracies = [default_suite["mnist-lenet5", name]["metric"]["mean"] for name in USUAL]
    assert max(accuracies) - min(accuracies) <= 0.005
    assert min(accuracies) > 0.94


def test_compiled_mode_trains_the_same_and_numpy_says_it_has_none(bakeoff: Command) -> None:
    arguments = ("run", "boston-linear", "--seeds", 1, "--epochs", 5, "--json")
    rows = json.loads(bakeoff(*arguments, "--mode", "eager,compiled").stdout)["rows"]
    by_mode = {(row["backend"], row["mode"]): row for row in rows}
    for backend in USUAL[1:]:
        eager, compiled = (by_mode[backend, mode] for mode in ("eager", "compiled"))
        assert compiled["status"] == "ok", compiled["reason"]
        assert compiled["metric"]["mean"] == pytest.approx(eager["metric"]["mean"], rel=1e-5)
    refused = by_mode["numpy", "compiled"]
    assert refused["status"] == "unsupported"
    assert "NumPy has no compiler" in refused["reason"]


def test_a_backend_asked_for_a_device_that_is_not_there(bakeoff: Command) -> None:
    done = bakeoff("run", "boston-linear", "--device", "cuda:77", "--seeds", 1, "--json",
                   check=False)  # fmt: skip
    assert done.returncode == 1
    for row in json.loads(done.stdout)["rows"]:
        assert row["status"] == "unsupported"
        assert "cuda:77" in row["reason"]
