"""A summary as charts, a row of them per section, each in Vega-Lite by way of Altair.

`spec` is one picture of the first few; the page has them all, each on its own, with a state that
its script sets: `hidden` names the series that are not drawn, and `usermeta.x` the axes to choose.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from itertools import chain, cycle
from typing import Any

import altair as alt
from msgspec import Struct

from ...backends import framework
from ..results.summary import Entry, Summary
from . import wording
from .chart_data import panels, to_target
from .chart_kinds import Drawing, Panel, Series
from .sections import Section, sections

# Okabe and Ito's palette, which colour-blind readers can tell apart, less black and yellow, which
# vanish on a dark or a white page.
_COLOURS = {
    "numpy": "#0072B2",
    "torch": "#D55E00",
    "keras": "#CC79A7",
    "paddle": "#009E73",
    "mxnet": "#56B4E9",
    "jax": "#E69F00",
    "keras-jax": "#8F4F00",
    "keras-torch": "#7A1F4B",
}
_OTHER_COLOURS = ["#8A8A8A", "#8C6D31", "#7B5EA7"]
_SOLID = [1, 0]
_DASHES = [[9, 6], [2, 5], [12, 4, 2, 4]]
_PICTURED = 3  # charts of a section that the picture has room for


class Plot(Struct, frozen=True):
    """The charts of a section: their series, and each chart as Vega-Lite for the page."""

    series: list[Series]
    panels: list[dict[str, Any]]


def spec(summary: Summary) -> dict[str, Any]:
    """Return the picture of all sections as Vega-Lite, on a white ground."""
    parts = sections(summary)
    rows = [
        _picture_row(section, series) for section, series in zip(parts, _series(parts), strict=True)
    ]
    title = alt.TitleParams(
        "bakeoff", subtitle=textwrap.wrap(wording.caveat(summary), 140), fontSize=18, offset=16
    )
    picture = alt.vconcat(*rows, spacing=40).resolve_scale(
        color="independent", strokeDash="independent", strokeWidth="independent"
    )
    return _finished(picture.properties(title=title, background="white", padding=16))


def plots(parts: Sequence[Section]) -> list[Plot]:
    """Return the charts of each section, each as wide as the page lets it be."""
    return [
        Plot(series, [_interactive(panel) for panel in panels(section, series)])
        for section, series in zip(parts, _series(parts), strict=True)
    ]


def overview(parts: Sequence[Section]) -> Plot:
    """Return the charts of the page's first screen: accuracy over the time to the target."""
    series = list({line.label: line for line in chain(*_series(parts))}.values())
    panels = (panel for section in parts for panel in to_target(section, series))
    return Plot(series, [_interactive(panel) for panel in panels])


def _finished(chart: alt.TopLevelMixin) -> dict[str, Any]:
    configured: dict[str, Any] = chart.to_dict(validate=False)
    configured["config"] = {
        "font": "system-ui, sans-serif",
        "axis": {"labelFontSize": 11, "titleFontSize": 11, "titleFontWeight": "normal"},
        "legend": {"labelFontSize": 11, "orient": "bottom"},
        "title": {"anchor": "start", "frame": "group", "fontSize": 13, "subtitleFontSize": 11},
        "view": {"stroke": None},
    }
    return configured


def _interactive(panel: Panel) -> dict[str, Any]:
    """Give a chart what the page's script and its reader may do with it."""
    drawn = _finished(panel.drawing.properties(width="container"))
    drawn["params"] = [{"name": "hidden", "value": []}]
    drawn["transform"] = [{"filter": "indexof(hidden, datum.series) < 0"}]
    drawn["usermeta"] = {"x": {name: axis.to_dict() for name, axis in panel.axes.items()}}
    for encoding in [drawn["encoding"], *(layer["encoding"] for layer in drawn["layer"])]:
        for channel in ("color", "strokeDash", "strokeWidth"):
            if encoding.get(channel, {}).get("field") == "series":
                encoding[channel]["legend"] = None  # the page's buttons are the legend
    if panel.zooms:
        # A wheel alone must scroll the page.
        wheel = {"type": "interval", "zoom": "wheel![event.ctrlKey]"}
        drawn["layer"][0]["params"] = [{"name": "zoom", "select": wheel, "bind": "scales"}]
    return drawn


def _series(parts: Sequence[Section]) -> list[list[Series]]:
    """Return the series of each section; one label is drawn alike in all of them."""
    labelled = {label: entry for section in parts for label, entry in section.entries}
    variants = list(dict.fromkeys(map(_execution, labelled.values())))
    kin: dict[str, list[str]] = {}  # framework -> its versions
    for name in dict.fromkeys(entry.backend for entry in labelled.values()):
        kin.setdefault(framework(name) or name, []).append(name)
    others = [name for name in kin if name not in _COLOURS]
    spare = {name: _OTHER_COLOURS[i % len(_OTHER_COLOURS)] for i, name in enumerate(others)}
    drawn = {
        name: ((spare | _COLOURS)[of], i) for of, them in kin.items() for i, name in enumerate(them)
    }
    dashes = dict(zip(labelled, chain([_SOLID], cycle(_DASHES)), strict=False))
    series = {}
    for label, entry in labelled.items():
        colour, version = drawn[entry.backend]
        tint = _tint(colour, version + variants.index(_execution(entry)))
        series[label] = Series(label, tint, dashes[label])
    return [
        [series[label] for label in dict.fromkeys(label for label, _ in section.entries)]
        for section in parts
    ]


def _execution(entry: Entry) -> tuple[str, ...]:
    return tuple(wording.execution(entry, wording.EXECUTION))


def _tint(colour: str, variant: int) -> str:
    # A backend keeps its hue; its second execution or version is lighter, its third lighter still.
    share = max(0.7**variant, 0.25)
    channels = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(255 - share * (255 - channel)):02X}" for channel in channels)


def _picture_row(section: Section, series: Sequence[Series]) -> Drawing:
    pictured = [panel for panel in panels(section, series) if panel.pictured][:_PICTURED]
    drawings = [panel.drawing.properties(width=280) for panel in pictured] or [_nothing()]
    headline = textwrap.wrap(section.headline, 180)
    title = alt.TitleParams(section.name, subtitle=headline, fontSize=15, offset=14)
    return alt.hconcat(*drawings).properties(title=title)


def _nothing() -> Drawing:
    text = alt.Chart(alt.InlineData(values=[{}])).mark_text(align="left", fontSize=12)
    return text.encode(text=alt.value("Nothing was measured."), x=alt.value(0)).properties(
        height=40
    )
