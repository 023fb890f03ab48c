"""The page in a real browser: it draws, sorts, hides, downloads, and asks the network for nothing.

It needs a Chromium on the PATH (`apt-get install chromium`); without one these tests are skipped.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from bakeoff.bench import report
from bakeoff.bench.results.summary import Summary
from harness import samples

_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_EVIL = "<b>evil</b>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if found is None:
        pytest.skip(f"none of {', '.join(_BROWSERS)} is on the PATH: apt-get install chromium")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield running
        running.close()


def _run() -> Summary:
    evil = msgspec.structs.replace(samples.row("first", "numpy", speed=2000), backend=_EVIL)
    return samples.summary(
        samples.row("first", "numpy", speed=900),
        samples.row("first", "torch", speed=10_000),
        evil,
        samples.row("first", "keras", "failed"),
    )


_SUMMARIES = {"run": _run(), "bench": samples.benchmark()}
_CHARTS = {"run": 7, "bench": 7 + 6}  # torch shows the parts of a training step alone


class _Opened:
    """A page, what it has asked for and what it has complained of."""

    def __init__(self, page: Page, path: Path) -> None:
        self.page, self.complaints, self.requests = page, [], []  # type: ignore[var-annotated]
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))
        page.goto(path.as_uri())
        self.url = path.as_uri()
        for chart in page.locator(".chart").all():
            chart.locator("svg.marks").wait_for(state="attached")


@pytest.fixture
def opened(request: pytest.FixtureRequest, browser: Browser, tmp_path: Path) -> Iterator[_Opened]:
    """Open the page of a summary; every test ends with a look at its console and requests."""
    which, options = request.param
    path = tmp_path / "report.html"
    assert report.write(_SUMMARIES[which], tmp_path) == []
    context = browser.new_context(**options)
    found = _Opened(context.new_page(), path)
    yield found
    assert found.complaints == []
    assert [url for url in found.requests if not url.startswith("blob:")] == [found.url]
    context.close()


def _on(*which: str, **options: Any) -> pytest.MarkDecorator:
    options = {"viewport": {"width": 1200, "height": 900}, **options}
    return pytest.mark.parametrize(
        "opened", [(w, options) for w in which], indirect=True, ids=which
    )


def _texts(charts: Locator) -> list[str]:
    return charts.locator("svg.marks text").all_text_contents()


@_on("run", "bench")
def test_every_chart_has_marks(opened: _Opened, request: pytest.FixtureRequest) -> None:
    charts = opened.page.locator(".chart")
    assert charts.count() == _CHARTS[request.node.callspec.id]
    for chart in charts.all():
        assert chart.locator("svg.marks .role-mark path").count() > 0
    assert "NaN" not in _texts(charts)


@_on("run")
def test_names_are_text(opened: _Opened) -> None:
    assert opened.page.locator("main b").count() == 0
    assert _EVIL in opened.page.locator("tbody th").all_text_contents()
    assert _EVIL in _texts(opened.page.locator(".chart"))


@_on("bench")
def test_a_click_on_a_heading_sorts_numbers_as_numbers(opened: _Opened) -> None:
    table = opened.page.locator("table").first
    heading = table.locator("thead th", has_text="samples/s").first
    column = heading.evaluate("heading => heading.cellIndex")

    def values() -> list[float | None]:
        cells = table.locator(f"tbody tr > :nth-child({column + 1})").all()
        found = [cell.get_attribute("data-value") for cell in cells]
        return [None if value is None else float(value) for value in found]

    for direction in ("ascending", "descending"):
        heading.locator("button").click()
        assert heading.get_attribute("aria-sort") == direction
        found = values()
        there = [value for value in found if value is not None]
        assert there == sorted(there, reverse=direction == "descending")
        assert len(there) == 16
        assert found[16:] == [None] * 8  # what is missing stays at the end
    assert table.locator("[aria-sort]").count() == 1
    table.locator("thead th button").first.click()
    names = table.locator("tbody th").all_text_contents()
    assert names == sorted(names)


@_on("run", "bench")
def test_a_click_in_the_legend_hides_a_backend_and_another_shows_it(opened: _Opened) -> None:
    section = opened.page.locator("main section").first
    charts, button = section.locator(".chart"), section.locator('[data-series="torch"]')
    torch = charts.locator('.role-mark [aria-label*="torch"]')
    before = torch.count()
    assert before > 0
    button.click()
    expect(button).to_have_attribute("aria-pressed", "false")
    expect(torch).to_have_count(0)
    assert not [text for text in _texts(charts) if text.startswith("torch")]
    button.click()
    expect(torch).to_have_count(before)


@_on("run")
def test_curves_are_over_steps_or_over_the_wall_time(opened: _Opened) -> None:
    chart = opened.page.locator(".chart").first
    assert "step" in _texts(chart)
    opened.page.get_by_label("wall time").check()
    expect(chart.locator("text", has_text="seconds of training")).to_have_count(1)


@_on("run")
def test_hovering_tells_the_values(opened: _Opened) -> None:
    bar = opened.page.locator('.chart:nth-child(3) .mark-rect [aria-label*="torch"]').first
    bar.scroll_into_view_if_needed()
    bar.hover()
    expect(opened.page.locator("#vg-tooltip-element.visible")).to_contain_text("10,000")


@_on("run")
def test_the_wheel_zooms_with_ctrl_and_scrolls_without(opened: _Opened) -> None:
    page = opened.page
    chart = page.locator(".chart").first
    chart.scroll_into_view_if_needed()
    chart.hover()
    before, scrolled = _texts(chart), page.evaluate("scrollY")
    page.mouse.wheel(0, 40)
    page.wait_for_function("before => scrollY > before", arg=scrolled)
    assert _texts(chart) == before
    page.mouse.wheel(0, -40)
    page.keyboard.down("Control")
    page.mouse.wheel(0, -200)
    page.wait_for_function(
        "before => [...document.querySelectorAll('.chart')[0].querySelectorAll('svg.marks text')]"
        ".map(text => text.textContent).join() !== before",
        arg=",".join(before),
    )


@_on("bench")
def test_a_table_is_downloaded_as_csv_and_as_json(opened: _Opened) -> None:
    results = opened.page.locator(".results").first
    texts = {}
    for name in ("CSV", "JSON"):
        with opened.page.expect_download() as download:
            results.get_by_role("button", name=name, exact=True).click()
        assert download.value.suggested_filename.endswith(f".{name.lower()}")
        texts[name] = Path(download.value.path()).read_text(encoding="utf-8")
    rows = list(csv.DictReader(io.StringIO(texts["CSV"], newline="")))
    assert len(rows) == 24
    first = _SUMMARIES["bench"].measurements[0].samples_per_second
    assert first
    speed = [float(rows[0][f"samples/s{end}"]) for end in ("", " low", " high")]
    assert speed == [first.median, first.low, first.high]
    failed = next(row for row in rows if row["backend"] == "keras")
    assert (failed["status"], failed["samples/s"]) == ("failed", "")
    records = json.loads(texts["JSON"])
    assert [record["samples/s"] or "" for record in records] == [
        float(row["samples/s"]) if row["samples/s"] else "" for row in rows
    ]


@_on("run", "bench", viewport={"width": 390, "height": 844}, color_scheme="dark")
def test_nothing_overflows_on_a_phone_in_the_dark(opened: _Opened) -> None:
    page = opened.page
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == "rgb(21, 24, 28)"
    for svg in page.locator("svg.marks").all():
        box = svg.bounding_box()
        assert box
        assert box["x"] + box["width"] <= 390
