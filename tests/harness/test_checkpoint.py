"""Checkpoints: a broken training goes on as if unbroken, and a damaged file is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from bakeoff.bench.training import checkpoint
from bakeoff.models import InputError

Fake = Callable[[str], str]
Command = Callable[..., Any]


@pytest.fixture
def workload(home: Path) -> Path:
    """What a restart could lose: a moving rate, slots, running statistics, batch order."""
    path = home / "restart.toml"
    path.write_text(
        """
        name = "restart"
        dataset = "digits"
        batch_size = 128
        epochs = 4
        metric = "accuracy"

        [model]
        name = "restart-model"
        input = [1, 8, 8]
        layers = [
            { type = "flatten" },
            { type = "dense", name = "hidden", units = 5, use_bias = false },
            { type = "batch_norm", name = "norm" },
            { type = "relu" },
            { type = "dense", name = "output", units = 10 },
        ]
        loss = { type = "softmax_cross_entropy" }

        [model.optimizer]
        type = "adam"
        learning_rate = 0.01
        schedule = { type = "cosine", steps = 40, warmup_steps = 5 }
        """,
        encoding="utf-8",
    )
    return path


@pytest.fixture
def made(bakeoff: Command, workload: Path) -> Path:
    """A checkpoint of two epochs."""
    outcome = bakeoff("train", workload, "--backend", "numpy", "--epochs", 2,
                      "--checkpoint", "c.safetensors", "--output", "first")  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert "checkpoint: c.safetensors" in outcome.out
    return Path("c.safetensors")


def _weights(run: str, backend: str = "numpy", seed: int = 0) -> dict[str, np.ndarray]:
    path = Path(run, "jobs", "restart", f"{backend}-eager-{seed}", "weights.npz")
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def test_a_training_goes_on_as_if_unbroken(bakeoff: Command, workload: Path, made: Path) -> None:
    bakeoff("train", workload, "--backend", "numpy", "--output", "whole")
    outcome = bakeoff("train", "--backend", "numpy", "--resume", made, "--output", "rest")
    assert outcome.code == 0, outcome.err
    whole, joined = _weights("whole"), _weights("rest")
    assert sorted(whole) == sorted(joined)
    for name, value in whole.items():
        np.testing.assert_array_equal(joined[name], value)
    row = json.loads(Path("rest/summary.json").read_bytes())["rows"][0]
    assert [point["epoch"] for point in row["curve"]] == [3, 4]


def test_what_a_checkpoint_holds(bakeoff: Command, workload: Path) -> None:
    bakeoff("train", workload, "--backend", "numpy", "--epochs", 1, "--dtype", "float64",
            "--seed", 3, "--checkpoint", "c.safetensors")  # fmt: skip
    with safe_open("c.safetensors", framework="numpy") as file:
        slots = {f"optimizer/{name}.{slot}" for name in _TRAINABLE for slot in "mv"}
        weights = {
            f"weights/{name}" for name in (*_TRAINABLE, "norm.running_mean", "norm.running_var")
        }
        assert set(file.keys()) == slots | weights | {"optimizer/step"}
        assert file.get_tensor("weights/hidden.weight").shape == (5, 64)
        assert file.get_tensor("weights/hidden.weight").dtype == np.float64
        assert file.get_tensor("optimizer/step") == 9  # batches of 128 in 1,257 training samples
    read = checkpoint.read(Path("c.safetensors"))
    assert (read.backend, read.epochs, read.origin.seed) == ("numpy", 1, 3)
    assert read.origin.workload.epochs == 4  # what is planned, not what --epochs cut short


_TRAINABLE = ("hidden.weight", "norm.gamma", "norm.beta", "output.weight", "output.bias")
_RUNNING = ("norm.running_mean", "norm.running_var")


def test_a_training_that_died_left_its_last_epoch(
    bakeoff: Command, fake: Fake, workload: Path
) -> None:
    outcome = bakeoff("train", workload, "--backend", fake("is_killed"),
                      "--checkpoint", "c.safetensors", "--output", "broken")  # fmt: skip
    assert outcome.code == 1
    assert checkpoint.read(Path("c.safetensors")).epochs == 1
    bakeoff("train", workload, "--backend", "numpy", "--resume", "c.safetensors",
            "--checkpoint", "c.safetensors", "--output", "rest")  # fmt: skip
    assert checkpoint.read(Path("c.safetensors")).epochs == 4
    bakeoff("train", workload, "--backend", "numpy", "--output", "whole")
    for name, value in _weights("whole").items():
        np.testing.assert_array_equal(_weights("rest")[name], value)


def _flip(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


_DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "half": lambda data: data[: len(data) // 2],
    "without its last byte": lambda data: data[:-1],
    "with a byte too many": lambda data: data + b"x",
    "with a wrong bit in a tensor": lambda data: _flip(data, len(data) - 5),
    "with another seed": lambda data: data.replace(b'\\"seed\\":0', b'\\"seed\\":1'),
    "with another spec": lambda data: data.replace(b'\\"units\\":5', b'\\"units\\":6'),
    "with a tensor renamed": lambda data: data.replace(b"weights/norm.beta", b"weights/norm.Beta"),
    "text": lambda data: b"# a file that has nothing to do with it",
}


@pytest.mark.parametrize("damage", _DAMAGE)
def test_a_damaged_checkpoint_is_refused(bakeoff: Command, made: Path, damage: str) -> None:
    damaged = _DAMAGE[damage](made.read_bytes())
    assert damaged != made.read_bytes()
    made.write_bytes(damaged)
    outcome = bakeoff("train", "--backend", "numpy", "--resume", made, "--output", "rest")
    assert outcome.code == 2
    assert outcome.err.count("\n") == 1
    assert "c.safetensors is " in outcome.err
    assert "truncated" in outcome.err or "damaged" in outcome.err
    assert not Path("rest").exists()


def test_a_foreign_safetensors_file_is_refused(bakeoff: Command, home: Path) -> None:
    save_file({"weight": np.zeros(3)}, "other.safetensors")
    outcome = bakeoff("train", "--backend", "numpy", "--resume", "other.safetensors")
    assert outcome.code == 2
    assert "not a checkpoint that this bakeoff reads" in outcome.err


def test_another_model_is_refused(bakeoff: Command, workload: Path, made: Path) -> None:
    workload.write_text(workload.read_text().replace("units = 5", "units = 6"), encoding="utf-8")
    outcome = bakeoff("train", workload, "--backend", "numpy", "--resume", made)
    assert outcome.code == 2
    assert "whose model is not that of restart" in outcome.err


def test_nothing_left_to_train_is_refused(bakeoff: Command, made: Path) -> None:
    outcome = bakeoff("train", "--backend", "numpy", "--resume", made, "--epochs", 2)
    assert outcome.code == 2
    assert "--epochs 3" in outcome.err


def test_a_checkpoint_is_not_overwritten_by_another_training(
    bakeoff: Command, workload: Path, made: Path
) -> None:
    before = made.read_bytes()
    outcome = bakeoff("train", workload, "--backend", "numpy", "--checkpoint", made)
    assert outcome.code == 2
    assert "exists already" in outcome.err
    assert made.read_bytes() == before


def test_a_checkpoint_is_written_whole_or_not_at_all(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, content = made.read_bytes(), checkpoint.read(made)

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(InputError, match="No space left on device"):
        checkpoint.write(content, made)
    assert made.read_bytes() == before
    assert not list(Path().glob(".c.safetensors*"))
