"""The report: the right numbers in every rendering, whatever names and reasons a spec holds."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from bakeoff.bench import report
from bakeoff.bench.machine import Machine
from bakeoff.bench.report import charts, html, markdown, numbers, terminal
from bakeoff.bench.stats import Interval
from bakeoff.bench.summary import (
    LossRange,
    Metric,
    Parity,
    Point,
    Row,
    Rung,
    Status,
    Summary,
    WorkloadFacts,
)

_EVIL = "</script><script>alert(1)</script> | a\n*b*"


def _row(
    workload: str, backend: str, status: Status = "ok", *, speed: float = 1000.0, seeds: int = 3
) -> Row:
    done = status == "ok"
    values = [0.95, 0.96, 0.97][:seeds]
    interval = (0.935, 0.985) if seeds > 1 else (None, None)
    metric = Metric("accuracy", 0.96, *interval, values) if done else None
    return Row(
        workload=workload,
        backend=backend,
        framework_version="1.2.3" if done else None,
        device="cpu",
        dtype="float32",
        mode="eager",
        threads=1,
        seeds=seeds,
        status=status,
        reason=None if done else f"{status} because {_EVIL}",
        metric=metric,
        metrics={"accuracy": metric} if metric else {},
        loss=LossRange(2.0, 0.0) if done else None,
        epochs=2,
        samples_per_second=Interval(speed, 0.9 * speed, 1.1 * speed) if done else None,
        first_block_seconds=0.5 if done else None,
        import_seconds=0.25 if done else None,
        build_seconds=0.125 if done else None,
        peak_rss_mb=321.4 if done else None,
        parameters=61706,
        curve=[Point(1, 2.0, 0.5, 0.1), Point(2, 0.0, 0.9, 0.2)] if done else [],
        parity=_parity("pass") if done else None,
    )


def _parity(verdict: str, reason: str = "") -> Parity:
    rungs = [Rung("gradients", verdict == "pass", 1.25), Rung("accuracy", None, None)]
    return Parity(
        verdict=verdict, rungs=rungs, worst="gradients", noise_ratio=1.25, certificate="f00",
        reason=reason,
    )  # fmt: skip


def _facts(name: str) -> WorkloadFacts:
    return WorkloadFacts(
        name=name,
        description=_EVIL,
        model="lenet5",
        dataset="mnist-5k",
        dataset_sha256="0123456789abcdef" * 4,
        dataset_size="3,500 / 500 / 1,000",
        parameters=61706,
        training_flops=2_263_920,
        batch_size=64,
        epochs=2,
        metric="accuracy",
        lower_is_better=False,
        target=0.94,
    )


def _summary(*rows: Row) -> Summary:
    return Summary(
        schema_version=1,
        bakeoff_version="0.1.0",
        created="2026-11-22T00:00:00+00:00",
        command="bakeoff run 'a <b>.toml'",
        machine=Machine(
            hostname="h",
            system="Linux",
            python="3.11.7",
            cpu="A CPU",
            cores=2,
            memory_mb=24000,
            load=0.5,
        ),
        workloads=[_facts(name) for name in dict.fromkeys(row.workload for row in rows)],
        rows=list(rows),
    )


@pytest.fixture
def mixed() -> Summary:
    return _summary(
        _row("first", "numpy", speed=1000),
        _row("first", "torch", speed=4000),
        _row("first", "keras", "failed"),
        _row("first", "mxnet", "unsupported"),
        _row("second", "numpy", seeds=1),
        _row("second", "torch", "missing", seeds=1),
    )


class _Page(HTMLParser):
    """Collect scripts, visible text, and everything that would make a request."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.scripts: list[str] = []
        self.text: list[str] = []
        self.links: list[str] = []
        self._inside: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag if tag in ("script", "style") else None
        self.links += [str(value) for name, value in attrs if name in ("src", "href", "srcset")]
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = None

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        elif self._inside is None:
            self.text.append(data)


