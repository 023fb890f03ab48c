"""Which charts a section has, and their data."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import altair as alt
import numpy as np

from ..results.stats import Interval, telling
from ..results.summary import Entry, LossPoint, Measurement, Point, Row, WorkloadFacts
from . import chart_kinds, formatting, wording
from .chart_kinds import Data, Panel, Series
from .sections import Section

P = TypeVar("P", LossPoint, Point)

_MOST_POINTS = 400  # of a curve that is drawn
_MOST_CURVES = 24  # in a chart


def panels(section: Section, series: Sequence[Series]) -> Iterator[Panel]:
    """Yield the charts of a section, those first that a picture should show."""
    entries = section.entries
    rows = [(label, entry) for label, entry in entries if isinstance(entry, Row)]
    measured = [(label, entry) for label, entry in entries if isinstance(entry, Measurement)]
    if rows:
        yield from _of_rows(rows, series, section.workload)
    if measured:
        yield from _of_measurements(measured, series)
    yield from _parity(entries, series)


def _of_rows(
    rows: Sequence[tuple[str, Row]], series: Sequence[Series], facts: WorkloadFacts
) -> Iterator[Panel]:
    if any(len(row.losses) > 1 for _, row in rows):
        yield _loss(rows, series)
    if any(len(row.curve) > 1 for _, row in rows):
        yield _metric(rows, series, facts)
    speeds = [_bar(label, row, row.samples_per_second, formatting.rate) for label, row in rows]
    yield from _bars(speeds, series, "Speed, more is better", "samples/s")
    memory = [_bar(label, row, row.peak_rss_mb, formatting.megabytes) for label, row in rows]
    yield from _bars(memory, series, "Memory, less is better", "peak MB")
    yield from _shares([_phases(label, row) for label, row in rows], "Where the time goes")


def _of_measurements(
    measured: Sequence[tuple[str, Measurement]], series: Sequence[Series]
) -> Iterator[Panel]:
    if len({m.batch_size for _, m in measured if m.samples_per_second}) > 1:
        yield chart_kinds.by_batch_size(_by_batch_size(measured), series)
    speeds = [_bar(label, m, m.samples_per_second, formatting.rate) for label, m in measured]
    yield from _bars(speeds, series, "Speed, more is better", "samples/s")
    memory = [_bar(label, m, m.peak_rss_mb, formatting.megabytes) for label, m in measured]
    yield from _bars(memory, series, "Memory, less is better", "peak MB beyond the imports")
    device = [_bar(label, m, m.device_memory_mb, formatting.megabytes) for label, m in measured]
    yield from _bars(device, series, "Device memory, less is better", "peak MB")
    yield from _shares([_overhead(label, m) for label, m in measured], "Host overhead in a step")
    yield from _shares([_split(label, m) for label, m in measured], "Parts of a step")


def _loss(rows: Sequence[tuple[str, Row]], series: Sequence[Series]) -> Panel:
    kept, caption = _thinned([(label, row.losses) for label, row in rows], lambda p: p.loss, len)
    data: Data = [
        {"series": label, "step": point.step, "seconds": _rounded(point.seconds),
         "value": _rounded(point.loss)}
        for label, points in kept
        for point in points
    ]  # fmt: skip
    losses = [entry["value"] for entry in data if entry["value"] is not None]
    logarithmic = chart_kinds.spans(losses, 10)
    title = "Training loss (log scale)" if logarithmic else "Training loss"
    y = chart_kinds.y_axis(logarithmic=logarithmic)
    axes = {"step": chart_kinds.count_axis("step", data), "seconds": _seconds_axis(data)}
    return chart_kinds.curves(series, data, axes, y, _captioned(title, caption))


def _metric(
    rows: Sequence[tuple[str, Row]], series: Sequence[Series], facts: WorkloadFacts
) -> Panel:
    kept, caption = _thinned([(label, row.curve) for label, row in rows], lambda p: p.metric, _span)
    data: Data = [
        {"series": label, "epoch": point.epoch, "seconds": _rounded(point.seconds),
         "value": _rounded(point.metric)}
        for label, points in kept
        for point in points
    ]  # fmt: skip
    percentage = formatting.is_percentage(facts.metric)
    y = chart_kinds.y_axis(logarithmic=False, percentage=percentage)
    axes = {"step": chart_kinds.count_axis("epoch", data), "seconds": _seconds_axis(data)}
    title = _captioned(f"Validation {wording.plain(facts.metric)}", caption)
    return chart_kinds.curves(series, data, axes, y, title)


def to_target(section: Section, series: Sequence[Series]) -> Iterator[Panel]:
    """Yield the chart of the test metric over the time to the target, if any seed reached it."""
    facts = section.workload
    rows = [(label, e) for label, e in section.entries if isinstance(e, Row) and e.metric]
    data: Data = [
        {"series": label, "seconds": times.mean, "soonest": times.low, "latest": times.high,
         "value": row.metric.mean, "low": row.metric.low, "high": row.metric.high,
         "reached": f"{sum(v is not None for v in times.values)} of {len(times.values)} seeds"}
        for label, row in rows
        if row.metric and (times := row.seconds_to_target) and times.mean is not None
    ]  # fmt: skip
    if not data or facts.target is None:
        return
    lacking = [label for label, _ in rows if label not in {entry["series"] for entry in data}]
    target = formatting.metric_value(facts.metric, facts.target)
    caption = f"{target} was not reached by {wording.listing(lacking)}" if lacking else ""
    logarithmic = chart_kinds.spans([entry["seconds"] for entry in data], 10)
    x_title = f"seconds to {target}" + (" (log scale)" if logarithmic else "")
    x = chart_kinds.x_axis("seconds", x_title, logarithmic=logarithmic, padding=10)
    y = chart_kinds.y_axis(logarithmic=False, percentage=formatting.is_percentage(facts.metric))
    title = f"{section.name}: test {wording.plain(facts.metric)}"
    yield chart_kinds.scatter(data, series, x, y, _captioned(title, caption))


def _thinned(
    curves: Sequence[tuple[str, Sequence[P]]],
    value: Callable[[P], float],
    length: Callable[[Sequence[P]], int],
) -> tuple[list[tuple[str, list[P]]], str]:
    """Return as many curves, of as many points, as a chart has room for, and what was left out."""
    there = [(label, points) for label, points in curves if points]
    spread = np.linspace(0, len(there) - 1, min(len(there), _MOST_CURVES)).round().astype(int)
    kept = [
        (label, [points[i] for i in telling([[value(p) for p in points]], _MOST_POINTS)])
        for label, points in (there[i] for i in spread)
    ]
    told = [f"{len(kept)} of {len(there)} curves"] if len(kept) < len(there) else []
    longest = max(length(points) for _, points in there)
    drawn = max(len(points) for _, points in kept)
    told += [f"{drawn:,} of {longest:,} points, extremes kept"] if drawn < longest else []
    return kept, "; ".join(told)


def _span(points: Sequence[Point]) -> int:
    """Return how many epochs a curve is of, of which a summary may hold some."""
    return points[-1].epoch - points[0].epoch + 1


def _captioned(title: str, caption: str) -> str | alt.TitleParams:
    return alt.TitleParams(title, subtitle=caption) if caption else title


def _seconds_axis(data: Data) -> alt.X:
    """Return the axis of the wall time, logarithmic where backends are many times apart."""
    ends = {entry["series"]: entry["seconds"] for entry in data}
    logarithmic = chart_kinds.spans(ends.values(), 10)
    title = "seconds of training" + (" (log scale)" if logarithmic else "")
    return chart_kinds.x_axis("seconds", title, logarithmic=logarithmic)


def _by_batch_size(measured: Sequence[tuple[str, Measurement]]) -> Data:
    return [
        {"batch": m.batch_size, **_bar(label, m, m.samples_per_second, formatting.rate)}
        for label, m in measured
        if m.samples_per_second
    ]


def _bar(
    label: str, entry: Entry, value: Interval | float | None, form: Callable[[float], str]
) -> dict[str, Any]:
    """Return what a bar shows, or a point with whiskers."""
    median, low, high = (
        (value.median, value.low, value.high)
        if isinstance(value, Interval)
        else (value, None, None)
    )
    return {
        "series": label,
        "group": f"batch {entry.batch_size:,}" if isinstance(entry, Measurement) else "",
        "value": median,
        "low": low,
        "high": high,
        "text": "" if median is None else form(median),
        "comparable": entry.comparable,
        "parity": wording.parity(entry),
    }


def _bars(
    bars: Sequence[dict[str, Any]], series: Sequence[Series], title: str, unit: str
) -> Iterator[Panel]:
    if data := [entry for entry in bars if entry["value"] is not None]:
        yield chart_kinds.bars(data, series, title, unit)


def _phases(label: str, row: Row) -> Data:
    if not row.losses or row.first_block_seconds is None:
        return []
    return _parts(label, label, {
        "import": row.import_seconds,
        "build": row.build_seconds,
        "staging": row.stage_seconds,
        "first block": row.first_block_seconds,
        "other blocks": max(0.0, row.losses[-1].seconds - row.first_block_seconds),
    })  # fmt: skip


def _overhead(label: str, measured: Measurement) -> Data:
    if measured.overhead_seconds is None or measured.step_seconds is None:
        return []
    rest = max(0.0, measured.step_seconds.median - measured.overhead_seconds)
    return _parts(
        label, _at(label, measured), {"overhead": measured.overhead_seconds, "rest": rest}
    )


def _split(label: str, measured: Measurement) -> Data:
    return _parts(label, _at(label, measured), measured.split)


def _at(label: str, measured: Measurement) -> str:
    return f"{label}, batch {measured.batch_size:,}"


def _parts(label: str, name: str, seconds: Mapping[str, float | None]) -> Data:
    return [
        {"series": label, "name": name, "part": part, "place": place, "seconds": _rounded(value)}
        for place, (part, value) in enumerate(seconds.items())
        if value is not None
    ]


def _shares(stacks: Iterable[Data], title: str) -> Iterator[Panel]:
    if data := [entry for entries in stacks for entry in entries]:
        yield chart_kinds.shares(data, title)


def _parity(entries: Sequence[tuple[str, Entry]], series: Sequence[Series]) -> Iterator[Panel]:
    certificates = {label: entry.parity for label, entry in entries if entry.parity}
    allowed = max((parity.allowed for parity in certificates.values()), default=0.0)
    for field, name in (("forward", "outputs"), ("gradients", "gradients")):
        data: Data = [
            {"series": label, "layer": error.layer, "noise": value}
            for label, parity in certificates.items()
            for error in parity.layers
            if (value := getattr(error, field)) is not None
        ]
        if data:
            yield chart_kinds.by_layer(data, series, allowed, f"Parity error of {name}")


def _rounded(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None
