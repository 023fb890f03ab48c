"""The comparison itself, on real Boston and MNIST, by NumPy and PyTorch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from end_to_end.conftest import Command

from bakeoff.datasets.dataset import open_dataset

_HERE = Path(__file__).parent


def test_boston_linear_agrees_to_ten_digits(bakeoff: Command) -> None:
    rows = bakeoff.rows("boston-linear", "--dtype", "float64", "--seeds", 2)
    numpy, torch = (rows["boston-linear", backend] for backend in ("numpy", "torch"))
    assert numpy["status"] == torch["status"] == "ok"
    for ours, theirs in zip(numpy["metric"]["values"], torch["metric"]["values"], strict=True):
        assert f"{ours:.10g}" == f"{theirs:.10g}"
    assert len(set(numpy["metric"]["values"])) == 2


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
    for backend in ("numpy", "torch"):
        weights = np.load(jobs / f"{backend}-eager-0" / "weights.npz", allow_pickle=False)
        found = np.append(weights["output.weight"][0], weights["output.bias"])
        assert np.max(np.abs(found - expected)) <= allowed * np.max(np.abs(expected))


@pytest.fixture(scope="module")
def default_suite(
    tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str], installed: None
) -> dict[tuple[str, str], Any]:
    command = Command(tmp_path_factory.mktemp("suite"), environment)
    return command.rows("--seeds", 1)


@pytest.mark.parametrize("workload", ["boston-linear", "mnist-mlp", "mnist-lenet5"])
def test_the_default_suite_learns_alike(
    default_suite: dict[tuple[str, str], Any], workload: str
) -> None:
    numpy, torch = (default_suite[workload, backend] for backend in ("numpy", "torch"))
    assert numpy["status"] == torch["status"] == "ok"
    assert numpy["loss"]["first"] == pytest.approx(torch["loss"]["first"], rel=1e-3)
    assert numpy["loss"]["last"] < numpy["loss"]["first"]
    for row in (numpy, torch):
        interval = row["samples_per_second"]
        assert 0 < interval["low"] <= interval["median"] <= interval["high"]
        assert row["peak_rss_mb"] > 0


def test_lenet5_accuracies_lie_within_half_a_point(
    default_suite: dict[tuple[str, str], Any],
) -> None:
    numpy, torch = (default_suite["mnist-lenet5", b]["metric"]["mean"] for b in ("numpy", "torch"))
    assert abs(numpy - torch) <= 0.005
    assert min(numpy, torch) > 0.94


def test_compiled_mode_trains_the_same_and_numpy_says_it_has_none(bakeoff: Command) -> None:
    arguments = ("run", "boston-linear", "--seeds", 1, "--epochs", 5, "--json")
    rows = json.loads(bakeoff(*arguments, "--mode", "eager,compiled").stdout)["rows"]
    by_mode = {(row["backend"], row["mode"]): row for row in rows}
    eager, compiled = (by_mode["torch", mode] for mode in ("eager", "compiled"))
    assert compiled["metric"]["mean"] == pytest.approx(eager["metric"]["mean"], rel=1e-5)
    assert compiled["first_block_seconds"] > eager["first_block_seconds"]
    refused = by_mode["numpy", "compiled"]
    assert refused["status"] == "unsupported"
    assert "NumPy has no compiler" in refused["reason"]


def test_a_backend_asked_for_a_device_that_is_not_there(bakeoff: Command) -> None:
    done = bakeoff("run", "boston-linear", "--device", "cuda:77", "--seeds", 1, "--json")
    for row in json.loads(done.stdout)["rows"]:
        assert row["status"] == "unsupported"
        assert "cuda:77" in row["reason"]
