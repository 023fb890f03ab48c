"""The summary as GitHub-flavoured Markdown, fit for pasting into a pull request."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

from ..results.summary import Summary
from . import context, tables, wording
from .sections import Section, sections
from .tables import Table

_SPECIAL = re.compile(r"[\\`*|~]|\[(?=\^)|\](?=[(\[:])|(?<![^\W_])_|_(?![^\W_])|^[-+#=]")
_WIDE = 14  # columns: a table of more is folded away


def render(summary: Summary) -> str:
    """Return the text of `report.md`."""
    blocks = ["# bakeoff report", escape(wording.caveat(summary))]
    for section in sections(summary):
        blocks += _section(section)
    blocks += ["![The first charts of each workload](report.png)", escape(wording.reading(summary))]
    blocks += ["## Machine", _bullets(context.machine(summary).items())]
    if peaks := tables.of_peaks(summary):
        blocks.append(_folded(peaks))
    blocks += ["## Versions", _bullets(context.versions(summary).items())]
    if settings := context.settings(summary):
        blocks += ["## Settings", _bullets(settings.items())]
    blocks += ["## Command", f"    {wording.plain(summary.command)}"]
    return "\n\n".join(blocks) + "\n"


def escape(text: str) -> str:
    """Return a line of text so that Markdown and HTML show it as it is."""
    return _SPECIAL.sub(r"\\\g<0>", html.escape(text, quote=False))


def _section(section: Section) -> list[str]:
    facts = " · ".join(f"{name}: {escape(value)}" for name, value in section.facts.items())
    blocks = [f"## {escape(section.name)}", f"**{escape(section.headline)}**"]
    blocks += [escape(section.description)] if section.description else []
    results, *others = section.tables
    if len(results.columns) > _WIDE:
        results, others = section.brief, section.tables
    blocks += [facts, _table(results)]
    if section.problems:
        blocks.append(_bullets((problem.name, problem.reason) for problem in section.problems))
    return [*blocks, *map(_folded, others)]


def _folded(table: Table) -> str:
    return f"<details>\n<summary>{table.name}</summary>\n\n{_table(table)}\n\n</details>"


def _table(table: Table) -> str:
    rule = ["---:" if column.is_number else "---" for column in table.columns]
    lines = [[escape(column.title) for column in table.columns], rule]
    lines += [[escape(cell.text) for cell in line] for line in table.lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _bullets(items: Iterable[tuple[str, str]]) -> str:
    return "\n".join(f"- **{escape(name)}**: {escape(value)}" for name, value in items)
