"""Kinds of charts, in Vega-Lite by way of Altair: curves, bars, shares of a whole, layers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import altair as alt
from msgspec import Struct

_PART_COLOURS = ["#4C78A8", "#F58518", "#54A24B", "#B279A2", "#9D755D"]
_HEIGHT = 220
_TICKS = 6  # about
_LONG_LABEL = 16  # characters: two longer ones do not fit beside each other under a chart
_SMALLEST, _LARGEST = 0.01, 1000.0  # of the parity's scale: beyond, an error is as good as none

Data = list[dict[str, Any]]
Drawing = Any  # a chart: Altair's own types do not survive layering and properties


class Series(Struct, frozen=True):
    """How a backend in one execution is drawn: alike in every chart of a report."""

    label: str
    colour: str
    dash: list[int]


class Panel(Struct, frozen=True):
    """A chart; `axes` are the x channels that a reader may choose from, by what they show."""

    drawing: Drawing
    axes: dict[str, alt.X] = {}
    zooms: bool = False
    pictured: bool = True


def curves(
    series: Sequence[Series],
    data: Data,
    axes: dict[str, alt.X],
    y: alt.Y,
    title: str | alt.TitleParams,
) -> Panel:
    """Draw a line per series, over the first of the axes."""
    # Backends that agree draw the same line: each is thinner than the one it covers and
    # has gaps of its own, so that all remain visible.
    widths = [2 + min(1.5 * len(series), 6), 2]  # the ends; Vega spreads the others between
    labels, dashes = [line.label for line in series], [line.dash for line in series]
    fields = [field for field in data[0] if field not in ("series", "value")]
    lines = alt.Chart().mark_line(point="transparent").encode()
    drawing = alt.layer(lines, data=alt.InlineData(values=data), title=title, height=_HEIGHT)
    drawing = drawing.encode(
        x=next(iter(axes.values())),
        y=y,
        color=_colour(series, symbolType="stroke", symbolSize=700),
        strokeDash=alt.StrokeDash("series:O", scale=alt.Scale(domain=labels, range=dashes)),
        strokeWidth=alt.StrokeWidth("series:O", scale=alt.Scale(domain=labels, range=widths)),
        tooltip=_tooltip(*fields, "value"),
    )
    return Panel(drawing, axes, zooms=True)


def x_axis(
    field: str, title: str, *, ticks: int = _TICKS, logarithmic: bool = False, padding: int = 0
) -> alt.X:
    """Return the x channel of a field."""
    axis = alt.Axis(tickCount=ticks, grid=False, format=",~r")
    room = {"padding": padding} if padding else {}
    scale = alt.Scale(type="log" if logarithmic else "linear", nice=False, **room)  # type: ignore[arg-type]
    return alt.X(f"{field}:Q", title=title, axis=axis, scale=scale)


def count_axis(field: str, data: Data) -> alt.X:
    """Return the x channel of a field of whole numbers, with no tick between two of them."""
    counts = [entry[field] for entry in data]
    return x_axis(field, field, ticks=min(_TICKS, max(counts) - min(counts)))


def spans(values: Iterable[float], times: float) -> bool:
    """Tell whether positive values are so many times apart that a log scale is needed."""
    numbers = list(values)
    return bool(numbers) and min(numbers) > 0 and max(numbers) / min(numbers) > times


def y_axis(*, logarithmic: bool, percentage: bool = False) -> alt.Y:
    """Return the y channel of a curve."""
    # The padding is room for the widest line, which would push the title aside.
    scale = {"type": "log", "nice": False} if logarithmic else {"zero": False}
    axis = alt.Axis(format=".3~%" if percentage else ",~r", tickCount=5)
    return alt.Y("value:Q", title=None, scale=alt.Scale(**scale, padding=6), axis=axis)  # type: ignore[arg-type]


def by_batch_size(data: Data, series: Sequence[Series]) -> Panel:
    """Draw speeds with whiskers over batch sizes, both on log scales."""
    x = alt.X(
        "batch:Q",
        title="batch size (log scale)",
        scale=alt.Scale(type="log", nice=False, padding=10),
        axis=alt.Axis(values=sorted({e["batch"] for e in data}), grid=False, format=",d"),
    )
    y = y_axis(logarithmic=True)
    drawing = alt.layer(
        alt.Chart().mark_line(point=True).encode(y=y),
        alt.Chart().mark_rule(strokeWidth=2).encode(y=alt.Y("low:Q"), y2="high:Q"),
        data=alt.InlineData(values=data),
        title="Samples/s by batch size (log scale)",
        height=_HEIGHT,
    ).encode(
        x=x,
        color=_colour(series),
        opacity=_opacity(),
        tooltip=[*_tooltip("batch", "value", "low", "high"), "parity:N"],
    )
    return Panel(drawing, zooms=True)


def scatter(
    data: Data, series: Sequence[Series], x: alt.X, y: alt.Y, title: str | alt.TitleParams
) -> Panel:
    """Draw a point per series, with the intervals of both of its values."""
    rule = alt.Chart().mark_rule(opacity=0.5)
    intervals = {
        "soonest": rule.encode(y=y, x=alt.X("soonest:Q"), x2="latest:Q"),
        "low": rule.encode(x=x, y=alt.Y("low:Q"), y2="high:Q"),
    }
    drawing = alt.layer(
        *(drawn for end, drawn in intervals.items() if any(e[end] is not None for e in data)),
        alt.Chart().mark_point(filled=True, size=90, opacity=1).encode(x=x, y=y),
        data=alt.InlineData(values=data),
        title=title,
        height=_HEIGHT,
    ).encode(
        color=_colour(series),
        tooltip=[*_tooltip("seconds", "soonest", "latest", "value", "low", "high"), "reached:N"],
    )
    return Panel(drawing)


def bars(data: Data, series: Sequence[Series], title: str, unit: str) -> Panel:
    """Draw a bar per series, the longest first; in groups if there are several batch sizes."""
    groups = list(dict.fromkeys(entry["group"] for entry in data))
    if len(groups) > 1:
        order = [line.label for line in series]
        drawing = _bars(data, series, unit, width=None).encode(
            y=_names("group", groups), yOffset=alt.YOffset("series:N", sort=order)
        )
        height = max(_HEIGHT, 15 * len(data))
    else:
        order = [entry["series"] for entry in sorted(data, key=lambda entry: -entry["value"])]
        width = min(22, 0.6 * _HEIGHT / len(data))
        drawing = _bars(data, series, unit, width=width).encode(y=_names("series", order))
        height = _HEIGHT
    return Panel(drawing.properties(title=title, height=height))


def _bars(data: Data, series: Sequence[Series], unit: str, *, width: float | None) -> Drawing:
    """Draw bars, their intervals, and their values as text, right of them."""
    x = alt.X("value:Q", title=unit, axis=alt.Axis(tickCount=3, format=",~r"))
    colour = _colour(series) if width is None else _colour(series).legend(None)
    tooltip = [*_tooltip("value", "low", "high"), "group:N", "parity:N"]
    size = alt.Undefined if width is None else width
    intervals = alt.Chart().mark_rule(strokeWidth=2).encode(x=alt.X("low:Q"), x2="high:Q")
    ends = [
        {**e, "end": e["high"] or e["value"], "room": 1.3 * (e["high"] or e["value"])} for e in data
    ]
    return alt.layer(
        alt.Chart()
        .mark_bar(size=size)
        .encode(x=x, color=colour, opacity=_opacity(), tooltip=tooltip),
        *([intervals] if data[0]["low"] is not None else []),
        alt.Chart().mark_text(align="left", dx=6, fontSize=11).encode(x="end:Q", text="text:N"),
        alt.Chart().mark_point(opacity=0).encode(x="room:Q"),
        data=alt.InlineData(values=ends),
    )


def shares(data: Data, title: str) -> Panel:
    """Draw stacked bars of parts of a whole, each bar as long as the others."""
    names = list(dict.fromkeys(entry["name"] for entry in data))
    parts = list(dict.fromkeys(entry["part"] for entry in data))
    scale = alt.Scale(domain=parts, range=_PART_COLOURS[: len(parts)])
    axis = alt.Axis(format="%", values=[0, 0.25, 0.5, 0.75, 1])
    stack = alt.Chart().mark_bar().encode(
        x=alt.X("seconds:Q", title="share of the time", stack="normalize", axis=axis),
        color=alt.Color("part:N", scale=scale, legend=alt.Legend(title=None, columns=2)),
        order="place:Q",
        tooltip=[*_tooltip("seconds"), "name:N", "part:N"],
    )  # fmt: skip
    drawing = alt.layer(
        stack,
        data=alt.InlineData(values=data),
        title=title,
        height=max(_HEIGHT, 18 * len(names)),
    )
    return Panel(drawing.encode(y=_names("name", names)), pictured=False)


def by_layer(data: Data, series: Sequence[Series], allowed: float, title: str) -> Panel:
    """Draw errors in units of rounding noise, and what is allowed, over the layers of a model."""
    drawn = [{**e, "drawn": min(max(e["noise"], _SMALLEST), _LARGEST)} for e in data]
    highest = max(1.5 * allowed, *(entry["drawn"] for entry in drawn))
    scale = alt.Scale(type="log", nice=False, domain=[_SMALLEST, highest], padding=6)
    axis = alt.Axis(values=[_SMALLEST, 0.1, 1, allowed, _LARGEST], format="~r")
    y = alt.Y("drawn:Q", title=f"x noise; {allowed:g}x is allowed", scale=scale, axis=axis)
    names = alt.Axis(labelAngle=-40, labelLimit=90, grid=False)
    drawing = alt.layer(
        alt.Chart().mark_line(point=True).encode(y=y),
        data=alt.InlineData(values=drawn),
        title=title,
        height=_HEIGHT,
    ).encode(
        x=alt.X("layer:N", title=None, sort=[e["layer"] for e in data], axis=names),
        color=_colour(series),
        tooltip=[*_tooltip("noise"), "layer:N"],
    )
    return Panel(drawing)


def _names(field: str, order: Sequence[str]) -> alt.Y:
    axis = alt.Axis(labelLimit=160, ticks=False, domain=False)
    return alt.Y(f"{field}:N", title=None, axis=axis, sort=list(order))


def _colour(series: Sequence[Series], **legend: Any) -> alt.Color:
    labels, colours = [line.label for line in series], [line.colour for line in series]
    columns = 2 if max(map(len, labels)) <= _LONG_LABEL else 1
    scale = alt.Scale(domain=labels, range=colours)
    shown = alt.Legend(title=None, columns=columns, **legend)
    return alt.Color("series:O", scale=scale, legend=shown)


def _tooltip(*fields: str) -> list[alt.Tooltip]:
    return [alt.Tooltip("series:N"), *(alt.Tooltip(f"{f}:Q", format=",.4~r") for f in fields)]


def _opacity() -> Any:
    """Fade what may not be compared."""
    return alt.condition("datum.comparable", alt.value(1), alt.value(0.35))
