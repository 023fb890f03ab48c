"""`bakeoff compare`: what differs is told first, what is worse ends with exit code 1."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from bakeoff import models
from bakeoff.bench.commands import compare as history
from bakeoff.bench.results import storage
from bakeoff.bench.results.stats import Interval, bootstrap_ratio, mean_interval
from bakeoff.bench.results.summary import (
    Audits,
    Measurement,
    Metric,
    Row,
    Summary,
    TimeToTarget,
)
from bakeoff.bench.workload import model_sha256
from harness import samples

Command = Callable[..., Any]
Change = Callable[[Summary], Summary]


def _row(backend: str = "numpy", **changed: Any) -> Row:
    values = [23.0, 23.5, 24.0]
    blocks = [[1000.0, 1010.0, 990.0], [1005.0, 995.0], [1001.0, 1011.0]]
    row = replace(
        samples.row("houses", backend),
        metric=_metric(values),
        blocks=blocks,
        finished_seeds=[0, 1, 2],
        audits=Audits(blocks=4, steps=16, worst=0.5),
        seconds_to_target=_to_target(1.0, 1.1, 1.2),
    )
    return replace(row, **changed)


def _metric(values: list[float], name: str = "mae") -> Metric:
    return Metric(name, *mean_interval(values), values)


def _to_target(*values: float | None) -> TimeToTarget:
    reached = [value for value in values if value is not None]
    return TimeToTarget(*(mean_interval(reached) if reached else (None,) * 3), list(values))


def _summary(*rows: Row, **changed: Any) -> Summary:
    facts = replace(samples.facts("houses"), metric="mae", lower_is_better=True, **changed)
    return replace(samples.summary(*rows), workloads=[facts])


@pytest.fixture
def compared(bakeoff: Command, home: Path) -> Callable[..., Any]:
    """Compare two summaries; what was printed, as JSON by default."""

    def run(before: Summary, after: Summary, *options: str) -> Any:
        for name, summary in (("a", before), ("b", after)):
            Path(name).mkdir(exist_ok=True)
            storage.write(summary, Path(name, "summary.json"))
        return bakeoff("compare", "a", "b", *(options or ("--json",)))

    return run


def test_alike(compared: Callable[..., Any]) -> None:
    outcome = compared(_summary(_row()), _summary(_row()))
    told = outcome.json()
    assert (outcome.code, told["differences"], told["failures"]) == (0, [], [])
    ((change,),) = [told["rows"]]
    verdicts = {name: aspect["verdict"] for name, aspect in change["aspects"].items()}
    assert verdicts == {
        "metric": "same", "parity": "same", "audits": "same", "time to target": "tie",
        "memory": "told", "speed": "tie",
    }  # fmt: skip


_WRONG = samples.parity("fail", "gradients, conv1.weight: 40x")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"metric": _metric([340.0, 341.0, 342.5])}, "mae worse: 23.50 → 341.2, 318 [316–320]"),
        ({"metric": _metric([23.9, 24.4, 24.9])}, "mae worse: 23.50 → 24.40"),
        ({"parity": _WRONG, "comparable": False}, "parity worse: 1.2x → 1.2x, passes in A, fails"),
        (
            {"audits": Audits(failure="epoch 1, block 2: stale"), "comparable": False},
            "audits worse: 0.5x → 0.0x, no fault in A, epoch 1, block 2: stale in B",
        ),
        ({"audits": None, "comparable": False}, "not comparable: no audit in B"),
        ({"parity": None, "comparable": False}, "not comparable: no passing certificate in B"),
        ({"status": "failed", "reason": "out of memory"}, "failed in B (out of memory)"),
        ({"status": "unsupported", "reason": "no lstm"}, "unsupported in B (no lstm)"),
        ({"seconds_to_target": _to_target(None, None, None)}, "reached by 3 of 3 seeds in A, 0 of"),
    ],
)
def test_what_is_worse_fails(
    compared: Callable[..., Any], changed: dict[str, Any], said: str
) -> None:
    worse = _summary(_row(), _row("torch", **changed))
    before = _summary(_row(), _row("torch"))
    outcome = compared(before, worse)
    assert outcome.code == 1
    assert any(said in failure for failure in outcome.json()["failures"])
    assert all(line.startswith("houses torch: ") for line in outcome.json()["failures"])
    text = compared(before, worse, "--fail-above", "50%")
    assert text.code == 1
    assert said in text.out.replace("\u00a0", " ")
    assert not any("worse" in failure for failure in compared(worse, before).json()["failures"])


@pytest.mark.parametrize(
    ("metric", "verdict"),
    [
        (_metric([23.0, 23.5, 24.0]), "same"),
        (_metric([23.1, 23.6, 24.1]), "same"),  # by less than a hundredth
        (_metric([20.0, 25.0, 24.5]), "tie"),
        (_metric([20.0, 20.5, 21.0]), "better"),
        (_metric([26.0, 26.5, 27.0]), "worse"),
    ],
)
def test_a_metric_is_judged_over_paired_seeds(
    compared: Callable[..., Any], metric: Metric, verdict: str
) -> None:
    outcome = compared(_summary(_row()), _summary(_row(metric=metric)))
    (row,) = outcome.json()["rows"]
    assert row["aspects"]["metric"]["verdict"] == verdict
    assert outcome.code == (verdict == "worse")


def test_a_metric_has_its_own_direction(compared: Callable[..., Any]) -> None:
    def summary(*values: float) -> Summary:
        facts = replace(samples.facts("houses"), metric="accuracy", lower_is_better=False)
        row = _row(metric=_metric(list(values), "accuracy"))
        return replace(_summary(row), workloads=[facts])

    outcome = compared(summary(0.94, 0.95, 0.945), summary(0.23, 0.25, 0.24))
    (failure,) = outcome.json()["failures"]
    assert "accuracy worse: 94.50" in failure
    assert "points, 3 paired seeds" in failure


def test_seeds_are_paired_by_their_number(compared: Callable[..., Any]) -> None:
    fewer = _row(metric=_metric([24.0, 23.5]), finished_seeds=[2, 1], seeds=2)
    (row,) = compared(_summary(_row()), _summary(fewer)).json()["rows"]
    assert row["aspects"]["metric"]["verdict"] == "same"
    other = _row(metric=_metric([24.0]), finished_seeds=[7], seeds=1)
    outcome = compared(_summary(_row()), _summary(other))
    assert outcome.code == 1
    assert "mae not judged: no seed in common" in outcome.json()["failures"][0]


def _of_processes(number: int, rate: float = 1000.0, **changed: Any) -> Row:
    blocks = [[rate, 1.01 * rate, 0.99 * rate] for _ in range(number)]
    return _row(blocks=blocks, samples_per_second=Interval(rate), **changed)


@pytest.mark.parametrize(
    ("times", "verdict", "code"), [(1.0, "tie", 0), (0.02, "slower", 1), (50.0, "faster", 0)]
)
def test_a_speed_fails_with_fail_above_alone(
    compared: Callable[..., Any], times: float, verdict: str, code: int
) -> None:
    before, after = _summary(_of_processes(3)), _summary(_of_processes(3, 1000 * times))
    outcome = compared(before, after, "--fail-above", "5%", "--json")
    assert outcome.code == code
    (row,) = outcome.json()["rows"]
    speed = row["aspects"]["speed"]
    assert speed["verdict"] == verdict
    assert speed["change"]["median"] == pytest.approx(times)
    assert speed["change"]["low"] <= speed["change"]["median"] <= speed["change"]["high"]
    told = compared(before, after, "--fail-above", "99%")
    assert verdict in told.out
    assert compared(before, after).code == 0


@pytest.mark.parametrize(("a", "b"), [(1, 3), (3, 2), (1, 1)])
def test_a_speed_of_few_processes_is_not_judged(
    compared: Callable[..., Any], a: int, b: int
) -> None:
    before, after = _summary(_of_processes(a)), _summary(_of_processes(b, 10.0))
    outcome = compared(before, after)
    (row,) = outcome.json()["rows"]
    assert row["aspects"]["speed"]["verdict"] == "not judged"
    assert "no interval" in row["aspects"]["speed"]["reason"]
    assert outcome.code == 0  # the metric was judged
    strict = compared(before, after, "--fail-above", "5%", "--json")
    assert strict.code == 1
    assert "speed not judged" in strict.json()["failures"][0]


def test_a_single_seed_is_judged_only_where_it_is_the_same(compared: Callable[..., Any]) -> None:
    def one(value: float) -> Summary:
        return _summary(_of_processes(1, metric=_metric([value]), finished_seeds=[0], seeds=1))

    assert compared(one(23.0), one(23.0)).code == 0
    outcome = compared(one(23.0), one(341.0))
    assert outcome.code == 1
    assert "houses numpy: mae not judged: 1 paired seed: no interval" in outcome.json()["failures"]


def test_a_comparison_in_which_nothing_is_judged_fails(compared: Callable[..., Any]) -> None:
    refused = _row(status="unsupported", reason="no lstm", metric=None)
    for summary in (_summary(refused), _summary(_row(parity=None, comparable=False, metric=None))):
        outcome = compared(summary, summary)
        assert outcome.code == 1
        assert outcome.json()["failures"][-1].startswith("nothing was judged")
    both = _summary(_row(), replace(refused, backend="torch"))
    assert compared(both, both).code == 0  # what neither supports is not to be judged


def test_rows_of_one_run_alone(compared: Callable[..., Any]) -> None:
    both, one = _summary(_row(), _row("torch")), _summary(_row())
    lost = compared(both, one)
    assert (lost.code, lost.json()["failures"]) == (1, ["houses torch: only in A"])
    won = compared(one, both)
    assert won.code == 0
    assert [row["verdict"] for row in won.json()["rows"]] == ["compared", "only in B"]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"dataset_sha256": "3c4d" * 16}, "dataset differs (sha256 0123456789ab… / 3c4d3c4d3c4d…)"),
        ({"dataset_sha256": "", "dataset": "boston"}, "dataset differs (mnist-5k / boston)"),
        ({"model_sha256": "bb" * 32}, "model differs (sha256 aaaaaaaaaaaa… / bbbbbbbbbbbb…)"),
        ({"model_sha256": "", "parameters": 7}, "model differs (parameters 61706 / 7)"),
        ({"batch_size": 32}, "batch size differs (64 / 32)"),
        ({"epochs": 9}, "epochs differs (2 / 9)"),
    ],
)
def test_another_experiment_is_no_tie(
    compared: Callable[..., Any], changed: dict[str, Any], reason: str
) -> None:
    before = _summary(_row(), model_sha256="aa" * 32)
    after = _summary(_row(), **({"model_sha256": "aa" * 32} | changed))
    outcome = compared(before, after)
    assert outcome.code == 1
    (row,) = outcome.json()["rows"]
    assert (row["verdict"], row["reason"], row["aspects"]) == ("not comparable", reason, {})
    assert f"houses numpy: not comparable: {reason}" in outcome.json()["failures"]
    assert outcome.json()["differences"]


def test_every_difference_is_told_first(compared: Callable[..., Any]) -> None:
    before, after = (
        _summary(_row(), _row("torch")),
        _summary(_row(settings={"x": "1"}), _row("jax")),
    )
    rows = [replace(row, framework_version="2.0", seeds=5, threads=2) for row in after.rows]
    machine = replace(after.machine, hostname="other", cpu="B CPU", variables={"OMP_X": "1"})
    after = replace(after, rows=rows, machine=machine, bakeoff_version="9")
    told = [(d["name"], d["a"], d["b"]) for d in compared(before, after).json()["differences"]]
    assert told == [
        ("bakeoff", "0.1.0", "9"), ("host", "h", "other"), ("CPU", "A CPU", "B CPU"),
        ("threads", "1", "2"), ("seeds", "3", "5"), ("variable OMP_X", "–", "1"),
        ("numpy: version", "1.2.3", "2.0"),
    ]  # fmt: skip
    lines = compared(before, after, "--fail-above", "5%").out.splitlines()
    assert lines[1] == "differs: bakeoff: 0.1.0 in A, 9 in B"
    assert lines[1 + len(told)] == ""


def test_a_benchmark_is_compared(compared: Callable[..., Any]) -> None:
    before = samples.benchmark()
    broken: list[Measurement] = [
        replace(m, parity=_WRONG, comparable=False) if m.backend == "jax" else m
        for m in before.measurements
    ]
    outcome = compared(before, before)
    assert outcome.code == 1  # keras failed, and paddle has no certificate that passes
    assert {line.split(": ")[1] for line in outcome.json()["failures"]} == {"not comparable"}
    outcome = compared(before, replace(before, measurements=broken), "--fail-above", "5%")
    assert outcome.code == 1
    table = [line for line in outcome.out.splitlines() if line.startswith(" ")]
    assert len(table) > 24
    assert max(map(len, table)) <= 80


def test_names_are_text(compared: Callable[..., Any]) -> None:
    evil = "\x1b[31m[red]x"
    row = _row(evil, metric=_metric([90.0, 91.0, 92.0]))
    summary = replace(_summary(_row(evil)), bakeoff_version=evil)
    text = compared(summary, _summary(row), "--fail-above", "5%").out
    assert "\x1b" not in text
    assert "[31m[red]x" in text


@pytest.mark.parametrize("wrong", ["5", "much%", "-1%", "100%"])
def test_a_wrong_threshold(compared: Callable[..., Any], wrong: str) -> None:
    outcome = compared(_summary(_row()), _summary(_row()), "--fail-above", wrong)
    assert outcome.code == 2
    assert "such as 5%" in outcome.err


def test_no_run(bakeoff: Command, home: Path) -> None:
    assert bakeoff("compare", "x", "y").code == 2


def test_a_run_is_compared_by_its_records(bakeoff: Command, workload: Path) -> None:
    bakeoff("run", workload, "--backend", "numpy", "--seeds", 1, "--epochs", 20, "--output", "a")
    assert bakeoff("compare", "a", "a").code == 0
    shutil.copytree("a", "b")
    shutil.rmtree("b/certificates")
    Path("b/summary.json").unlink()  # it is of the run that was copied
    (failure,) = bakeoff("compare", "a", "b", "--json").json()["failures"]
    assert failure == "tiny numpy: not comparable: no passing certificate in B"


def test_a_model_has_another_hash_if_it_computes_something_else() -> None:
    model = models.read("mnist-mlp")
    same = msgspec.structs.replace(model, name="other", description="Of another name.")
    assert model_sha256(same) == model_sha256(model)
    faster = msgspec.structs.replace(model.optimizer, learning_rate=0.5)
    other = [
        msgspec.structs.replace(model, optimizer=faster),
        msgspec.structs.replace(model, layers=model.layers[:2] + model.layers[3:]),
    ]
    assert len({model_sha256(each) for each in (model, *other)}) == 3


def test_the_ratio_of_medians_and_its_interval() -> None:
    old = [[10.0, 10.2, 9.8], [10.1, 9.9], [10.0]]
    new = [[20.0, 20.4], [19.6, 20.2, 19.8], [20.0]]
    ratio = bootstrap_ratio(new, old)
    assert ratio.median == pytest.approx(2.0)
    assert ratio.low is not None
    assert ratio.high is not None
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
