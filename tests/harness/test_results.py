"""A result holds what it says: it is reported and compared by its summary alone, an old one too."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bakeoff.bench.parity.noise import MULTIPLE
from bakeoff.bench.results import storage
from bakeoff.bench.training import aggregate, jobs, journal
from bakeoff.bench.training.journal import JobResult
from bakeoff.bench.worker import records
from bakeoff.bench.worker.records import Block
from bakeoff.models import InputError

Command = Callable[..., Any]

_SUMMARY = Path("a/summary.json")


@pytest.fixture
def run(bakeoff: Command, workload: Path) -> dict[str, Any]:
    """The folder `a` of a finished run; what is in its summary."""
    bakeoff("run", workload, "--backend", "numpy", "--seeds", 2, "--epochs", 20, "--output", "a")
    contents: dict[str, Any] = json.loads(_SUMMARY.read_bytes())
    return contents


def _as_version_1(contents: dict[str, Any]) -> str:
    """Return what version 1 made of the rows of a run."""
    for row in contents["rows"]:
        del row["blocks"], row["parity"]["allowed"]
    return json.dumps(contents | {"schema_version": 1})


def test_a_row_has_its_blocks_and_its_bound(run: dict[str, Any]) -> None:
    (row,) = run["rows"]
    assert (run["schema_version"], row["parity"]["allowed"]) == (3, MULTIPLE)
    paths = [Path(f"a/jobs/tiny/numpy-eager-{seed}/records.jsonl") for seed in (0, 1)]
    blocks = [[r for r in records.read(path) if isinstance(r, Block)] for path in paths]
    assert row["blocks"] == [[b.samples / b.train_seconds for b in job[1:]] for job in blocks]


def test_a_journal_is_read_once(run: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []
    read = journal.read_job

    def read_job(folder: Path, seed: int) -> JobResult:
        seeds.append(seed)
        return read(folder, seed)

    monkeypatch.setattr(journal, "read_job", read_job)
    aggregate.summarize(Path("a"))
    assert seeds == [0, 1]


def test_runs_are_compared_by_their_summaries_alone(bakeoff: Command, run: dict[str, Any]) -> None:
    before = bakeoff("compare", "a", "a", "--json")
    assert [change["verdict"] for change in before.json()["rows"]] == ["compared"]
    for folder in ("jobs", "certificates", "inputs"):
        shutil.rmtree(Path("a", folder))
    Path("a/run.toml").write_text("", encoding="utf-8")
    assert bakeoff("compare", "a", "a", "--json").out == before.out


@pytest.mark.parametrize("content", [None, "", "{}", _as_version_1])
def test_a_run_without_a_summary_of_today_is_compared_by_its_records(
    bakeoff: Command, run: dict[str, Any], content: Callable[[dict[str, Any]], str] | str | None
) -> None:
    before = bakeoff("compare", "a", "a", "--json")
    if content is None:
        _SUMMARY.unlink()
    else:
        text = content if isinstance(content, str) else content(run)
        _SUMMARY.write_text(text, encoding="utf-8")
    assert bakeoff("compare", "a", "a", "--json").out == before.out
    assert _SUMMARY.exists() == (content is not None)
    assert bakeoff("report", "a").code == 0
    assert storage.is_current(_SUMMARY)


def test_a_run_that_goes_on_has_no_summary_until_its_end(
    bakeoff: Command, run: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    there: list[bool] = []
    monkeypatch.setattr(jobs, "run", lambda folder, display: there.append(_SUMMARY.exists()))
    assert bakeoff("run", "--resume", "a").code == 0
    assert there == [False]
    assert json.loads(_SUMMARY.read_bytes()) == run


def test_a_benchmark_of_version_1_is_reported_and_compared(bakeoff: Command, home: Path) -> None:
    for folder in ("a", "b"):
        Path(folder).mkdir()
        Path(folder, "summary.json").write_text(json.dumps(_VERSION_1), encoding="utf-8")
    assert bakeoff("report", "a").code == 0
    text = Path("a/report.md").read_text(encoding="utf-8")
    assert "to within 16 times the rounding noise" in text
    assert "| copy eager | not judged | numpy eager | 0.979x |" in text  # it was one process
    written = json.loads(_SUMMARY.read_bytes())
    assert written["schema_version"] == 3
    assert {m["parity"]["allowed"] for m in written["measurements"]} == {16}
    assert "p_value" not in written["comparisons"][0]
    told = bakeoff("compare", "a", "b", "--json").json()
    assert [(row["backend"], row["aspects"]["speed"]["verdict"]) for row in told["rows"]] == [
        ("numpy", "not judged"), ("copy", "not judged")
    ]  # fmt: skip
    assert told["failures"] == [
        "nothing was judged: there is no metric and no speed with a verdict"
    ]


def test_a_summary_of_a_later_version_is_refused(home: Path) -> None:
    path = home / "summary.json"
    path.write_text('{"schema_version": 4, "bakeoff_version": "9"}', encoding="utf-8")
    with pytest.raises(InputError, match=r"schema version 4, .* reads 1 to 3; use bakeoff 9"):
        storage.read(path)


def _measured(backend: str, rates: list[float], step: float) -> dict[str, Any]:
    middle, low, high = sorted(rates)[len(rates) // 2], min(rates), max(rates)
    return {
        "workload": "line-linear", "backend": backend, "framework_version": "2.4.6",
        "device": "cpu", "dtype": "float32", "mode": "eager", "threads": 1, "phase": "train",
        "batch_size": 3, "status": "ok", "reason": None, "processes": 1, "steps_per_block": 25,
        "import_seconds": 0.06, "build_seconds": 0.006, "stage_seconds": 4e-07,
        "first_step_seconds": 0.0003,
        "step_seconds": {"median": step, "low": 0.9 * step, "high": 1.1 * step},
        "samples_per_second": {"median": middle, "low": low, "high": high},
        "fed_samples_per_second": None, "latency_seconds": None, "peak_rss_mb": 23.8,
        "device_memory_mb": None, "gflops": 0.0006, "percent_of_peak": 0.0006,
        "threads_used": 0.99, "overhead_seconds": None, "split": {"forward": 1e-05},
        "blocks": [rates], "rounds": [list(range(2, 2 + len(rates)))], "discarded": 0,
        "rival": None, "flags": [], "settings": {}, "environment": {"NPROC": "1"},
        "parity": {
            "verdict": "pass", "worst": "trajectory", "noise_ratio": 1.0, "certificate": "a0",
            "rungs": [{"name": "forward", "passes": True, "ratio": 1.0, "margin": None}],
            "reason": "", "deviations": [],
            "layers": [{"layer": "output", "forward": 1.0, "gradients": 0.5}],
        },
    }  # fmt: skip


# As the last bakeoff of version 1 wrote it, with fewer digits.
_VERSION_1: dict[str, Any] = {
    "schema_version": 1, "bakeoff_version": "0.1.0", "created": "2026-11-27T16:16:02+00:00",
    "command": "bakeoff bench line-linear --backend numpy,copy.py --budget 2s",
    "machine": {
        "hostname": "vm", "system": "Linux", "python": "3.11.7", "cpu": "A CPU", "cores": 2,
        "physical_cores": 2, "memory_mb": 24105, "governor": None, "load": 0.31,
        "blas": "scipy-openblas 0.3.31", "variables": {},
    },
    "workloads": [{
        "name": "line-linear", "description": "Three points.", "model": "linear",
        "dataset": "line", "dataset_sha256": "1be0", "dataset_size": "3 / 1 / 1", "parameters": 2,
        "training_flops": 4, "batch_size": 3, "epochs": 200, "metric": "mse",
        "lower_is_better": True, "target": 0.01,
    }],
    "rows": [],
    "measurements": [
        _measured("numpy", [155396.1, 179157.8, 159891.2, 176868.7, 154623.1], 1.9e-5),
        _measured("copy", [175330.0, 97822.4, 166738.0, 179057.9, 159781.4], 1.8e-5),
    ],
    "comparisons": [{
        "kind": "backends", "workload": "line-linear", "phase": "train", "batch_size": 3,
        "threads": 1, "mode": "eager", "subject": "copy", "rival": "numpy",
        "ratio": {"median": 0.979, "low": 0.612, "high": 1.16},
        "samples_per_second": {"median": 166738.0, "low": 97822.4, "high": 179057.9},
        "rival_samples_per_second": {"median": 159891.2, "low": 154623.1, "high": 179157.8},
        "p_value": 0.93, "effect": 0.067, "verdict": "tie", "device": "cpu",
    }],
    "peaks": {"1": {"median": 102.0, "low": 100.0, "high": 102.4}},
}  # fmt: skip
