"""What is drawn, what is left where drawing fails, and that few processes have no interval."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from bakeoff.bench import report
from bakeoff.bench.commands.report import show
from bakeoff.bench.report import charts, markdown
from bakeoff.bench.report import formatting as numbers
from bakeoff.bench.report import page as html
from bakeoff.bench.report.sections import sections
from bakeoff.bench.results.stats import Interval, verdict
from bakeoff.bench.results.summary import Point, Summary
from bakeoff.models import InputError
from harness.samples import row as _row
from harness.samples import summary as _summary


@pytest.fixture
def mixed() -> Summary:
    return _summary(_row("first", "numpy", speed=1000), _row("first", "torch", speed=4000))


@pytest.mark.parametrize("death", ["exit 1", "kill -ABRT $$", "cat >/dev/null; echo 9; echo x"])
def test_the_death_of_what_draws_costs_the_picture_alone(
    mixed: Summary,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    death: str,
) -> None:
    fake = tmp_path / "python"
    fake.write_text(f"#!/bin/sh\n{death}\n", encoding="utf-8")
    fake.chmod(0o755)
    (tmp_path / "report.png").write_bytes(b"of an older report")
    monkeypatch.setattr(sys, "executable", str(fake))
    show(mixed, tmp_path, Console(width=80), shown="tables")
    printed = capsys.readouterr().out
    assert "4,000" in printed
    assert "report.png could not be drawn" in printed
    made = {path.name for path in tmp_path.iterdir()} - {"python"}
    assert made == {"summary.json", "report.md", "report.html"}
    assert "The charts could not be drawn" in (tmp_path / "report.html").read_text("utf-8")


def test_the_table_is_printed_before_anything_is_drawn(
    mixed: Summary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed = io.StringIO()

    def draw(spec: object) -> tuple[str, bytes]:
        assert "4,000" in printed.getvalue()
        raise MemoryError

    monkeypatch.setattr(report, "draw", draw)
    with pytest.raises(InputError, match="no memory is left"):
        show(mixed, tmp_path, Console(file=printed), shown="tables")


def test_a_curve_of_very_many_points_is_thinned_and_says_so() -> None:
    length, peak, dip = 500_000, 123_457, 345_679
    points = [Point(i + 1, 1.0, 0.5, 0.001 * i) for i in range(length)]
    points[peak] = Point(peak + 1, 1.0, 0.875, 0.001 * peak)
    points[dip] = Point(dip + 1, 1.0, 0.125, 0.001 * dip)
    rows = [
        msgspec.structs.replace(_row("w", f"b{i:02}"), curve=points if i == 0 else points[:9])
        for i in range(60)
    ]
    chart = next(
        c
        for c in charts.plots(sections(_summary(*rows)))[0].panels
        if "Validation" in json.dumps(c["title"])
    )
    assert chart["title"]["subtitle"] == "24 of 60 curves; 202 of 500,000 points, extremes kept"
    (values,) = chart["datasets"].values()
    drawn = [v for v in values if v["series"] == "b00 eager"]
    assert {v["value"] for v in drawn} == {0.5, 0.875, 0.125}
    assert [drawn[0]["epoch"], drawn[-1]["epoch"]] == [1, length]
    assert len({v["series"] for v in values}) == 24
    few = charts.plots(sections(_summary(_row("w", "numpy"))))[0].panels
    assert not any("subtitle" in json.dumps(chart["title"]) for chart in few)


def test_without_an_interval_no_rendering_shows_one_or_a_verdict() -> None:
    names = ("numpy", "torch")
    alone = _summary(*(_row("w", name, seeds=1) for name in names))
    one = {"samples_per_second": Interval(1000.0), "blocks": [[900.0, 1000.0, 1100.0]]}
    rows = [msgspec.structs.replace(row, **one) for row in alone.rows]  # type: ignore[arg-type]
    alone = msgspec.structs.replace(alone, rows=rows)
    ratio = Interval(5.67)
    judged = [
        msgspec.structs.replace(c, ratio=ratio, verdict=verdict(ratio)) for c in alone.comparisons
    ]
    alone = msgspec.structs.replace(alone, comparisons=judged)
    text = markdown.render(alone).replace(numbers.NO_BREAK, " ")
    assert "1 seed: no interval of accuracy and the speed." in text
    assert "No interval, so no verdict" in text
    assert "not judged" in text
    assert not re.search(
        r"is fastest|5\.67 to|± 0 %|\| (faster|slower|tie) ", text.split("± is half")[0]
    )
    assert not re.search(r"[0-9] ± |\[[0-9.,]+–", text.replace("1.50 ± 0.25 (2/3)", ""))
    (bars,) = [
        chart["datasets"]
        for chart in charts.plots(sections(alone))[0].panels
        if "Speed" in json.dumps(chart["title"])
    ]
    assert '"low": 1000' not in json.dumps(bars)
    assert html.render(alone)
