"""What the page's first screen shows: the speed of every backend on every workload, side by side.

A column is a section: a workload, and of a benchmark a phase too, at the workload's own batch size
or the nearest that was measured. Ratios are to the fastest of what is shown, by the page's script
as its reader filters, and here to the fastest of all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from ...backends import framework
from ..results.summary import Entry, Measurement
from . import formatting, wording
from .sections import Section

_FILTERS = ("backend", "version", *wording.EXECUTION)


class Result(Struct, frozen=True, kw_only=True):
    """A cell: the speed of what may be compared, the reason of a gap; `raw` is all of its entry."""

    text: str
    note: str
    tone: str = ""
    speed: float | None = None
    ratio: float | None = None
    raw: str = ""


class Line(Struct, frozen=True):
    """A backend in one execution: what it may be filtered by, and a result per column."""

    label: str
    filters: dict[str, str]
    results: list[Result]


class Column(Struct, frozen=True):
    """A section that has results, and the batch size that they are of if there are several."""

    section: Section
    batch: str


class Overview(Struct, frozen=True):
    """The table, the values of each filter that tells some lines from others, and in which parts
    of an execution lines differ.
    """

    columns: list[Column]
    lines: list[Line]
    filters: dict[str, list[str]]
    mixed: list[str]

    @property
    def data(self) -> list[dict[str, object]]:
        """What the script needs: per line its label, its filters, and its speeds by column."""
        return [
            {"label": line.label, "filters": line.filters,
             "speeds": [result.speed for result in line.results]}
            for line in self.lines
        ]  # fmt: skip


def of(parts: Sequence[Section]) -> Overview | None:
    """Return the overview of the sections that rank speeds; None if there is none."""
    shown = [section for section in parts if section.entries]
    if not shown:
        return None
    cells = [_at_one_batch(section) for section in shown]
    fastest = [max(filter(None, map(_speed, entries.values())), default=1.0) for entries in cells]
    labelled: dict[str, list[Entry]] = {}
    for section in shown:
        for label, entry in section.entries:
            labelled.setdefault(label, []).append(entry)
    lines = [
        Line(label, _filters(entries), [
            _result(column.get(label), best) for column, best in zip(cells, fastest, strict=True)
        ])
        for label, entries in labelled.items()
    ]  # fmt: skip
    columns = [Column(s, _batch(list(c.values()))) for s, c in zip(shown, cells, strict=True)]
    mixed = [p for p in wording.EXECUTION if len({line.filters[p] for line in lines}) > 1]
    return Overview(columns, lines, _telling(lines), mixed)


def _at_one_batch(section: Section) -> dict[str, Entry]:
    """Return the entries by label, of a benchmark those of the batch nearest to the workload's."""
    sizes = {m.batch_size for _, m in section.entries if isinstance(m, Measurement)}
    own = section.workload.batch_size
    nearest = min(
        sizes, key=lambda size: (max(size, own) / max(min(size, own), 1), size), default=None
    )
    return {
        label: entry
        for label, entry in section.entries
        if not isinstance(entry, Measurement) or entry.batch_size == nearest
    }


def _batch(entries: Sequence[Entry]) -> str:
    sizes = {entry.batch_size for entry in entries if isinstance(entry, Measurement)}
    return "".join(f"batch {size:,}" for size in sizes)


def _speed(entry: Entry | None) -> float | None:
    if entry is None or not entry.comparable or entry.samples_per_second is None:
        return None
    return entry.samples_per_second.median


def _result(entry: Entry | None, fastest: float) -> Result:
    if entry is None:
        return Result(text=formatting.DASH, note="not measured")
    raw = _raw(entry)
    if speed := _speed(entry):
        ratio = speed / fastest
        note = f"{formatting.rate(speed)}/s"
        return Result(text=formatting.ratio(ratio), note=note, speed=speed, ratio=ratio, raw=raw)
    why = wording.reason(entry) or "nothing was trained after the first block of steps"
    if entry.status != "ok":
        return Result(text=entry.status, note=why, tone=entry.status, raw=raw)
    if entry.comparable:
        return Result(text="no speed", note=why, raw=raw)
    note = why.removeprefix("not comparable: ")
    return Result(text="not comparable", note=note, tone="failed", raw=raw)


def _raw(entry: Entry) -> str:
    """Return an entry of `summary.json`, a field a line."""
    fields = msgspec.to_builtins(entry).items()
    said = [f"{_json(name)}: {_json(value)}" for name, value in fields]
    return "{\n " + ",\n ".join(said) + "\n}"


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _filters(entries: Sequence[Entry]) -> dict[str, str]:
    first = entries[0]
    name = framework(first.backend) or wording.plain(first.backend)
    version = next(filter(None, (entry.framework_version for entry in entries)), "")
    execution = wording.execution(first, wording.EXECUTION)
    said = [name, wording.plain(f"{name} {version}") if version else "", *execution]
    return dict(zip(_FILTERS, said, strict=True))


def _telling(lines: Sequence[Line]) -> dict[str, list[str]]:
    """Return the filters that part the lines, but for those that would hide but one at a time."""
    counts = {
        name: Counter(line.filters[name] for line in lines if line.filters[name])
        for name in _FILTERS
    }
    return {name: list(of) for name, of in counts.items() if len(of) > 1 and max(of.values()) > 1}
