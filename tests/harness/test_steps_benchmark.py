"""The step benchmarks under pytest-benchmark, as `tox -e numpy -- tests/bench` runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

_TESTS = Path(__file__).parents[1]


def test_the_benchmark_saves_a_json_that_pytest_benchmark_compares(tmp_path: Path) -> None:
    storage = f"--benchmark-storage=file://{tmp_path}"
    subprocess.run(
        [sys.executable, "-m", "pytest", str(_TESTS / "bench"), "--backend", "numpy", storage,
         "-k", "linear", "-q", "--rootdir", str(_TESTS.parent)],
        check=True,
        # Within a worker of pytest-xdist, pytest-benchmark would measure nothing.
        env={k: v for k, v in os.environ.items() if not k.startswith("PYTEST_XDIST")},
    )  # fmt: skip
    (saved,) = tmp_path.rglob("*_numpy.json")
    found = json.loads(saved.read_text())["benchmarks"]
    assert {one["group"] for one in found} == {"linear train", "linear infer"}
    assert all(one["stats"]["rounds"] >= 5 for one in found)
    compared = subprocess.run(
        [str(Path(sys.executable).with_name("pytest-benchmark")), f"--storage=file://{tmp_path}",
         "compare", "--group-by=group"],
        capture_output=True, check=True, text=True,
    )  # fmt: skip
    assert "linear train" in compared.stdout
