"""A summary as text in tables, ready to be laid out: one `Section` per workload."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from ..summary import Row, Status, Summary, WorkloadFacts
from . import numbers, words


class Cells(Struct, frozen=True, kw_only=True):
    """One line of a table, its titles included, from left to right."""

    backend: str
    version: str
    status: str
    metric: str
    loss: str
    parity: str
    speed: str
    ratio: str
    first_block: str
    imports: str
    build: str
    memory: str


TEXT_COLUMNS = 3  # backend, version and status; the others hold numbers


class Line(Struct, frozen=True):
    """A row: its cells, and why it is not ok."""

    status: Status
    reason: str | None
    cells: Cells


class Section(Struct, frozen=True, kw_only=True):
    """All that is said about one workload."""

    name: str
    description: str
    headline: str
    facts: dict[str, str]
    titles: Cells
    lines: list[Line]

    @property
    def problems(self) -> list[Line]:
        """The lines that have something to explain."""
        return [line for line in self.lines if line.reason is not None]


def sections(summary: Summary) -> list[Section]:
    """Return one section per workload, in the order of the summary."""
    parts = words.varying(summary.rows)
    return [
        _section(facts, [row for row in summary.rows if row.workload == facts.name], parts)
        for facts in summary.workloads
    ]


def _section(facts: WorkloadFacts, rows: list[Row], parts: Sequence[str]) -> Section:
    ranked = words.ranking(rows)
    fastest = ranked[0][1].median if ranked else None
    finished = [row for row, _ in ranked]
    ordered = finished + [row for row in rows if row not in finished]
    return Section(
        name=words.plain(facts.name),
        description=words.plain(facts.description),
        headline=words.headline(facts, rows, parts),
        facts=words.facts_of(facts, rows, parts),
        titles=_titles(facts),
        lines=[_line(row, parts, fastest) for row in ordered],
    )


def _titles(facts: WorkloadFacts) -> Cells:
    return Cells(
        backend="backend",
        version="version",
        status="status",
        metric=f"test {words.plain(facts.metric)}",
        loss="training loss",
        parity="parity",
        speed="samples/s",
        ratio="vs fastest",
        first_block="first block s",
        imports="import s",
        build="build s",
        memory="peak MB",
    )


def _line(row: Row, parts: Sequence[str], fastest: float | None) -> Line:
    speed = row.samples_per_second if row.comparable else None
    compared = numbers.ratio(speed.median / fastest if speed and fastest else None)
    cells = Cells(
        backend=words.label(row, parts),
        version=words.plain(row.framework_version or numbers.DASH),
        status=words.status(row),
        metric=numbers.metric_interval(row.metric),
        loss=numbers.loss_range(row.loss),
        parity=words.parity(row) if row.status == "ok" else numbers.DASH,
        speed=numbers.rate_interval(row.samples_per_second),
        ratio="not comparable" if row.status == "ok" and not row.comparable else compared,
        first_block=numbers.seconds(row.first_block_seconds),
        imports=numbers.seconds(row.import_seconds),
        build=numbers.seconds(row.build_seconds),
        memory=numbers.megabytes(row.peak_rss_mb),
    )
    return Line(row.status, words.reason(row), cells)
