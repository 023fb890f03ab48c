"""Tables: text in cells, and beside it the number that a page sorts and downloads.

A column says how its cell is made from an entry: a row, a measurement, a comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from msgspec import Struct

from ..results.speeds import ranking
from ..results.stats import Interval
from ..results.summary import (
    Comparison,
    Entry,
    Measurement,
    Row,
    Summary,
    TimeToTarget,
    WorkloadFacts,
)
from . import formatting, wording


class Cell(Struct, frozen=True):
    """What is shown, the number behind it, and its interval; `tone` is a status."""

    text: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    tone: str = ""


class Column(Struct, frozen=True):
    """A title, and how a cell below it is made."""

    title: str
    cell: Callable[[Any], Cell]
    is_number: bool = True


class Table(Struct, frozen=True):
    """A table with a name."""

    name: str
    columns: list[Column]
    lines: list[list[Cell]]


def table(name: str, columns: Sequence[Column], entries: Iterable[Any]) -> Table:
    """Make a table: a line per entry."""
    lines = [[column.cell(entry) for column in columns] for entry in entries]
    return Table(name, list(columns), lines)


def of_rows(facts: WorkloadFacts, rows: Sequence[Row], parts: Sequence[str]) -> Table:
    """Return all that a run measured on a workload."""
    columns = [
        _text("backend", lambda row: wording.label(row, parts)),
        _interval("samples/s", lambda row: row.samples_per_second, formatting.rate),
        _versus_fastest(rows),
        Column("status", lambda row: Cell(wording.status(row), tone=row.status), is_number=False),
        _parity(),
        Column(f"test {wording.plain(facts.metric)}", _metric),
        *_to_target(facts, formatting.time_to_target),
        Column("training loss", _loss),
        _text("version", _version),
        _number("first block s", lambda row: row.first_block_seconds, formatting.short),
        _number("import s", lambda row: row.import_seconds, formatting.short),
        _number("build s", lambda row: row.build_seconds, formatting.short),
        _number("peak MB", lambda row: row.peak_rss_mb, formatting.megabytes),
    ]
    return table("Results", columns, rows)


def brief_of_rows(facts: WorkloadFacts, rows: Sequence[Row], parts: Sequence[str]) -> Table:
    """Return what a terminal has room for."""
    columns = [
        _text("backend", lambda row: wording.label(row, parts)),
        Column("parity", _status_or_parity, is_number=False),
        Column(f"test {wording.plain(facts.metric)}", _metric),
        _brief_speed(),
        _versus_fastest(rows),
        *_to_target(facts, formatting.mean_to_target),
    ]
    return table("Results", columns, rows)


def of_measurements(measured: Sequence[Measurement], parts: Sequence[str]) -> Table:
    """Return all that a benchmark measured on a workload in one phase."""
    columns = [
        _text("backend", lambda m: wording.label(m, parts)),
        _number("batch", lambda m: m.batch_size, _count),
        _interval("samples/s", lambda m: m.samples_per_second, formatting.rate),
        _versus_fastest(measured),
        Column("status", lambda m: Cell(m.status, tone=m.status), is_number=False),
        _parity(),
        _interval("end to end samples/s", lambda m: m.fed_samples_per_second, formatting.rate),
        _interval("step ms", lambda m: _milliseconds(m.step_seconds), formatting.short),
        _interval("latency ms", lambda m: _milliseconds(m.latency_seconds), formatting.short),
        _number("GFLOP/s", lambda m: m.gflops, formatting.short),
        _number("% of SGEMM peak", lambda m: m.percent_of_peak, formatting.short),
        _number("first step s", lambda m: m.first_step_seconds, formatting.short),
        _number("import s", lambda m: m.import_seconds, formatting.short),
        _number("build s", lambda m: m.build_seconds, formatting.short),
        _number("stage s", lambda m: m.stage_seconds, formatting.short),
        _number("peak MB", lambda m: m.peak_rss_mb, formatting.megabytes),
        _number("device MB", lambda m: m.device_memory_mb, formatting.megabytes),
        _text("version", _version),
        _number("threads", lambda m: m.threads, _count),
        _number("threads used", lambda m: m.threads_used, formatting.short),
        _number("processes", lambda m: m.processes, _count),
        _number("discarded blocks", lambda m: m.discarded, _count),
        _text("flags", lambda m: wording.plain("; ".join(m.flags)) or formatting.DASH),
    ]
    return table("Results", columns, measured)


def brief_of_measurements(measured: Sequence[Measurement], parts: Sequence[str]) -> Table:
    """Return what a terminal and a pull request have room for."""
    columns = [
        _text("backend", lambda m: wording.label(m, parts)),
        _number("batch", lambda m: m.batch_size, _count),
        Column("parity", _status_or_parity, is_number=False),
        _brief_speed(),
        _versus_fastest(measured),
        _number("step ms", lambda m: _median(_milliseconds(m.step_seconds)), formatting.short),
        _number("% of peak", lambda m: m.percent_of_peak, formatting.short),
    ]
    return table("Results", columns, measured)


def of_comparisons(name: str, comparisons: Sequence[Comparison]) -> Table:
    """Return comparisons of one kind, a line each."""
    columns = [
        _text("subject", lambda c: wording.plain(f"{c.subject} {c.mode}")),
        _text("verdict", lambda c: c.verdict),
        _text("rival", wording.rival),
        _interval("times as fast", lambda c: c.ratio, formatting.ratio),
        _interval("samples/s", lambda c: c.samples_per_second, formatting.rate),
        _interval("rival's samples/s", lambda c: c.rival_samples_per_second, formatting.rate),
        _number("batch", lambda c: c.batch_size, _count),
        _text("device", lambda c: wording.plain(c.device)),
        _number("threads", lambda c: c.threads, _count),
    ]
    return table(name, columns, comparisons)


def brief_of_comparisons(comparisons: Sequence[Comparison]) -> Table:
    """Return what a terminal has room for, of backends that took turns with rivals."""
    telling = {
        "device": _text("device", lambda c: wording.plain(c.device)),
        "batch_size": _number("batch", lambda c: c.batch_size, _count),
    }
    columns = [
        _text("subject", lambda c: wording.plain(c.subject)),
        _text("mode", lambda c: wording.plain(c.mode)),
        *(telling[part] for part in telling if len({getattr(c, part) for c in comparisons}) > 1),
        _number("threads", lambda c: c.threads, _count),
        _text("rival", lambda c: wording.plain(c.rival)),
        _interval("times as fast", lambda c: c.ratio, formatting.ratio),
        _text("verdict", lambda c: c.verdict),
    ]
    return table("Results", columns, comparisons)


def of_certificates(entries: Sequence[Entry], parts: Sequence[str]) -> Table | None:
    """Return the certificates of rows or measurements, each once; None if they have none."""
    certified = {wording.label(entry, parts): entry for entry in reversed(entries) if entry.parity}
    names = dict.fromkeys(
        rung.name for entry in certified.values() if entry.parity for rung in entry.parity.rungs
    )
    columns = [
        _text("backend", lambda entry: wording.label(entry, parts)),
        _text("verdict", lambda entry: entry.parity.verdict),
        *(Column(name, partial(_rung, name=name)) for name in names),
        _text("in float64", wording.in_float64),
        _text("audits", wording.audits),
        _text("worst", lambda entry: wording.plain(entry.parity.worst) or formatting.DASH),
        _text(
            "deviations", lambda e: wording.plain("; ".join(e.parity.deviations)) or formatting.DASH
        ),
        _text("certificate", lambda entry: wording.plain(entry.parity.certificate)[:12]),
    ]
    return (
        table("Certificates and audits", columns, reversed(certified.values()))
        if certified
        else None
    )


def of_peaks(summary: Summary) -> Table | None:
    """Return the speed of a large matrix product on this machine; None if it was not measured."""
    columns = [
        _number("threads", lambda peak: int(peak[0]), _count),
        _interval("GFLOP/s", lambda peak: peak[1], formatting.short),
    ]
    return table("SGEMM peak", columns, summary.peaks.items()) if summary.peaks else None


def _text(title: str, say: Callable[[Any], str]) -> Column:
    return Column(title, lambda entry: Cell(say(entry)), is_number=False)


def _number(title: str, get: Callable[[Any], float | None], form: Callable[[float], str]) -> Column:
    def cell(entry: Any) -> Cell:
        value = get(entry)
        return Cell(formatting.DASH) if value is None else Cell(form(value), value)

    return Column(title, cell)


def _interval(
    title: str, get: Callable[[Any], Interval | None], form: Callable[[float], str]
) -> Column:
    def cell(entry: Any) -> Cell:
        estimate = get(entry)
        if estimate is None:
            return Cell(formatting.DASH)
        return Cell(
            formatting.interval(estimate, form), estimate.median, estimate.low, estimate.high
        )

    return Column(title, cell)


def _brief_speed() -> Column:
    def cell(entry: Entry) -> Cell:
        estimate = entry.samples_per_second
        text = formatting.rate_and_half(estimate)
        return Cell(text, estimate.median, estimate.low, estimate.high) if estimate else Cell(text)

    return Column("samples/s", cell)


def _parity() -> Column:
    def cell(entry: Entry) -> Cell:
        if entry.status != "ok":
            return Cell(formatting.DASH)
        tone = "ok" if entry.comparable else "failed"
        value = entry.parity.noise_ratio if entry.parity else None
        return Cell(wording.parity(entry), value, tone=tone)

    return Column("parity", cell)


def _status_or_parity(entry: Entry) -> Cell:
    if entry.status != "ok":
        return Cell(wording.status(entry), tone=entry.status)
    return _parity().cell(entry)


def _versus_fastest(entries: Sequence[Entry]) -> Column:
    """Compare with the fastest of the same batch size."""
    fastest: dict[int, float] = {}
    for entry, speed in ranking(entries):
        fastest.setdefault(_batch(entry), speed.median)

    def cell(entry: Entry) -> Cell:
        if entry.status == "ok" and not entry.comparable:
            return Cell("not comparable")
        if entry.samples_per_second is None or not entry.comparable:
            return Cell(formatting.DASH)
        value = entry.samples_per_second.median / fastest[_batch(entry)]
        return Cell(formatting.ratio(value), value)

    return Column("vs fastest", cell)


def _batch(entry: Entry) -> int:
    return entry.batch_size if isinstance(entry, Measurement) else 0  # a run has one


def _to_target(facts: WorkloadFacts, form: Callable[[TimeToTarget | None], str]) -> list[Column]:
    def cell(row: Row) -> Cell:
        times = row.seconds_to_target
        text = form(times)
        return Cell(text, times.mean, times.low, times.high) if times else Cell(text)

    return [] if facts.target is None else [Column("to target s", cell)]


def _version(entry: Entry) -> str:
    return wording.plain(entry.framework_version or formatting.DASH)


def _metric(row: Row) -> Cell:
    text, metric = formatting.metric_interval(row.metric), row.metric
    return Cell(text, metric.mean, metric.low, metric.high) if metric else Cell(text)


def _loss(row: Row) -> Cell:
    return Cell(formatting.loss_range(row.loss), row.loss.last if row.loss else None)


def _rung(entry: Entry, name: str) -> Cell:
    rung = next((rung for rung in entry.parity.rungs if rung.name == name), None)  # type: ignore[union-attr]
    if rung is None:
        return Cell(formatting.DASH)
    tone = {True: "ok", False: "failed", None: ""}[rung.passes]
    if rung.ratio is None:
        words = {True: "equivalent", False: "different", None: "not shown"}[rung.passes]
        return Cell(words, tone=tone)
    return Cell(formatting.noise(rung.ratio), rung.ratio, tone=tone)


def _milliseconds(estimate: Interval | None) -> Interval | None:
    return estimate and estimate.times(1e3)


def _median(estimate: Interval | None) -> float | None:
    return None if estimate is None else estimate.median


def _count(value: float) -> str:
    return f"{value:,}"