def test_the_page_shows_markup_in_names_as_text_and_asks_for_nothing(mixed: Summary) -> None:
    page = _Page(html.render(mixed))
    assert page.links == []
    assert len(page.scripts) == 3  # Vega, the data, our own
    assert not any(script.startswith("alert") for script in page.scripts)
    shown = " ".join(" ".join(page.text).split())
    assert "failed because </script><script>alert(1)</script> | a *b*" in shown
    assert "bakeoff run 'a <b>.toml'" in shown
    style = re.search(r"<style>(.*?)</style>", html.render(mixed), re.DOTALL)
    assert style
    assert "url(" not in style[1]
    assert "@import" not in style[1]


def test_the_charts_of_the_page_are_data(mixed: Summary) -> None:
    panels = json.loads(_Page(html.render(mixed)).scripts[1])
    assert [len(row) for row in panels] == [3, 3]
    assert panels == charts.panels(mixed)


def test_markdown_cells_stay_in_their_cells(mixed: Summary) -> None:
    text = markdown.render(mixed)
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert len(tables) == (2 + 4) + (2 + 2)
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in tables} == {13}
    assert "<script>" not in text
    assert r"&lt;/script&gt;&lt;script&gt;alert(1)&lt;/script&gt; \| a \*b\*" in text


@pytest.mark.parametrize("render", [markdown.render, html.render])
def test_every_rendering_has_the_numbers_and_the_caveat(mixed: Summary, render: object) -> None:
    text = render(mixed).replace(numbers.NO_BREAK, " ")  # type: ignore[operator]
    for said in ("96.00 ± 2.50 %", "2.000 → 0", "4,000", "0.250x", "321", "61,706", "2.26 MFLOP"):
        assert said in text
    assert "torch is fastest of 2" in text or "torch is fastest: 4.00x numpy" in text
    assert "One seed" in text
    assert "only if its parity certificate passes" in text


def test_the_terminal_fits_80_columns_and_cuts_nothing(mixed: Summary) -> None:
    console = Console(width=80, file=io.StringIO())
    for table in terminal.tables(mixed):
        console.print(table)
    text = console.file.getvalue()
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80
    for said in ("4,000", "[3,600–4,400]", "0.250x", "unsupported because", "</script>"):
        assert said in text


@pytest.mark.parametrize(
    ("speeds", "said"),
    [((1000, 1150), "tie, their intervals overlap"), ((1000, 1300), "torch is fastest: 1.30x")],
)
def test_overlapping_intervals_are_a_tie(speeds: tuple[float, float], said: str) -> None:
    rows = [_row("w", name, speed=s) for name, s in zip(("numpy", "torch"), speeds, strict=True)]
    assert said in markdown.render(_summary(*rows))


def test_modes_are_named_where_they_differ() -> None:
    compiled = msgspec.structs.replace(_row("w", "torch", speed=3000), mode="compiled")
    text = markdown.render(_summary(_row("w", "torch"), compiled))
    assert "| torch compiled |" in text
    assert "| torch eager |" in text


@pytest.mark.parametrize(
    ("losses", "scale"),
    [((2.0, 0.01), "log"), ((2.0, 1.0), None), ((2.0, 0.0), None), ((2.0, float("nan")), None)],
    ids=["wide", "narrow", "zero", "diverged"],
)
def test_the_loss_has_a_log_scale_where_one_is_possible(
    losses: tuple[float, float], scale: str | None
) -> None:
    curve = [Point(epoch, loss, 0.5, 0.1) for epoch, loss in enumerate(losses, 1)]
    summary = _summary(msgspec.structs.replace(_row("w", "numpy"), curve=curve))
    chart = charts.panels(summary)[0][0]
    assert chart["layer"][0]["encoding"]["y"]["scale"].get("type") == scale
    assert charts.png(summary).startswith(b"\x89PNG")
    assert json.loads(_Page(html.render(summary)).scripts[1]) == [charts.panels(summary)[0]]


