"""The report: the right numbers in every rendering, whatever names and reasons a spec holds."""

from __future__ import annotations

import colorsys
import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console

from bakeoff.bench import report
from bakeoff.bench.report import (
    charts,
    markdown,
    tables,
    terminal,
)
from bakeoff.bench.report import (
    formatting as numbers,
)
from bakeoff.bench.report import (
    page as html,
)
from bakeoff.bench.report.sections import sections
from bakeoff.bench.results.stats import Interval
from bakeoff.bench.results.summary import LossPoint, Metric, Parity, Point, Summary, TimeToTarget
from harness import samples
from harness.samples import parity as _parity
from harness.samples import row as _row
from harness.samples import summary as _summary


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


def _printed(summary: Summary) -> str:
    console = Console(width=1000, file=io.StringIO())
    for block in terminal.tables(summary):
        console.print(block)
    return console.file.getvalue()  # type: ignore[attr-defined]


class _Page(HTMLParser):
    """Collect scripts, visible text, and everything that would make a request."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.scripts: list[str] = []
        self.text: list[str] = []
        self.links: list[str] = []
        self.places: list[str] = []
        self._inside: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag if tag in ("script", "style") else None
        self.places += [str(value) for name, value in attrs if name == "id"]
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
    assert {f"#{place}" for place in page.places} >= set(page.links)
    assert len(page.scripts) == 4  # Vega, the charts, the overview, our own
    assert not any(script.startswith("alert") for script in page.scripts)
    shown = " ".join(" ".join(page.text).split())
    assert "failed because </script><script>alert(1)</script> | a *b*" in shown
    assert "bakeoff run 'a <b>.toml'" in shown
    style = re.search(r"<style>(.*?)</style>", html.render(mixed), re.DOTALL)
    assert style
    assert "url(" not in style[1]
    assert "@import" not in style[1]


def _panels(summary: Summary) -> list[list[dict[str, Any]]]:
    return [plot.panels for plot in charts.plots(sections(summary))]


def test_the_charts_of_the_page_are_data(mixed: Summary) -> None:
    drawn = json.loads(_Page(html.render(mixed)).scripts[1])
    assert [len(row) for row in drawn] == [2, 7, 7]
    parts = sections(mixed)
    assert drawn == [plot.panels for plot in (charts.overview(parts), *charts.plots(parts))]


def test_versions_of_a_framework_share_its_hue_and_are_told_apart() -> None:
    names = ["torch@2.9.1", "torch@2.13.0", "jax@0.9.2", "torch-a", "mine", "torch"]
    (plot,) = charts.plots(sections(_summary(*(_row("w", name) for name in names))))
    drawn = {series.label.removesuffix(" eager"): series.colour for series in plot.series}
    hues = {name: colorsys.rgb_to_hls(*bytes.fromhex(drawn[name][1:]))[0] for name in names}
    of_torch = [name for name in names if name.startswith("torch")]
    assert all(hues[name] == pytest.approx(hues["torch@2.9.1"], abs=0.01) for name in of_torch)
    assert abs(hues["jax@0.9.2"] - hues["torch"]) > 0.02
    assert len(set(drawn.values())) == len(names)
    assert drawn["torch@2.9.1"] == "#D55E00"


def test_markdown_cells_stay_in_their_cells(mixed: Summary) -> None:
    text = markdown.render(mixed)
    tables = [block for block in text.split("\n\n") if block.startswith("|")]
    lines = [table.splitlines() for table in tables]
    assert [len(table) for table in lines] == [2 + 4, 2 + 2, 2 + 1, 2 + 2, 2 + 1]
    for table in lines:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1
    assert "<script>" not in text
    assert r"&lt;/script&gt;&lt;script&gt;alert(1)&lt;/script&gt; \| a \*b\*" in text


@pytest.mark.parametrize(
    "render",
    [markdown.render, lambda summary: " ".join(_Page(html.render(summary)).text), _printed],
    ids=["markdown", "page", "terminal"],
)
def test_a_report_of_no_result_has_no_figure_that_reads_as_one(
    render: Callable[[Summary], str],
) -> None:
    """What every report says has the rules' own numbers alone; a `1.3x` there is nobody's."""
    text = render(_summary())
    assert "the worst error of the certificate" in text
    assert not re.findall(r"[0-9]x\b|[0-9] samples/s", text)


@pytest.mark.parametrize("render", [markdown.render, html.render])
def test_every_rendering_has_the_numbers_and_the_caveat(mixed: Summary, render: object) -> None:
    text = render(mixed).replace(numbers.NO_BREAK, " ")  # type: ignore[operator]
    for said in ("96.00 ± 2.50 %", "2.000 → 0", "4,000", "0.250x", "321", "61,706", "2.26 MFLOP"):
        assert said in text
    assert "torch is fastest: 4.00x as fast as numpy (95 % interval 3.27 to 4.89)" in text
    assert "1 seed: no interval of accuracy" in text
    assert "only if its parity certificates pass" in text


def test_the_terminal_fits_80_columns_and_cuts_nothing(mixed: Summary) -> None:
    console = Console(width=80, file=io.StringIO())
    for table in terminal.tables(mixed):
        console.print(table)
    text = console.file.getvalue()
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80
    for said in ("4,000", "4,000 ± 10 %", "0.250x", "unsupported because", "</script>"):
        assert said in text.replace(numbers.NO_BREAK, " ")


@pytest.mark.parametrize(
    ("speeds", "said"),
    [
        ((1000, 1150), "torch and numpy tie: torch is 1.15x"),
        ((1000, 1300), "torch is fastest: 1.30x"),
    ],
)
def test_a_ratio_that_may_be_1_is_a_tie(speeds: tuple[float, float], said: str) -> None:
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
    curve = [LossPoint(step, 0.1 * step, loss) for step, loss in enumerate(losses, 1)]
    summary = _summary(msgspec.structs.replace(_row("w", "numpy"), losses=curve))
    chart = _panels(summary)[0][0]
    assert chart["encoding"]["y"]["scale"].get("type") == scale
    charts.spec(summary)


def test_rows_whose_lines_coincide_are_drawn_apart() -> None:
    compiled = msgspec.structs.replace(_row("w", "torch"), mode="compiled")
    summary = _summary(_row("w", "numpy"), _row("w", "torch"), compiled)
    drawn = _panels(summary)[0][0]["encoding"]
    colours, dashes = (drawn[channel]["scale"]["range"] for channel in ("color", "strokeDash"))
    assert len(set(colours)) == 3
    assert len({tuple(dash) for dash in dashes}) == 3
    widest, thinnest = drawn["strokeWidth"]["scale"]["range"]
    assert widest > thinnest


def test_one_point_is_no_curve() -> None:
    row = msgspec.structs.replace(
        _row("w", "numpy"), curve=[Point(1, 2.0, 0.5, 0.1)], losses=[LossPoint(1, 0.1, 2.0)]
    )
    assert "Speed" in _panels(_summary(row))[0][0]["title"]


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
    fastest = msgspec.structs.replace(
        _row("w", "torch", speed=9e9), parity=parity, comparable=False
    )
    text = markdown.render(_summary(_row("w", "numpy"), fastest)).replace(numbers.NO_BREAK, " ")
    assert "Only numpy can be compared" in text
    assert "| not comparable |" in text
    assert why in text


def test_no_certificate_no_ranking() -> None:
    rows = [
        msgspec.structs.replace(_row("w", name), parity=None, comparable=False) for name in "ab"
    ]
    text = markdown.render(_summary(*rows))
    assert "No speed is comparable: no backend passes its certificates and audits" in text


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


def test_accuracies_are_said_to_be_equivalent_only_if_that_is_shown() -> None:
    rows = [_row("w", name) for name in ("numpy", "torch", "jax")]
    assert "equivalent to numpy's within 0.5 points." in markdown.render(_summary(*rows))
    assert rows[2].parity
    rung = msgspec.structs.replace(rows[2].parity.rungs[1], passes=None)
    unsure = msgspec.structs.replace(rows[2].parity, rungs=[rung])
    rows[2] = msgspec.structs.replace(rows[2], parity=unsure)
    text = markdown.render(_summary(*rows))
    margin = "numpy's within 0.5 points"
    shown = f"equivalent to {margin} for torch, not shown to be equivalent to {margin} for jax."
    assert shown in text
    text = markdown.render(_summary(rows[0], rows[2]))
    assert "not shown to be equivalent to numpy's within 0.5 points." in text
    other = msgspec.structs.replace(rung, passes=False)
    differs = msgspec.structs.replace(unsure, rungs=[other], verdict="fail")
    rows[2] = msgspec.structs.replace(rows[2], parity=differs, comparable=False)
    text = markdown.render(_summary(*rows))
    assert "for torch, shown to differ from numpy's by more for jax." in text


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (TimeToTarget(1.5, 1.25, 1.75, [1.4, 1.6]), "1.50 ± 0.25"),
        (TimeToTarget(1.5, 1.25, 1.75, [1.4, 1.6, None]), "1.50 ± 0.25 (2/3)"),
        (TimeToTarget(1.5, None, None, [1.5]), "1.50"),
        (TimeToTarget(0.022, 0.0081, 0.06, [0.01, 0.034]), "0.0220 [0.0081–0.060]"),
        (TimeToTarget(None, None, None, [None]), "not reached"),
        (None, numbers.DASH),
    ],
)
def test_time_to_target_in_words(found: TimeToTarget | None, said: str) -> None:
    assert numbers.time_to_target(found).replace(numbers.NO_BREAK, " ") == said
    row = msgspec.structs.replace(_row("w", "numpy"), seconds_to_target=found)
    text = markdown.render(_summary(row)).replace(numbers.NO_BREAK, " ")
    assert f"| {said} |" in text
    assert "| to target s |" in text


def test_a_benchmark_is_a_section_per_phase() -> None:
    found = sections(samples.benchmark())
    assert [section.name for section in found] == [
        "mnist-lenet5: training", "mnist-lenet5: inference"
    ]  # fmt: skip
    names = [table.name for table in found[0].tables]
    assert names == ["Results", "Backends compared", "Adapters against nets written by hand",
                     "NumPy against libraries of pure Python",
                     "Certificates and audits"]  # fmt: skip
    assert len(found[0].tables[0].lines) == 6 * 4
    assert (
        "batch 1: jax is fastest of 3: 2.11x as fast as numpy (95 % interval" in found[0].headline
    )
    assert "batch 512: jax is fastest of 3: 1.17x as fast as torch" in found[0].headline
    assert "Not finished: keras eager (failed), mxnet eager (unsupported)." in found[0].headline
    problems = {problem.name: problem.reason for problem in found[0].problems}
    where = "batch 1, 8, 64 and 512"
    assert problems[f"jax eager, {where}"] == "jax on <b>one</b> thread may use more"
    assert problems[f"paddle eager, {where}"] == "not comparable: gradients, conv1.weight: 40x"
    assert problems[f"keras eager, {where}"].startswith("failed because </script>")


def test_what_is_to_be_said_of_several_backends_is_said_once() -> None:
    summary = samples.benchmark()
    flagged = [
        msgspec.structs.replace(m, flags=["one process"]) if m.backend in ("numpy", "torch") else m
        for m in summary.measurements
    ]
    found = sections(msgspec.structs.replace(summary, measurements=flagged))[0].problems
    (name,) = [problem.name for problem in found if problem.reason == "one process"]
    assert name == "numpy eager and torch eager, batch 1, 8, 64 and 512"


def test_a_brief_comparison_names_device_and_batch_only_where_they_differ() -> None:
    one = next(c for c in samples.benchmark().comparisons if c.kind == "native")
    others = [
        msgspec.structs.replace(one, device="cuda"),
        msgspec.structs.replace(one, batch_size=1),
    ]
    for found, titles in (
        ([one], {"subject"}),
        ([one, others[0]], {"subject", "device"}),
        ([one, others[1]], {"subject", "batch"}),
    ):
        columns = {column.title for column in tables.brief_of_comparisons(found).columns}
        assert columns & {"subject", "device", "batch"} == titles


def test_the_numbers_behind_a_table_of_measurements() -> None:
    summary = samples.benchmark()
    table = sections(summary)[0].tables[0]
    titles = [column.title for column in table.columns]
    for measured, line in zip(summary.measurements, table.lines, strict=False):
        cells = dict(zip(titles, line, strict=True))
        assert cells["batch"].value == measured.batch_size
        assert cells["% of SGEMM peak"].value == measured.percent_of_peak
        speed, step = measured.samples_per_second, measured.step_seconds
        if speed is None or step is None:
            assert cells["samples/s"].text == numbers.DASH
            continue
        shown = cells["samples/s"]
        assert (shown.value, shown.low, shown.high) == (speed.median, speed.low, speed.high)
        assert cells["step ms"].value == pytest.approx(1e3 * step.median)
        compared = cells["vs fastest"]
        assert (compared.text == "not comparable") == (measured.backend == "paddle")


def test_a_benchmark_in_a_pull_request_folds_its_wide_tables() -> None:
    text = markdown.render(samples.benchmark())
    assert "<script>" not in text
    assert "| torch eager | tie | torch by hand |" in text
    assert "| numpy eager | faster | joelnet | 100x " in text
    folded = re.findall(r"<details>\n<summary>(.*?)</summary>\n\n\|", text)
    assert folded.count("Results") == 2
    assert "SGEMM peak" in folded
    open_tables = re.sub(r"<details>.*?</details>", "", text, flags=re.DOTALL)
    widths = {line.count(" | ") for line in open_tables.splitlines() if line.startswith("| jax")}
    assert widths
    assert max(widths) < 8


def test_the_essentials_of_a_benchmark_fit_100_columns() -> None:
    console = Console(width=100, file=io.StringIO())
    for table in terminal.tables(samples.benchmark()):
        console.print(table)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert max(map(len, lines)) <= 100
    row = r"jax eager +512 +1.2x +16,650 ± 3.0 % +1.00x"
    assert any(re.search(row, line.replace(numbers.NO_BREAK, " ")) for line in lines)


def test_a_ratio_without_a_comparison_has_no_interval() -> None:
    rows = [_row("w", "numpy", speed=1000), _row("w", "torch", speed=4000)]
    alone = msgspec.structs.replace(_summary(*rows), comparisons=[])
    said = "No interval, so no verdict: torch was 4.00x as fast as numpy (no interval)"
    assert said in markdown.render(alone)


def test_what_was_not_audited_has_not_failed() -> None:
    row = msgspec.structs.replace(_row("w", "torch"), audits=None, comparable=False)
    assert "| no audit |" in markdown.render(_summary(row))


def test_each_execution_has_its_own_winner() -> None:
    compiled = [
        msgspec.structs.replace(_row("w", name, speed=speed), mode="compiled")
        for name, speed in (("torch", 9000), ("jax", 20_000))
    ]
    rows = [_row("w", "torch", speed=4000), _row("w", "jax", speed=1000), *compiled]
    eager, compiled_one, _ = sections(_summary(*rows))[0].headline.split("; ")
    assert eager.startswith("eager: torch is fastest: 4.00x as fast as jax (95 % interval")
    assert compiled_one.startswith("compiled: jax is fastest: 2.22x as fast as torch")


def test_a_comparison_without_a_measurement_in_its_phase_is_not_lost() -> None:
    one = Interval(9000, 8800, 9200)
    alone = samples.comparison(
        "peers", "numpy", "joelnet", one, Interval(90, 88, 92), workload="w", phase="infer"
    )
    trained = samples.measurement("w", "numpy", "train", 64)
    found = sections(_summary(measurements=[trained], more=[alone]))
    assert [section.name for section in found] == ["w: training", "w: inference"]
    assert "joelnet" in markdown.render(_summary(measurements=[trained], more=[alone]))
    assert html.render(_summary(measurements=[trained], more=[alone]))


def test_a_summary_that_says_nothing_of_the_new_figures_is_reported_as_before(
    mixed: Summary,
) -> None:
    fields = ("losses", "seconds_to_target", "stage_seconds")
    old = json.loads(msgspec.json.encode(mixed))
    for row in old["rows"]:
        for field in fields:
            del row[field]
        if row["parity"]:
            del row["parity"]["layers"]
    for field in ("measurements", "comparisons", "peaks"):
        del old[field]
    summary = msgspec.convert(old, Summary)
    assert "96.00" in html.render(summary)
    assert "torch was 4.00x as fast as numpy (no interval)" in markdown.render(summary)
