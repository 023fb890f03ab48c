"""Reads a CSV file into columns of texts, checking its form; `columns` makes them numbers.

By Python's csv module: pandas fills short rows up, takes stray quotes, and forgets the lines.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from msgspec import Struct

from ..models.errors import InputError
from .notation import is_like_a_number, is_missing
from .source import File

SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar", " ": "space"}
_FOUND = ",;\t|"  # a space is never found, only given
_LOOKED_AT = 1000, 10**6  # rows, cells: of them at most when the separator is looked for
_MARKS = {  # the longer first
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_OTHERS = {b"PK\3\4": "a spreadsheet or a zip", b"\x1f\x8b": "a gzip", b"%PDF": "a PDF"}

Numbered = tuple[int, list[str]]  # the line on which a row begins, and its cells


class Table(Struct, frozen=True):
    """A table by column; `lines` are those on which its rows begin."""

    path: Path
    encoding: str
    separator: str
    columns: dict[str, list[str]]
    lines: list[int]

    def error(self, problem: str, row: int | None = None) -> InputError:
        """Return the error that names the file, and the line of a row."""
        return table_error(self.path, problem, line=None if row is None else self.lines[row])


def table_error(path: Path, problem: str, *, line: int | None = None) -> InputError:
    """Return the error that names the file, and the line if there is one."""
    return InputError(f'"{path}"' + f", line {line}" * (line is not None) + f": {problem}")


def listed(names: Sequence[str]) -> str:
    """Return names as an error shows them."""
    return ", ".join(map(repr, names[:20])) + ", ..." * (len(names) > 20)


def read_table(file: File, separator: str = "", encoding: str = "") -> Table:
    """Read a CSV file; what is not given is found. Raises InputError."""
    encoding = encoding or next(
        (name for mark, name in _MARKS.items() if file.data.startswith(mark)), "utf-8"
    )
    text = _text(file, encoding)
    separator = separator or _separator(file.path, text)
    rows = _rows(file.path, text, separator)
    names = _header(file.path, next(rows, None))
    lines, cells = [], []
    for line, row in rows:
        if len(row) != len(names):
            problem = (
                f"{len(row)} cells, expected {len(names)} as in the header, separated by a "
                f"{SEPARATORS.get(separator, separator)}; mend the row, or give sep="
            )
            raise table_error(file.path, problem, line=line)
        lines.append(line)
        cells.append(row)
    columns = map(list, zip(*cells, strict=True)) if cells else ([] for _ in names)
    return Table(
        file.path,
        encoding.removesuffix("-sig"),
        separator,
        dict(zip(names, columns, strict=True)),
        lines,
    )


def _text(file: File, encoding: str) -> str:
    for mark, what in _OTHERS.items():
        if file.data.startswith(mark):
            raise table_error(file.path, f"this is {what}, expected a CSV file; save it as one")
    try:
        text = file.data.decode(encoding)
    except UnicodeDecodeError as error:
        problem = (
            f"byte 0x{error.object[error.start]:02x}, expected {encoding.upper()}; save it as "
            f"UTF-8, or name what it is: encoding=cp1252, say"
        )
        line = error.object.count(b"\n", 0, error.start) + 1
        raise table_error(file.path, problem, line=line) from error
    except (LookupError, ValueError) as error:
        problem = f"encoding {encoding!r} is none of texts, expected utf-8, cp1252, ...; correct it"
        raise table_error(file.path, problem) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        problem = "a NUL character, expected text; save it as UTF-8, or try encoding=utf-16"
        raise table_error(file.path, problem, line=line)
    return text


def _separator(path: Path, text: str) -> str:
    """Return the separator that gives header and rows equally many cells, two or more.

    If none does, that which gives the header the most. Raises InputError if several do.
    """
    widths = {mark: _widths(path, text, mark) for mark in _FOUND}
    fitting = [mark for mark, seen in widths.items() if len(set(seen)) == 1 and seen[0] > 1]
    if len(fitting) > 1:
        words = " or a ".join(SEPARATORS[mark] for mark in fitting)
        names = ", ".join(f"sep={SEPARATORS[mark]}" for mark in fitting)
        raise table_error(path, f"a {words} may separate the cells; say which: {names}")
    return fitting[0] if fitting else max(_FOUND, key=lambda mark: [*widths[mark], 0][0])


def _widths(path: Path, text: str, mark: str) -> list[int]:
    """Return how many cells the first rows have, none when they cannot be read so."""
    rows, cells = _LOOKED_AT
    widths: list[int] = []
    try:
        for _, row in islice(_rows(path, text, mark), rows):
            widths.append(len(row))
            if len(row) * len(widths) > cells:
                break
    except InputError:
        return [*widths[:1], 0]
    return widths


def _rows(path: Path, text: str, separator: str) -> Iterator[Numbered]:
    """Yield each row that is not empty, the header first."""
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=separator, strict=True, skipinitialspace=True
    )
    line = 1
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if cells not in ([], [""]):
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise table_error(path, f"{error}, expected cells in whole quotes", line=line) from error


def _header(path: Path, row: Numbered | None) -> list[str]:
    """Return the names of the columns; one without a name is called `column N`."""
    if row is None:
        raise table_error(path, "the file is empty, expected a header and rows; fill it")
    line, cells = row
    if all(is_missing(cell) or is_like_a_number(cell) for cell in cells):
        problem = f"the header is {listed(cells)}, expected a name for each column; add them"
        raise table_error(path, problem, line=line)
    names = [name or f"column {number}" for number, name in enumerate(cells, start=1)]
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        problem = f"column {name!r} appears twice, expected unique names; rename one"
        raise table_error(path, problem, line=line)
    return names
