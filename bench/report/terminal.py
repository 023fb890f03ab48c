"""The summary as Rich tables, for the command line; names are shown as they are, never as markup.

The essential columns; the reports have them all.
"""

from __future__ import annotations

from rich import box
from rich.console import JustifyMethod, RenderableType
from rich.table import Table
from rich.text import Text

from ..results.summary import Summary
from . import wording
from .sections import Section, sections
from .tables import Table as Results

_STYLES = {
    "ok": "green",
    "failed": "red",
    "timeout": "red",
    "interrupted": "yellow",
    "unsupported": "yellow",
    "missing": "dim",
}


def tables(summary: Summary) -> list[RenderableType]:
    """Return what to print: per section a headline, a table and reasons, then the caveat."""
    printed: list[RenderableType] = []
    for section in sections(summary):
        printed += [Text(section.name, "bold"), Text(section.headline), _table(section.brief)]
        printed += _problems(section)
        printed.append(Text())
    return [*printed, Text(f"{wording.caveat(summary)} {wording.HALF}", "dim")]


def _table(results: Results) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for column in results.columns:
        justify: JustifyMethod = "right" if column.is_number else "left"
        table.add_column(Text(column.title), justify=justify, overflow="fold")
    for line in results.lines:
        table.add_row(*(Text(cell.text, _STYLES.get(cell.tone, "")) for cell in line))
    return table


def _problems(section: Section) -> list[Text]:
    return [
        Text.assemble((problem.name, "bold"), ": ", problem.reason) for problem in section.problems
    ]
