"""The summary as charts: training loss, validation metric and speed, a row of them per workload.

Called for the picture, and by `html` for the page, where each chart stands alone and scales.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Sequence
from itertools import chain, cycle
from typing import Any

import altair as alt
import vl_convert
from msgspec import Struct

from ..summary import Point, Row, Summary, WorkloadFacts
from . import numbers, words

# Okabe and Ito's palette, which colour-blind readers can tell apart, less black and yellow, which
# vanish on a dark or a white page.
_COLOURS = {
    "numpy": "#0072B2",
    "torch": "#D55E00",
    "keras": "#CC79A7",
    "paddle": "#009E73",
    "mxnet": "#56B4E9",
    "jax": "#E69F00",
}
_OTHER_COLOURS = ["#8A8A8A", "#8C6D31", "#7B5EA7"]
_SOLID = [1, 0]
_DASHES = [[9, 6], [2, 5], [12, 4, 2, 4]]
_HEIGHT = 220
_LONG_LABEL = 16  # characters: two longer ones do not fit beside each other under a chart

Data = list[dict[str, Any]]
Drawing = Any  # a chart: Altair's own types do not survive layering and properties


class Series(Struct, frozen=True):
    """How a row is drawn: alike in every chart of a report."""

    label: str
    colour: str
    dash: list[int]
    row: Row


def png(summary: Summary) -> bytes:
    """Return the picture of all charts."""
    return vl_convert.vegalite_to_png(spec(summary), scale=2)


def spec(summary: Summary) -> dict[str, Any]:
    """Return the picture of all charts as Vega-Lite, on a white ground."""
    series = _series(summary)
    rows = [_picture_row(facts, series) for facts in summary.workloads]
    title = alt.TitleParams(
        "bakeoff", subtitle=textwrap.wrap(words.PARITY, 140), fontSize=18, offset=16
    )
    picture = alt.vconcat(*rows, spacing=40).resolve_scale(
        color="independent", strokeDash="independent", strokeWidth="independent"
    )
    return _finished(picture.properties(title=title, background="white", padding=16))


def panels(summary: Summary) -> list[list[dict[str, Any]]]:
    """Return the charts of each workload as Vega-Lite, each as wide as the page lets it be."""
    series = _series(summary)
    return [
        [_finished(panel.properties(width="container")) for panel in _panels(facts, series)]
        for facts in summary.workloads
    ]


def _finished(chart: alt.TopLevelMixin) -> dict[str, Any]:
    configured: dict[str, Any] = chart.to_dict()
    configured["config"] = {
        "font": "system-ui, sans-serif",
        "axis": {"labelFontSize": 11, "titleFontSize": 11, "titleFontWeight": "normal"},
        "legend": {"labelFontSize": 11, "orient": "bottom", "symbolSize": 700},
        "title": {"anchor": "start", "frame": "group", "fontSize": 13, "subtitleFontSize": 11},
        "view": {"stroke": None},
    }
    return configured


def _series(summary: Summary) -> list[Series]:
    parts = words.varying(summary.rows)
    variants = list(dict.fromkeys(tuple(words.execution(row, parts)) for row in summary.rows))
    others = dict.fromkeys(row.backend for row in summary.rows if row.backend not in _COLOURS)
    labels = dict.fromkeys(words.label(row, parts) for row in summary.rows)
    dashes = dict(zip(labels, chain([_SOLID], cycle(_DASHES)), strict=False))
    spare = {name: _OTHER_COLOURS[i % len(_OTHER_COLOURS)] for i, name in enumerate(others)}
    colours = spare | _COLOURS
    return [
        Series(
            words.label(row, parts) + ("" if row.status == "ok" else f" ({row.status})"),
            _tint(colours[row.backend], variants.index(tuple(words.execution(row, parts)))),
            dashes[words.label(row, parts)],
            row,
        )
        for row in summary.rows
    ]


def _tint(colour: str, variant: int) -> str:
    # A backend keeps its hue; its second execution is lighter, its third lighter still.
    share = 0.7**variant
    channels = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(255 - share * (255 - channel)):02X}" for channel in channels)


def _picture_row(facts: WorkloadFacts, series: Sequence[Series]) -> Drawing:
    ours = [one.row for one in series if one.row.workload == facts.name]
    parts = words.varying([one.row for one in series])
    headline = textwrap.wrap(words.headline(facts, ours, parts), 180)
    charts = _panels(facts, series) or [_nothing()]
    title = alt.TitleParams(words.plain(facts.name), subtitle=headline, fontSize=15, offset=14)
    return alt.hconcat(*(chart.properties(width=280) for chart in charts)).properties(title=title)


def _nothing() -> Drawing:
    text = alt.Chart(alt.InlineData(values=[{}])).mark_text(align="left", fontSize=12)
    return text.encode(text=alt.value("Nothing was measured."), x=alt.value(0)).properties(
        height=40
    )


def _panels(facts: WorkloadFacts, series: Sequence[Series]) -> list[Drawing]:
    ours = [one for one in series if one.row.workload == facts.name]
    curves = [one for one in ours if len(one.row.curve) > 1]
    speeds = [one for one in ours if one.row.samples_per_second]
    charts = [_loss(curves), _metric(curves, facts)] if curves else []
    return [*charts, _speed(speeds)] if speeds else charts


def _loss(series: Sequence[Series]) -> Drawing:
    data = _curve(series, lambda point: point.loss)
    losses = [entry["value"] for entry in data if entry["value"] is not None]
    logarithmic = bool(losses) and min(losses) > 0 and max(losses) / min(losses) > 10
    scale = _scale(logarithmic=logarithmic)
    axis = alt.Axis(format=",~r", tickCount=5)
    title = "Training loss (log scale)" if logarithmic else "Training loss"
    return _lines(series, data, alt.Y("value:Q", title=None, scale=scale, axis=axis), title)


def _metric(series: Sequence[Series], facts: WorkloadFacts) -> Drawing:
    data = _curve(series, lambda point: point.metric)
    percentage = numbers.is_percentage(facts.metric)
    axis = alt.Axis(format=".3~%" if percentage else ",~r", tickCount=5)
    y = alt.Y("value:Q", title=None, scale=_scale(logarithmic=False), axis=axis)
    return _lines(series, data, y, f"Validation {words.plain(facts.metric)}")


def _scale(*, logarithmic: bool) -> alt.Scale:
    # Room for the widest line, which would push the title aside.
    if logarithmic:
        return alt.Scale(type="log", nice=False, padding=6)
    return alt.Scale(zero=False, padding=6)


def _curve(series: Sequence[Series], value: Callable[[Point], float]) -> Data:
    return [
        {"series": one.label, "epoch": point.epoch, "value": _finite(value(point))}
        for one in series
        for point in one.row.curve
    ]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _lines(series: Sequence[Series], data: Data, y: alt.Y, title: str) -> Drawing:
    # Backends that agree draw the same line: each is thinner than the one it covers and
    # has gaps of its own, so that all remain visible.
    labels = [one.label for one in series]
    widths = [2 + min(1.5 * len(series), 6), 2]  # the ends; Vega spreads the others between
    dashes = [one.dash for one in series]
    columns = 2 if max(map(len, labels)) <= _LONG_LABEL else 1
    epochs = alt.Axis(format="d", tickMinStep=1, tickCount=6, grid=False)
    lines = alt.Chart(alt.InlineData(values=data)).encode(
        x=alt.X("epoch:Q", title="epoch", axis=epochs, scale=alt.Scale(nice=False)),
        y=y,
        color=_colour(series, alt.Legend(title=None, columns=columns)),
        strokeDash=alt.StrokeDash("series:O", scale=alt.Scale(domain=labels, range=dashes)),
        strokeWidth=alt.StrokeWidth("series:O", scale=alt.Scale(domain=labels, range=widths)),
        tooltip=["series:N", "epoch:Q", "value:Q"],
    )
    return alt.layer(lines.mark_line(), title=title, height=_HEIGHT)


def _colour(series: Sequence[Series], legend: alt.Legend | None) -> alt.Color:
    scale = alt.Scale(domain=[one.label for one in series], range=[one.colour for one in series])
    return alt.Color("series:O", scale=scale, legend=legend)


def _speed(series: Sequence[Series]) -> Drawing:
    speeds = [(one, one.row.samples_per_second) for one in series]
    data: Data = [
        {
            "series": one.label,
            "median": speed.median,
            "low": speed.low,
            "high": speed.high,
            "text": numbers.rate(speed.median),
        }
        for one, speed in speeds
        if speed
    ]
    ranked = sorted(data, key=lambda entry: -entry["median"])
    return _bars(series, ranked)


def _bars(series: Sequence[Series], data: Data) -> Drawing:
    # The texts stand right of the bars: leave them room.
    domain = [0, 1.3 * max(entry["high"] for entry in data)]
    axis = alt.Axis(tickCount=3)
    x = alt.X("median:Q", title="samples/s", scale=alt.Scale(domain=domain), axis=axis)
    y = alt.Y(
        "series:N",
        title=None,
        sort=[entry["series"] for entry in data],
        axis=alt.Axis(labelLimit=160, ticks=False, domain=False),
    )
    base = alt.Chart(alt.InlineData(values=data)).encode(y=y)
    bars = base.mark_bar(size=min(22, 0.6 * _HEIGHT / len(data))).encode(
        x=x,
        color=_colour(series, None),
        tooltip=["series:N", "median:Q", "low:Q", "high:Q"],
    )
    intervals = base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q"), x2="high:Q")
    texts = base.mark_text(align="left", dx=6, fontSize=11).encode(x="high:Q", text="text:N")
    return alt.layer(bars, intervals, texts, title="Speed, more is better", height=_HEIGHT)
