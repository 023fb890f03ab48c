"""Reads a CSV file into rows of texts, checking its form; `csv` makes them numbers."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from ..models.errors import InputError
from .columns import is_missing, number
from .source import File

MIN_ROWS = 10


class Table(Struct, frozen=True):
    """The rows that have a target, the line on which each ends, and how many rows had none."""

    path: Path
    target: str
    names: list[str]
    rows: list[list[str]]
    lines: list[int]
    dropped: int

    def column(self, name: str) -> list[str]:
        """Return the cells of a column."""
        index = self.names.index(name)
        return [row[index] for row in self.rows]

    def target_cells(self) -> list[str]:
        """Return the cells of the target, none of which is missing."""
        return self.column(self.target)


def table_error(path: Path, problem: str, *, line: int | None = None) -> InputError:
    """Return the error that names the file, and the line if there is one."""
    return InputError(f'"{path}"' + f", line {line}" * (line is not None) + f": {problem}")


def read_table(file: File, target: str) -> Table:
    """Read a CSV file that has this target column; raises InputError."""
    numbered = _numbered_rows(file)
    names = _header(file.path, numbered, target=target)
    index = names.index(target)
    complete = []
    dropped = 0
    for line, cells in numbered:
        if len(cells) != len(names):
            problem = f"{len(cells)} cells, expected {len(names)} as in the header; mend the row"
            raise table_error(file.path, problem, line=line)
        if is_missing(cells[index]):
            dropped += 1
        else:
            complete.append((line, cells))
    if len(complete) < MIN_ROWS:
        problem = f"{len(complete)} rows with a target, expected at least {MIN_ROWS}; add rows"
        raise table_error(file.path, problem)
    lines, rows = [line for line, _ in complete], [cells for _, cells in complete]
    return Table(file.path, target, names, rows, lines, dropped)


def _header(path: Path, rows: Iterator[tuple[int, list[str]]], *, target: str) -> list[str]:
    line, names = next(rows, (1, []))
    if not names:
        raise table_error(path, "the file is empty, expected a header and rows; fill it")
    if "" in names or all(number(name) is not None for name in names):
        problem = f"the header is {_listed(names)}, expected a name for each column; add them"
        raise table_error(path, problem, line=line)
    if repeated := [name for name in names if names.count(name) > 1]:
        problem = f"column {repeated[0]!r} appears twice, expected unique names; rename one"
        raise table_error(path, problem, line=line)
    if target not in names:
        problem = f"no column {target!r}, expected target= one of {_listed(names)}; correct it"
        raise table_error(path, problem)
    if len(names) == 1:
        raise table_error(path, f"{target!r} is the only column, expected features; add columns")
    return names


def _listed(names: list[str]) -> str:
    return ", ".join(map(repr, names[:20])) + ", ..." * (len(names) > 20)


def _numbered_rows(file: File) -> Iterator[tuple[int, list[str]]]:
    """Yield line number and cells of each row that is not empty, the header first."""
    text = io.StringIO(_text(file), newline="")
    reader = csv.reader(text, strict=True, skipinitialspace=True)
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if cells not in ([], [""]):
                yield reader.line_num, cells
    except csv.Error as error:
        problem = f"{error}, expected comma-separated cells; mend the quotes"
        raise table_error(file.path, problem, line=reader.line_num) from error


def _text(file: File) -> str:
    try:
        return file.data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        problem = f"byte 0x{error.object[error.start]:02x}, expected UTF-8; save it as UTF-8"
        line = error.object.count(b"\n", 0, error.start) + 1
        raise table_error(file.path, problem, line=line) from error
