"""Audits catch every backend that is wrong where it is timed, and accuse none that is right."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bakeoff import backends
from bakeoff.bench.results.summary import Audits
from mutants.driving import DROPPING, FLOAT32, NORMALIZED, Data
from mutants.timed import CONTROLS, MUTANTS, mutants_of, write
from mutants.timed.wrapper import Phase

_RESUMED_AT = 1  # epochs


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[Phase, Data]:
    """Give the data of each phase."""
    folder = tmp_path_factory.mktemp("data")
    normalized = Data(NORMALIZED, folder / "normalized")
    resumed = Data(NORMALIZED, folder / "resumed")
    trainer = backends.load("numpy").build(NORMALIZED, resumed.weights, FLOAT32, seed=0, state=None)
    order = np.load(resumed.folder / "inputs" / "order.npy")[0]
    x, y = (np.load(resumed.folder / "dataset" / f"{axis}_train.npy") for axis in "xy")
    trainer.train([trainer.stage(x[rows], y[rows], None) for rows in order])
    resumed.resumed_from(trainer.weights(), trainer.state())
    return {
        "train": normalized,
        "fed": normalized,
        "infer": normalized,
        "resume": resumed,
        "dropout": Data(DROPPING, folder / "dropping"),
    }


def _audits(data: dict[Phase, Data], phase: Phase, adapter: str) -> Audits:
    match phase:
        case "resume":
            return data[phase].run(adapter, epochs_done=_RESUMED_AT)
        case "fed":
            return data[phase].bench(adapter, "train")
        case "infer":
            return data[phase].bench(adapter, "infer")
        case _:
            return data[phase].run(adapter)


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_caught(name: str, data: dict[Phase, Data], tmp_path: Path) -> None:
    found = _audits(data, MUTANTS[name].phase, write(name, tmp_path))
    assert found.failure, "missed"


@pytest.mark.parametrize("name", mutants_of("infer"))
def test_a_wrong_prediction_is_caught_in_a_run(
    name: str, data: dict[Phase, Data], tmp_path: Path
) -> None:
    assert data["train"].run(write(name, tmp_path)).failure, "missed"


@pytest.mark.parametrize("name", CONTROLS)
def test_a_control_is_not_accused(name: str, data: dict[Phase, Data], tmp_path: Path) -> None:
    phase = CONTROLS[name].phase
    adapter = write(name, tmp_path)
    assert not _audits(data, phase, adapter).failure
    if phase != "dropout":
        assert not data["resume"].run(adapter, epochs_done=_RESUMED_AT).failure
        assert not data["fed"].bench(adapter, "train").failure
        assert not data["infer"].bench(adapter, "infer").failure


_WORKLOAD = """
name = "tiny"
dataset = "digits"
batch_size = 48
epochs = 2
metric = "accuracy"

[model]
name = "tiny-model"
input = [1, 8, 8]
layers = [{ type = "flatten" }, { type = "dense", name = "output", units = 10 }]
loss = { type = "softmax_cross_entropy" }
optimizer = { type = "sgd", learning_rate = 0.0625, schedule = { type = "step", steps = 8 } }
"""


@pytest.mark.parametrize("command", ["run", "bench"])
def test_a_mutant_is_not_ranked_and_a_line_says_why(command: str, tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(_WORKLOAD, encoding="utf-8")
    names = ["losses_turned_by_one", "only_wrapped"]
    adapters = ",".join(write(name, tmp_path) for name in names)
    options = {"run": ["--seeds", "1"], "bench": ["--budget", "1s"]}[command]
    done = subprocess.run(
        [sys.executable, "-m", "bakeoff.bench.cli", command, "tiny.toml", "--backend", adapters,
         *options, "--output", "out"],
        cwd=tmp_path, env=os.environ | {"BAKEOFF_CACHE": str(tmp_path / "cache"), "COLUMNS": "200"},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    said = " ".join(done.stdout.split())
    named = "losses_turned_by_one eager: not comparable: audit of"
    assert named in said.replace(", batch 48", "")
    assert "x rounding noise)" in said
    summary = json.loads((tmp_path / "out" / "summary.json").read_bytes())
    rows = summary["rows"] or summary["measurements"]
    assert [row["comparable"] for row in rows] == [False, True]
    assert [bool(row["audits"]["failure"]) for row in rows] == [True, False]


def test_a_resumed_training_is_audited(tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(_WORKLOAD, encoding="utf-8")

    def train(backend: str, *options: str) -> subprocess.CompletedProcess[str]:
        path = write(backend, tmp_path)
        return subprocess.run(
            [sys.executable, "-m", "bakeoff.bench.cli", "train", "--backend", path,
             "--output", f"of-{backend}", *options],
            cwd=tmp_path, env=os.environ | {"BAKEOFF_CACHE": str(tmp_path / "cache")},
            capture_output=True, text=True,
        )  # fmt: skip

    first = train("only_wrapped", "tiny.toml", "--epochs", "1", "--checkpoint", "c.safetensors")
    assert first.returncode == 0, first.stderr
    wrong = train("schedule_starts_again", "--resume", "c.safetensors", "--epochs", "2")
    right = train("built_anew", "--resume", "c.safetensors", "--epochs", "2")
    assert (wrong.returncode, right.returncode) == (1, 0)
    assert "audit of epoch 2, block 1: " in " ".join(wrong.stdout.split())
