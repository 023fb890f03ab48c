"""`--device` of the suites of a backend reaches its adapter, which says what it has."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_TESTS = Path(__file__).parents[1]
_REFUSAL = "device abacus: this installed build has cpu"


def _on_an_abacus(suite: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", str(_TESTS / suite), "--backend", "numpy",
         "--device", "abacus", "-p", "no:cacheprovider", *options],
        capture_output=True, check=False, text=True,
    )  # fmt: skip


def test_the_conformance_suite_is_refused_once_before_any_test() -> None:
    done = _on_an_abacus("conformance")
    assert done.returncode == 4
    assert done.stderr.startswith(f"Exit: {_REFUSAL}")
    assert done.stderr.count("\n") == 1


def test_a_benchmark_is_skipped_with_the_reason() -> None:
    done = _on_an_abacus("bench", "--benchmark-disable", "-rs", "-k", "linear and train")
    assert done.returncode == 0
    assert _REFUSAL in done.stdout
    assert "1 skipped" in done.stdout
