"""The page's first screen: who is beside whom, at which batch size, and why a cell has no speed."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest

from bakeoff import models
from bakeoff.bench import workload
from bakeoff.bench.report import charts, context, overview, page
from bakeoff.bench.report.sections import sections
from bakeoff.bench.results.summary import Measurement, Summary, TimeToTarget
from harness import samples

replace = msgspec.structs.replace


def _overview(summary: Summary) -> overview.Overview:
    found = overview.of(sections(summary))
    assert found
    return found


def _texts(summary: Summary) -> dict[str, list[str]]:
    return {line.label: [r.text for r in line.results] for line in _overview(summary).lines}


def _in_mode(mode: str, backend: str, speed: float, **changes: Any) -> Any:
    return replace(samples.row("first", backend, speed=speed), mode=mode, **changes)


def test_ratios_are_to_the_fastest_of_each_workload() -> None:
    summary = samples.summary(
        samples.row("first", "numpy", speed=1000),
        samples.row("first", "torch", speed=4000),
        samples.row("second", "numpy", speed=300),
        samples.row("second", "torch", speed=100),
    )
    assert _texts(summary) == {
        "numpy eager": ["0.250x", "1.00x"], "torch eager": ["1.00x", "0.333x"]
    }  # fmt: skip
    assert [column.batch for column in _overview(summary).columns] == ["", ""]


def test_a_gap_says_its_reason_and_is_the_fastest_of_none() -> None:
    failing = samples.parity("fail", "gradients, conv1.weight: 40x")
    summary = samples.summary(
        samples.row("first", "numpy", speed=1000),
        samples.row("first", "keras", "failed"),
        replace(samples.row("first", "paddle", speed=9e9), parity=failing, comparable=False),
        replace(samples.row("first", "jax"), samples_per_second=None),
        samples.row("second", "torch"),
    )
    found = {line.label: line.results for line in _overview(summary).lines}
    assert (found["numpy eager"][0].text, found["numpy eager"][0].note) == ("1.00x", "1,000/s")
    said = {label: (results[0].text, results[0].note) for label, results in found.items()}
    assert said["keras eager"][0] == "failed"
    assert said["keras eager"][1].startswith("failed because </script>")
    assert said["paddle eager"] == ("not comparable", "gradients, conv1.weight: 40x")
    assert said["jax eager"] == ("no speed", "nothing was trained after the first block of steps")
    assert said["torch eager"][1] == "not measured"
    assert [r.speed for label in list(said)[1:] for r in found[label][:1]] == [None] * 4


def test_each_figure_has_its_raw_json() -> None:
    summary = samples.summary(
        samples.row("first", "numpy"), samples.row("first", "keras", "failed")
    )
    for row, line in zip(summary.rows, _overview(summary).lines, strict=True):
        assert msgspec.json.decode(line.results[0].raw, type=type(row)) == row


@pytest.mark.parametrize(("own", "nearest"), [(64, 64), (20, 8), (30, 64), (10_000, 512), (2, 1)])
def test_a_benchmark_is_shown_at_the_batch_nearest_to_the_workloads(own: int, nearest: int) -> None:
    summary = samples.benchmark()
    facts = [replace(facts, batch_size=own) for facts in summary.workloads]
    found = _overview(replace(summary, workloads=facts))
    assert [(column.section.name, column.batch) for column in found.columns] == [
        ("mnist-lenet5: training", f"batch {nearest}"),
        ("mnist-lenet5: inference", f"batch {nearest}"),
    ]
    for line in found.lines:
        for result in line.results:
            assert msgspec.json.decode(result.raw, type=Measurement).batch_size == nearest


def test_only_what_parts_the_lines_in_groups_is_a_filter() -> None:
    alone = samples.summary(samples.row("first", "numpy"), samples.row("first", "torch"))
    assert _overview(alone).filters == {}
    assert _overview(alone).mixed == []
    versions = [
        _in_mode(mode, f"torch@{version}", 1000, framework_version=version)
        for version in ("2.9.1", "2.13.0")
        for mode in ("eager", "compiled")
    ]
    failed = [samples.row("first", name, "failed") for name in ("keras", "mxnet")]
    found = _overview(samples.summary(*versions, *failed))
    assert found.filters == {
        "backend": ["torch", "keras", "mxnet"],
        "version": ["torch 2.9.1", "torch 2.13.0"],
        "mode": ["eager", "compiled"],
    }
    assert found.mixed == ["mode"]


def test_the_page_says_that_modes_differ_even_if_each_has_one_row() -> None:
    rows = [_in_mode("eager", "numpy", 1000), _in_mode("compiled", "jax", 2000)]
    assert "Rows differ in mode" in page.render(samples.summary(*rows))
    assert "Rows differ in mode" not in page.render(samples.summary(*rows[:1]))


def test_what_took_turns_with_rivals_is_not_ranked() -> None:
    summary = samples.benchmark()
    rivals = [replace(m, rival="joelnet") for m in summary.measurements]
    assert overview.of(sections(replace(summary, measurements=rivals))) is None
    assert 'id="matrix"' not in page.render(replace(summary, measurements=rivals))


def test_speeds_come_first_in_the_tables() -> None:
    """A phone shows what is left without scrolling."""
    for summary in (samples.benchmark(), samples.summary(samples.row("w", "numpy"))):
        columns = sections(summary)[0].tables[0].columns
        titles = [column.title for column in columns if column.title != "batch"]
        assert titles[:4] == ["backend", "samples/s", "vs fastest", "status"]


def test_accuracy_is_drawn_over_the_time_to_the_target() -> None:
    never = TimeToTarget(None, None, None, [None])
    alone = TimeToTarget(2.5, None, None, [2.5, None, None])
    summary = samples.summary(
        samples.row("w", "numpy"),
        replace(samples.row("w", "torch"), seconds_to_target=alone),
        replace(samples.row("w", "jax"), seconds_to_target=never),
        samples.row("w", "keras", "failed"),
    )
    (drawn,) = charts.overview(sections(summary)).panels
    assert drawn["title"]["subtitle"] == "94.00\u00a0% was not reached by jax eager"
    points = {point["series"]: point for point in next(iter(drawn["datasets"].values()))}
    assert list(points) == ["numpy eager", "torch eager"]
    assert (points["torch eager"]["seconds"], points["torch eager"]["value"]) == (2.5, 0.96)
    assert points["numpy eager"]["reached"] == "2 of 3 seeds"
    nobody = samples.summary(replace(samples.row("w", "jax"), seconds_to_target=never))
    assert charts.overview(sections(nobody)).panels == []


def test_one_seed_has_no_interval_to_draw() -> None:
    """Vega warns of a layer in which nothing is drawn."""
    one = TimeToTarget(1.5, None, None, [1.5])
    row = replace(samples.row("w", "numpy", seeds=1), seconds_to_target=one)
    (drawn,) = charts.overview(sections(samples.summary(row))).panels
    assert len(drawn["layer"]) == 1


def test_the_model_and_its_data_stand_with_a_workload() -> None:
    facts = workload.facts_of(models.read("lenet5"))
    assert facts["layers"][0] == (
        "conv1: conv2d filters=6 kernel_size=5 padding=2: [6, 28, 28], 156 parameters"
    )
    assert len(facts["layers"]) == 12
    assert facts["loss"] == "softmax_cross_entropy label_smoothing=0"
    assert re.match(
        r"adam learning_rate=\S+ schedule=\(constant warmup_steps=0\) ", facts["optimizer"]
    )
    summary = samples.summary(samples.row("w", "numpy"))
    told = [replace(summary.workloads[0], caveats="few <rows>", **facts)]
    shown = page.render(replace(summary, workloads=told))
    for said in (facts["layers"][-1], facts["optimizer"], "few &lt;rows&gt;", "12 layers"):
        assert said in shown


@pytest.mark.parametrize("name", models.zoo())
def test_every_model_can_be_told_in_lines(name: str) -> None:
    model = models.read(name)
    assert len(workload.facts_of(model)["layers"]) == len(list(model.walk()))


def test_environments_are_told_by_what_differs() -> None:
    rows = [
        replace(samples.row("w", "numpy"), settings={"OMP": "1", "blas": "openblas"}),
        replace(samples.row("w", "torch"), framework_version="2.9", settings={"OMP": "1"}),
        samples.row("w", "keras", "failed"),
    ]
    assert context.environments(rows, ["mode"]) == {
        "numpy eager": "version 1.2.3; blas=openblas",
        "torch eager": "version 2.9",
        "all of them": "OMP=1",
    }
    both = [rows[0], replace(rows[0], mode="compiled")]
    assert context.environments(both, ["mode"]) == {
        "all of them": "OMP=1; blas=openblas; version 1.2.3"
    }
    assert context.environments(rows[:1], []) == {"numpy": "version 1.2.3; OMP=1; blas=openblas"}
