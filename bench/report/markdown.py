"""The summary as GitHub-flavoured Markdown, fit for pasting into a pull request."""

from __future__ import annotations

import html
import re

import msgspec

from ..summary import Summary
from . import words
from .sections import TEXT_COLUMNS, Cells, Section, sections

_SPECIAL = re.compile(r"[\\`*|~]|\[(?=\^)|\](?=[(\[:])|(?<![^\W_])_|_(?![^\W_])|^[-+#=]")


def render(summary: Summary) -> str:
    """Return the text of `report.md`."""
    blocks = ["# bakeoff report", escape(words.PARITY)]
    for section in sections(summary):
        blocks += _workload(section)
    blocks += ["![Training loss, validation metric and speed per workload](report.png)"]
    blocks += [escape(words.READING), "## Machine", _bullets(words.machine(summary))]
    blocks += ["## Versions", _bullets(words.versions(summary)), "## Command"]
    blocks += [f"    {words.plain(summary.command)}"]
    return "\n\n".join(blocks) + "\n"


def escape(text: str) -> str:
    """Return a line of text so that Markdown and HTML show it as it is."""
    return _SPECIAL.sub(r"\\\g<0>", html.escape(text, quote=False))


def _workload(section: Section) -> list[str]:
    facts = " · ".join(f"{name}: {escape(value)}" for name, value in section.facts.items())
    blocks = [f"## {escape(section.name)}", f"**{escape(section.headline)}**"]
    blocks += [escape(section.description)] if section.description else []
    blocks += [facts, _table(section)]
    problems = {line.cells.backend: line.reason or "" for line in section.problems}
    return [*blocks, _bullets(problems)] if problems else blocks


def _table(section: Section) -> str:
    titles = msgspec.structs.astuple(section.titles)
    rule = ["---"] * TEXT_COLUMNS + ["---:"] * (len(titles) - TEXT_COLUMNS)
    lines = [_line(section.titles), f"| {' | '.join(rule)} |"]
    return "\n".join(lines + [_line(line.cells) for line in section.lines])


def _line(cells: Cells) -> str:
    return f"| {' | '.join(escape(cell) for cell in msgspec.structs.astuple(cells))} |"


def _bullets(said: dict[str, str]) -> str:
    return "\n".join(f"- **{escape(name)}**: {escape(value)}" for name, value in said.items())
