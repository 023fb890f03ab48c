"""The page in a real browser: it draws, sorts, hides, downloads, and asks the network for nothing.

It needs a Chromium on the PATH (`apt-get install chromium`); without one these tests are skipped.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable, Iterator
from functools import cache
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


def _modes() -> Summary:
    """Two workloads in both modes; the fastest of the first may not be compared."""
    compiled = [
        msgspec.structs.replace(samples.row(name, "jax", speed=speed), mode="compiled")
        for name, speed in (("first", 8000), ("second", 300))
    ]
    barred = samples.row("first", "paddle", speed=90_000)
    return samples.summary(
        samples.row("first", "numpy", speed=900),
        samples.row("first", "torch", speed=2000),
        msgspec.structs.replace(barred, parity=samples.parity("fail", "40x"), comparable=False),
        samples.row("second", "numpy", speed=400),
        *compiled,
    )


_SUMMARIES = {"run": _run(), "bench": samples.benchmark(), "modes": _modes()}
_CHARTS = {"run": 1 + 7, "bench": 7 + 6}  # torch shows the parts of a training step alone


class _Opened:
    """A page, what it has asked for and what it has complained of."""

    def __init__(self, page: Page, url: str) -> None:
        self.page, self.complaints, self.requests = page, [], []  # type: ignore[var-annotated]
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))
        page.goto(url)
        self.url = url
        for chart in page.locator(".chart").all():
            chart.locator("svg.marks").wait_for(state="attached")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Return what writes the page of a summary, once, and returns its address."""

    @cache
    def write(which: str) -> str:
        folder = tmp_path_factory.mktemp(which)
        assert report.write(_SUMMARIES[which], folder) == []
        return (folder / "report.html").as_uri()

    return write


@pytest.fixture
def opened(
    request: pytest.FixtureRequest, browser: Browser, written: Callable[[str], str]
) -> Iterator[_Opened]:
    """Open the page of a summary; every test ends with a look at its console and requests."""
    which, options = request.param
    context = browser.new_context(**options)
    found = _Opened(context.new_page(), written(which))
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
    assert f"{_EVIL} eager" in opened.page.locator("tbody th").all_text_contents()
    assert f"{_EVIL} eager" in _texts(opened.page.locator(".chart"))


@_on("bench")
def test_a_click_on_a_heading_sorts_numbers_as_numbers(opened: _Opened) -> None:
    table = opened.page.locator("section:not(#overview) table").first
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
    section = opened.page.locator("section:not(#overview)").first
    charts, button = section.locator(".chart"), section.locator('[data-series="torch eager"]')
    torch = charts.locator('.role-mark [aria-label*="torch"]')
    before = torch.count()
    assert before > 0
    button.click()
    expect(button).to_have_attribute("aria-pressed", "false")
    expect(torch).to_have_count(0)
    assert "torch eager" not in _matrix(opened.page)
    assert not [text for text in _texts(charts) if text.startswith("torch")]
    button.click()
    expect(torch).to_have_count(before)


@_on("modes")
def test_a_chart_of_which_all_is_hidden_is_not_drawn(opened: _Opened) -> None:
    charts = opened.page.locator(".chart")
    expect(charts.and_(opened.page.locator(":visible"))).to_have_count(charts.count())
    for name in ("eager", "compiled"):
        opened.page.get_by_role("button", name=name, exact=True).click()
    expect(charts.and_(opened.page.locator(":visible"))).to_have_count(0)
    assert _matrix(opened.page) == {}
    opened.page.reload()
    opened.page.get_by_role("button", name="eager", exact=True).click()
    expect(charts.first.locator("svg.marks .mark-symbol path")).to_have_count(3)
    opened.requests[:] = [opened.url]  # reload asks for the page again


@_on("run")
def test_curves_are_over_steps_or_over_the_wall_time(opened: _Opened) -> None:
    chart = opened.page.locator("section:not(#overview) .chart").first
    assert "step" in _texts(chart)
    opened.page.get_by_label("wall time").check()
    expect(chart.locator("text", has_text="seconds of training")).to_have_count(1)
    assert opened.page.url.endswith("#by=seconds")


@_on("run")
def test_hovering_tells_the_values(opened: _Opened) -> None:
    bar = opened.page.locator('.chart:nth-child(3) .mark-rect [aria-label*="torch"]').first
    bar.scroll_into_view_if_needed()
    bar.hover()
    expect(opened.page.locator("#vg-tooltip-element.visible")).to_contain_text("10,000")


@_on("run")
def test_the_wheel_zooms_with_ctrl_and_scrolls_without(opened: _Opened) -> None:
    page = opened.page
    chart = page.locator("section:not(#overview) .chart").first
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
        "before => [...document.querySelector('section:not(#overview) .chart')"
        ".querySelectorAll('svg.marks text')]"
        ".map(text => text.textContent).join() !== before",
        arg=",".join(before),
    )


@_on("bench")
def test_a_table_is_downloaded_as_csv_and_as_json(opened: _Opened) -> None:
    results = opened.page.locator("section:not(#overview) .results").first
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
    failed = next(row for row in rows if row["backend"] == "keras eager")
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


