"""A summary in sections, ready to be laid out: one per workload of a run, and one per workload
and phase of a benchmark.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct

from ..results.summary import Comparison, Entry, Measurement, Status, Summary, WorkloadFacts
from . import context, tables, wording
from .tables import Table

_PHASES = {"train": "training", "infer": "inference"}
_KINDS = {
    "backends": "Backends compared",
    "engine": "Keras against its engines by themselves",
    "native": "Adapters against nets written by hand",
    "peers": "NumPy against libraries of pure Python",
}


class Problem(Struct, frozen=True):
    """Why something is not as it should be, and what it is; `status` is ok for a mere warning."""

    name: str
    status: Status
    reason: str


class Section(Struct, frozen=True, kw_only=True):
    """All that is said about one workload, in one phase if it is a benchmark's.

    `entries` are its rows or measurements by label. `brief` has the essential columns of the
    results, which are the first of `tables`. `environments` say in what those of backends differ.
    """

    name: str
    description: str
    headline: str
    facts: dict[str, str]
    workload: WorkloadFacts
    entries: Sequence[tuple[str, Entry]]
    brief: Table
    tables: list[Table]
    problems: list[Problem]
    environments: dict[str, str]

    @property
    def anchor(self) -> str:
        """What a link to it names."""
        return "section-" + re.sub(r"\W+", "-", self.name)


def sections(summary: Summary) -> list[Section]:
    """Return the sections in the order of the summary's workloads."""
    parts = wording.varying(summary.entries)
    return [
        section
        for facts in summary.workloads
        for section in [
            *_of_rows(summary, facts, parts),
            *_of_measurements(summary, facts, parts),
        ]
    ]


def _of_rows(summary: Summary, facts: WorkloadFacts, parts: Sequence[str]) -> Iterator[Section]:
    rows = [row for row in summary.rows if row.workload == facts.name]
    if not rows and summary.measurements:
        return
    ranked = wording.fastest_first(rows)
    compared = [c for c in summary.comparisons if c.workload == facts.name]
    yield Section(
        name=wording.plain(facts.name),
        description=wording.plain(facts.description),
        headline=wording.headline(facts, rows, compared, parts, summary.modes),
        facts=context.of_run(facts, rows, parts),
        workload=facts,
        entries=[(wording.label(row, parts), row) for row in rows],
        brief=tables.brief_of_rows(facts, ranked, parts),
        tables=_present(
            tables.of_rows(facts, ranked, parts),
            tables.of_certificates(ranked, parts),
            *_comparisons(compared),
        ),
        problems=[*_warnings(facts), *_problems(ranked, parts)],
        environments=context.environments(rows, parts),
    )


def _of_measurements(
    summary: Summary, facts: WorkloadFacts, parts: Sequence[str]
) -> Iterator[Section]:
    for phase, phase_name in _PHASES.items():
        measured = [m for m in summary.measurements if (m.workload, m.phase) == (facts.name, phase)]
        compared = [c for c in summary.comparisons if (c.workload, c.phase) == (facts.name, phase)]
        if not measured and not (compared and summary.measurements):
            continue
        if any(m.rival for m in measured):
            yield _against_rivals(facts, phase_name, measured, compared, parts)
            continue
        yield Section(
            name=f"{wording.plain(facts.name)}: {phase_name}",
            description=wording.plain(facts.description),
            headline=wording.bench_headline(measured, compared, parts, summary.modes),
            facts=context.of_benchmark(facts, measured, parts),
            workload=facts,
            entries=[(wording.label(m, parts), m) for m in measured],
            brief=tables.brief_of_measurements(measured, parts),
            tables=_present(
                tables.of_measurements(measured, parts),
                *_comparisons(compared),
                tables.of_certificates(measured, parts),
            ),
            problems=[*_warnings(facts), *_problems(measured, parts)],
            environments=context.environments(measured, parts),
        )


def _against_rivals(
    facts: WorkloadFacts,
    phase_name: str,
    measured: Sequence[Measurement],
    compared: Sequence[Comparison],
    parts: Sequence[str],
) -> Section:
    """Return the section of backends that took turns with rivals: ratios, and no ranking."""
    brief = tables.brief_of_comparisons(compared)
    return Section(
        name=f"{wording.plain(facts.name)}: {phase_name}",
        description=wording.plain(facts.description),
        headline=wording.rivals_headline(compared),
        facts=context.of_benchmark(facts, measured, parts),
        workload=facts,
        entries=[],
        brief=brief,
        tables=_present(*_comparisons(compared), tables.of_certificates(measured, parts))
        or [brief],
        problems=[*_warnings(facts), *_problems(measured, parts)],
        environments=context.environments(measured, parts),
    )


def _present(*measured: Table | None) -> list[Table]:
    return [table for table in measured if table is not None]


def _comparisons(comparisons: Sequence[Comparison]) -> Iterator[Table]:
    for kind, name in _KINDS.items():
        if ours := [comparison for comparison in comparisons if comparison.kind == kind]:
            yield tables.of_comparisons(name, ours)


def _warnings(facts: WorkloadFacts) -> Iterator[Problem]:
    return (Problem("warning", "ok", wording.plain(line)) for line in facts.warnings)


def _problems(entries: Sequence[Entry], parts: Sequence[str]) -> Iterator[Problem]:
    """Yield each problem once, with the backends and the batch sizes that it is said of."""
    batches: dict[Problem, list[int]] = {}
    for problem, entry in _found_problems(entries, parts):
        batch = [entry.batch_size] if isinstance(entry, Measurement) else []
        batches.setdefault(problem, []).extend(batch)
    names: dict[tuple[str, Status, str], list[str]] = {}
    for problem, sizes in batches.items():
        where = f", batch {wording.listing([f'{size:,}' for size in sizes])}" if sizes else ""
        names.setdefault((where, problem.status, problem.reason), []).append(problem.name)
    for (where, status, reason), which in names.items():
        yield Problem(wording.listing(which) + where, status, reason)


def _found_problems(
    entries: Iterable[Entry], parts: Sequence[str]
) -> Iterator[tuple[Problem, Entry]]:
    for entry in entries:
        name = wording.label(entry, parts)
        if why := wording.reason(entry):
            yield Problem(name, entry.status, why), entry
        for flag in entry.flags if isinstance(entry, Measurement) else []:
            yield Problem(name, "ok", wording.plain(flag)), entry
