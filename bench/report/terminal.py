"""The summary as Rich tables, for the command line; names are shown as they are, never as markup.

The few columns that fit 80 characters; the reports have them all.
"""

from __future__ import annotations

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from ..summary import Status, Summary
from . import words
from .sections import Cells, Section, sections

_STYLES: dict[Status, str] = {
    "ok": "green",
    "failed": "red",
    "timeout": "red",
    "interrupted": "yellow",
    "unsupported": "yellow",
    "missing": "dim",
}


def tables(summary: Summary) -> list[RenderableType]:
    """Return what to print: per workload a headline, a table and reasons, then the caveat."""
    printed: list[RenderableType] = []
    for section in sections(summary):
        printed += [Text(section.name, "bold"), Text(section.headline), _table(section)]
        printed += [_problem(line.cells.backend, line.reason or "") for line in section.problems]
        printed.append(Text())
    return [*printed, Text(words.PARITY, "dim")]


def _table(section: Section) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    titles = section.titles
    table.add_column(titles.backend, overflow="fold")
    table.add_column(titles.parity)
    for title in _numbers(titles):
        table.add_column(Text(title), justify="right", overflow="fold")
    for line in section.lines:
        status = Text(line.cells.status, _STYLES[line.status])
        if line.status == "ok":  # its certificate is the news
            status = Text(line.cells.parity, "red" if line.reason else "green")
        table.add_row(Text(line.cells.backend), status, *map(Text, _numbers(line.cells)))
    return table


def _numbers(cells: Cells) -> list[str]:
    return [cells.metric, cells.speed, cells.ratio]


def _problem(backend: str, reason: str) -> Text:
    return Text.assemble((backend, "bold"), ": ", reason)