def _matrix(page: Page) -> dict[str, list[str]]:
    """Return what the overview shows, by backend."""
    rows = page.locator("#matrix tbody tr:visible").all()
    return {
        row.locator("th").inner_text(): row.locator("td > :first-child").all_inner_texts()
        for row in rows
    }


_ALL = {
    "numpy eager": ["0.113x", "1.00x"],
    "torch eager": ["0.250x", "–"],
    "paddle eager": ["not comparable", "–"],
    "jax compiled": ["1.00x", "0.750x"],
}


@_on("modes")
def test_ratios_are_to_the_fastest_of_what_is_shown(opened: _Opened) -> None:
    page = opened.page
    assert _matrix(page) == _ALL
    note = page.get_by_text("Rows differ in mode")
    expect(note).to_be_visible()
    page.get_by_role("button", name="compiled", exact=True).click()
    expect(note).to_be_hidden()
    assert _matrix(page) == {
        "numpy eager": ["0.450x", "1.00x"],
        "torch eager": ["1.00x", "–"],
        "paddle eager": ["not comparable", "–"],
    }
    page.locator('#overview [data-series="torch eager"]').click()
    assert _matrix(page)["numpy eager"] == ["1.00x", "1.00x"]
    with page.expect_download() as download:
        page.locator("#overview").get_by_role("button", name="CSV").click()
    text = Path(download.value.path()).read_text(encoding="utf-8")
    assert [line.split(",")[0] for line in text.splitlines()[1:]] == [
        '"numpy eager"', '"paddle eager"'
    ]  # fmt: skip
    page.get_by_role("button", name="compiled", exact=True).click()
    assert _matrix(page)["numpy eager"] == ["0.113x", "1.00x"]


@_on("modes")
def test_one_backend_is_compared_with_and_the_address_keeps_what_was_chosen(
    opened: _Opened,
) -> None:
    page = opened.page
    page.get_by_label("compare with").select_option("torch eager")
    page.locator('#overview [data-series="numpy eager"]').click()
    page.get_by_label("wall time").check()
    chosen = {
        "torch eager": ["1.00x", "–"],
        "paddle eager": ["not comparable", "–"],
        "jax compiled": ["4.00x", "–"],  # of the second workload torch has no speed
    }
    assert _matrix(page) == chosen
    expect(page.locator("#base")).to_have_text("torch eager")
    page.reload()
    assert _matrix(page) == chosen
    expect(page.get_by_label("wall time")).to_be_checked()
    page.evaluate("location.hash = 'with=nobody&hide=nobody'")
    expect(page.locator("#base")).to_have_text("the fastest shown")
    assert _matrix(page) == _ALL
    opened.requests[:] = [opened.url]  # reload asks for the page again


@_on("modes")
def test_a_heading_leads_to_its_section_and_a_figure_to_its_raw_json(opened: _Opened) -> None:
    page = opened.page
    page.locator("#matrix").get_by_role("link", name="second").click()
    expect(page.get_by_role("heading", name="second")).to_be_in_viewport()
    raw = page.locator("#raw-2-0")
    expect(raw).to_be_hidden()
    page.get_by_role("link", name="not comparable").click()
    expect(raw).to_be_in_viewport()
    row = _SUMMARIES["modes"].rows[2]
    assert msgspec.json.decode(raw.text_content() or "", type=type(row)) == row
    assert page.url.endswith("#at=raw-2-0")
    for written in ("section-first", "%", "at=nowhere", "hide"):  # by hand
        page.evaluate("written => location.hash = written", written)
    page.evaluate("location.hash = 'section-first'")
    expect(page.get_by_role("heading", name="first").first).to_be_in_viewport()


@_on("modes")
def test_the_overview_is_sorted_by_what_it_shows(opened: _Opened) -> None:
    page = opened.page
    page.get_by_role("button", name="sort by first").click()
    names = ["numpy eager", "torch eager", "jax compiled", "paddle eager"]
    assert list(_matrix(page)) == names
    page.get_by_label("compare with").select_option("numpy eager")
    assert _matrix(page)["jax compiled"] == ["8.89x", "0.750x"]
    assert list(_matrix(page)) == names


@_on("run", "bench", "modes", viewport={"width": 500, "height": 900})
def test_a_narrow_page_shows_the_speed_without_scrolling_sideways(opened: _Opened) -> None:
    page = opened.page
    assert page.evaluate("document.documentElement.scrollWidth") <= 500
    results = page.locator("section:not(#overview) table").first.locator("tbody tr > :nth-child(2)")
    for place in [*page.locator("#matrix td").all(), *results.all()]:
        box = place.bounding_box()
        assert box
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 500


def test_without_javascript_it_is_a_table(browser: Browser, written: Callable[[str], str]) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(written("modes") + "#raw-0-0")
    assert _matrix(page) == _ALL
    expect(page.get_by_label("compare with")).to_be_hidden()
    expect(page.locator("#raw-0-0")).to_be_visible()
    context.close()