def test_rows_whose_lines_coincide_are_drawn_apart() -> None:
    compiled = msgspec.structs.replace(_row("w", "torch"), mode="compiled")
    summary = _summary(_row("w", "numpy"), _row("w", "torch"), compiled)
    drawn = charts.panels(summary)[0][0]["layer"][0]["encoding"]
    colours, dashes = (drawn[channel]["scale"]["range"] for channel in ("color", "strokeDash"))
    assert len(set(colours)) == 3
    assert len({tuple(dash) for dash in dashes}) == 3
    widest, thinnest = drawn["strokeWidth"]["scale"]["range"]
    assert widest > thinnest


def test_one_epoch_is_no_curve() -> None:
    row = msgspec.structs.replace(_row("w", "numpy"), curve=[Point(1, 2.0, 0.5, 0.1)])
    (panel,) = charts.panels(_summary(row))[0]
    assert "Speed" in panel["title"]


def test_only_seeds_that_finished_are_counted() -> None:
    metric = Metric("accuracy", 0.95, None, None, [0.95])
    partly = msgspec.structs.replace(_row("w", "torch", "failed"), metric=metric)
    text = markdown.render(_summary(partly, _row("w", "keras", "missing")))
    assert "| failed (1 of 3 seeds finished) |" in text.replace(numbers.NO_BREAK, " ")
    assert "| missing |" in text


@pytest.mark.parametrize(
    ("parity", "why"),
    [
        (None, "it has no parity certificate"),
        (_parity("fail", "gradients, conv1.weight: 40x"), "gradients, conv1.weight: 40x"),
        (_parity("error", "it died"), "it died"),
    ],
)
def test_a_row_without_a_passing_certificate_is_not_compared(
    parity: Parity | None, why: str
) -> None:
    fastest = msgspec.structs.replace(_row("w", "torch", speed=9e9), parity=parity)
    text = markdown.render(_summary(_row("w", "numpy"), fastest)).replace(numbers.NO_BREAK, " ")
    assert "Only numpy can be compared" in text
    assert "| not comparable |" in text
    assert why in text


def test_no_certificate_no_ranking() -> None:
    rows = [msgspec.structs.replace(_row("w", name), parity=None) for name in "ab"]
    text = markdown.render(_summary(*rows))
    assert "No speed is comparable: no certificate passes" in text


def test_rows_too_short_for_a_speed_have_finished_all_the_same() -> None:
    short = [msgspec.structs.replace(_row("w", name), samples_per_second=None) for name in "ab"]
    text = markdown.render(_summary(*short))
    assert "No speed: nothing was trained after the first block" in text
    assert "No backend finished" not in text


def test_files_are_written_whole_and_alike_each_time(mixed: Summary, tmp_path: Path) -> None:
    report.write(mixed, tmp_path)
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(first) == {"report.md", "report.html", "report.png"}
    assert first["report.png"].startswith(b"\x89PNG\r\n")
    assert len(first["report.png"]) > 20_000
    report.write(mixed, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first


def test_a_run_in_which_nothing_finished_is_reported(tmp_path: Path) -> None:
    summary = _summary(_row("w", "numpy", "failed"), _row("w", "torch", "timeout"))
    report.write(summary, tmp_path)
    assert "No backend finished" in (tmp_path / "report.md").read_text(encoding="utf-8")
    assert terminal.tables(summary)


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [(0.0, 3, "0"), (1234.5, 3, "1,230"), (0.00012345, 3, "0.000123"), (1e-7, 2, "1.0e-07"),
     (99.96, 3, "100"), (2.5e12, 3, "2.50e+12"), (-3.14159, 3, "-3.14")],
)  # fmt: skip
def test_significant_digits(value: float, digits: int, text: str) -> None:
    assert numbers.significant(value, digits) == text


def test_importing_the_report_is_cheap() -> None:
    script = "import sys, bakeoff.bench.report; sys.exit('altair' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)
