"""`bakeoff compare`: what became slower is told, with an interval, and ends with exit code 1."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bakeoff.bench.commands import compare as history
from bakeoff.bench.commands.compare import Change
from bakeoff.bench.results.stats import bootstrap_ratio
from bakeoff.bench.worker import records
from bakeoff.bench.worker.records import Block

Command = Callable[..., Any]


@pytest.fixture
def two_runs(bakeoff: Command, workload: Path) -> Callable[[float], None]:
    """Make run `a`, and run `b` whose blocks took so many times as long."""
    bakeoff("run", workload, "--backend", "numpy", "--seeds", 2, "--epochs", 20, "--output", "a")

    def make(times: float) -> None:
        shutil.rmtree("b", ignore_errors=True)
        shutil.copytree("a", "b")
        for journal in Path("b/jobs").rglob("records.jsonl"):
            found = records.read(journal)
            journal.unlink()
            for record in found:
                if isinstance(record, Block):
                    seconds = times * record.train_seconds
                    record = msgspec.structs.replace(record, train_seconds=seconds)
                records.append(journal, record)
        Path("b/summary.json").unlink()  # it is of the run that was copied

    return make


def _changes(outcome: Any) -> list[Change]:
    return msgspec.json.decode(outcome.out, type=list[Change])


@pytest.mark.parametrize(
    ("times", "verdict", "code"), [(1.0, "tie", 0), (50.0, "slower", 1), (0.02, "faster", 0)]
)
def test_the_verdict_and_the_exit_code(
    bakeoff: Command, two_runs: Callable[[float], None], times: float, verdict: str, code: int
) -> None:
    two_runs(times)
    outcome = bakeoff("compare", "a", "b", "--fail-above", "5%", "--json")
    assert outcome.code == code
    (change,) = _changes(outcome)
    assert change.verdict == verdict
    assert change.ratio
    assert change.ratio.median == pytest.approx(1 / times, rel=1e-6)
    assert change.ratio.low <= change.ratio.median <= change.ratio.high
    assert verdict in bakeoff("compare", "a", "b").out
    assert bakeoff("compare", "a", "b").code == 0  # without --fail-above it only tells


def test_a_row_without_a_certificate_is_not_compared(
    bakeoff: Command, two_runs: Callable[[float], None]
) -> None:
    two_runs(1.0)
    shutil.rmtree("b/certificates")
    (change,) = _changes(bakeoff("compare", "a", "b", "--json"))
    assert (change.verdict, change.reason) == ("not comparable", "no passing certificate in B")
    assert change.ratio is None


@pytest.mark.parametrize("seeds", [1, 2])
def test_an_interval_within_one_process_is_marked(
    bakeoff: Command, workload: Path, seeds: int
) -> None:
    bakeoff("run", workload, "--backend", "numpy", "--seeds", seeds, "--epochs", 20,
            "--output", "a")  # fmt: skip
    (change,) = _changes(bakeoff("compare", "a", "a", "--json"))
    assert change.one_process == (seeds == 1)
    text = bakeoff("compare", "a", "a").out
    assert ("* of one process in A or B" in text) == ("tie*" in text) == (seeds == 1)


def test_rows_of_one_run_alone(
    bakeoff: Command, workload: Path, two_runs: Callable[[float], None]
) -> None:
    bakeoff("run", workload, "--backend", "numpy", "--seeds", 1, "--dtype", "float64",
            "--output", "c")  # fmt: skip
    found = _changes(bakeoff("compare", "a", "c", "--json"))
    assert [change.verdict for change in found] == ["only in A", "only in B"]


@pytest.mark.parametrize("wrong", ["5", "much%", "-1%", "100%"])
def test_a_wrong_threshold(bakeoff: Command, two_runs: Callable[[float], None], wrong: str) -> None:
    outcome = bakeoff("compare", "a", "a", "--fail-above", wrong)
    assert outcome.code == 2
    assert "such as 5%" in outcome.err


def test_no_run(bakeoff: Command, home: Path) -> None:
    assert bakeoff("compare", "x", "y").code == 2


def test_the_ratio_of_medians_and_its_interval() -> None:
    old, new = [[10.0, 10.2, 9.8], [10.1, 9.9]], [[20.0, 20.4], [19.6, 20.2, 19.8]]
    ratio = bootstrap_ratio(new, old)
    assert ratio.median == pytest.approx(2.0)
    assert 1.9 < ratio.low < 2.0 < ratio.high < 2.1
    assert json.dumps([ratio.low]) == json.dumps([bootstrap_ratio(new, old).low])


def test_executions_are_told_apart_by_what_differs() -> None:
    eager, compiled, longer = (
        "cpu float32 eager 1",
        "cpu float32 compiled 1",
        "cpu float32 eager 1 infer",
    )
    assert history.told_apart([eager, compiled, eager]) == {eager: "eager", compiled: "compiled"}
    assert history.told_apart([eager, longer]) == {eager: "", longer: "infer"}
    assert history.told_apart([eager]) == {eager: eager}
