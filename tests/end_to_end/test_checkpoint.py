"""A training that changes hands: every backend goes on with the checkpoint of every other."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from end_to_end.conftest import Command

from bakeoff.backends import USUAL
from bakeoff.bench import workload
from bakeoff.bench.training import checkpoint
from conformance.parity import assert_all_parity, gamma

_RESTART = Path(__file__).with_name("restart.toml")
_PAIRS = list(permutations(USUAL, 2))
_PROCESSES = 2


@pytest.fixture(scope="module")
def trained(
    tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str], installed: None
) -> Path:
    """An unbroken training by NumPy, half a one by each backend, and the rest by the others."""
    bakeoff = Command(tmp_path_factory.mktemp("restart"), environment)

    def train(name: str, backend: str, *options: str) -> None:
        bakeoff("train", _RESTART, "--backend", backend, "--output", f"run-{name}",
                "--checkpoint", f"{name}.safetensors", *options)  # fmt: skip

    def begin(backend: str) -> None:
        train(backend, backend, "--dtype", "float64", "--epochs", "2")

    def end(pair: tuple[str, str]) -> None:
        first, second = pair
        train(f"{first}-{second}", second, "--resume", f"{first}.safetensors")

    train("whole", "numpy", "--dtype", "float64")
    with ThreadPoolExecutor(_PROCESSES) as pool:
        list(pool.map(begin, USUAL))
        list(pool.map(end, _PAIRS))
    return bakeoff.folder


@pytest.mark.parametrize("pair", _PAIRS, ids="-".join)
def test_the_joined_trajectory_is_the_unbroken_one(trained: Path, pair: tuple[str, str]) -> None:
    """Losses, weights and optimizer state, within the bound of float64 for as many steps."""
    whole = checkpoint.read(trained / "whole.safetensors")
    joined = checkpoint.read(trained / f"{'-'.join(pair)}.safetensors")
    work = workload.read(str(_RESTART))
    steps = int(whole.state["step"])
    bound = gamma(work.model, work.batch_size, steps)
    assert joined.backend == pair[1]
    assert_all_parity(joined.tensors, whole.tensors, bound=bound)
    expected, actual = (
        np.load(next((trained / run).glob("jobs/restart/*/predictions.npy")))
        for run in ("run-whole", f"run-{'-'.join(pair)}")
    )
    assert_all_parity({"logits": actual}, {"logits": expected}, bound=bound)
