"""What each column of a table is, and the features that it becomes, by the rules of `csv`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Literal

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from .notation import NUMBERS_SHARE, Notation, is_like_a_number, is_missing
from .preparation import Floats, Integers, standardise
from .table import Table

Kind = Literal["number", "category", "id", "dropped"]

MOST_CATEGORIES = 50  # of a column that nobody called categorical;
CATEGORIES_SHARE = 0.2  # and of its rows, so many of them,
FEW_CATEGORIES = 10  # unless there are few
MOST_FEATURES = 1000  # of a column that somebody did call categorical
MAX_NUMBER = 1e100  # its square must be finite, or the column has no scale


class Column(Struct, frozen=True, kw_only=True):
    """A column: its kind; how many cells are missing; its different texts, or its numbers.

    `numbers` are of a number, an id, or what is dropped, NaN where missing; `texts` of a category,
    "" where missing. `remark` says in words what a user may not expect; `problem` what is wrong,
    and `row` where. `coerced` cells were no numbers, and count as missing.
    """

    name: str
    kind: Kind
    missing: int = 0
    coerced: int = 0
    categories: tuple[str, ...] = ()
    numbers: Sequence[float] = ()
    texts: Sequence[str] = ()
    remark: str = ""
    problem: str = ""
    row: int | None = None


class Wanted(Struct, frozen=True, kw_only=True):
    """What the user said of a column."""

    numeric: bool = False
    categorical: bool = False
    vocabulary: int = 0  # its cells are ids below this, if it is not 0


def judge(table: Table, name: str, notation: Notation, wanted: Wanted) -> Column:
    """Say what a column is. What is wrong with it is in `problem`; nothing is raised."""
    cells = table.columns[name]
    value_of = {cell: notation.number(cell) for cell in set(cells)}
    if wanted.vocabulary:
        return _ids(name, cells, value_of, wanted.vocabulary)
    missing = sum(map(is_missing, cells))
    texts = {cell for cell, value in value_of.items() if value is None}
    if missing == len(cells):
        return Column(name=name, kind="dropped", missing=missing, remark="it is empty")
    if len(value_of) == 1:
        remark = f"it is {cells[0][:40]!r} in every row"
        return Column(name=name, kind="dropped", missing=0, remark=remark)
    if wanted.categorical:
        return _category(name, cells, missing, most=MOST_FEATURES)
    if wanted.numeric or not texts:
        return _numbers(name, cells, value_of, missing)
    amiss = [row for row, cell in enumerate(cells) if cell in texts]
    present = len(cells) - missing
    alike = sum(is_like_a_number(cells[row]) for row in amiss)
    if present - len(amiss) + alike >= NUMBERS_SHARE * present:
        problem = _not_a_number(name, cells[amiss[0]], present - len(amiss), notation)
        return Column(name=name, kind="number", missing=missing, problem=problem, row=amiss[0])
    return _category(name, cells, missing, most=_most_categories(len(cells)), amiss=amiss)


def apply(column: Column, table: Table, notation: Notation, wanted: Wanted) -> Column:
    """Return a column of another table, read as this one is. Raises InputError if it cannot be."""
    cells = table.columns[column.name]
    if wanted.vocabulary:
        other = judge(table, column.name, notation, wanted)
        if other.problem:
            raise table.error(other.problem, other.row)
        return other
    if column.kind == "category":
        texts = ["" if is_missing(cell) else cell for cell in cells]
        return replace(column, texts=[*column.texts, *texts])
    numbers = []
    for row, cell in enumerate(cells):
        value = notation.number(cell)
        if abs(value or 0) > MAX_NUMBER or (value is None and not wanted.numeric):
            raise table.error(
                f"column {column.name!r} is {cell[:40]!r}, expected a number up to "
                f"{MAX_NUMBER:g} as in the training file; mend the cell",
                row,
            )
        numbers.append(math.nan if value is None else value)
    return replace(column, numbers=[*column.numbers, *numbers])


def encode(columns: Sequence[Column], train_rows: Integers) -> tuple[Floats, list[list[str]]]:
    """Return the features [N, F] of columns, and their names by column.

    Fitted on the training rows: which categories there are, the median that stands for what is
    missing, mean and scale.
    """
    known = [sorted({c.texts[row] for row in train_rows if c.texts}) for c in columns]
    names = [_feature_names(*each) for each in zip(columns, known, strict=True)]
    ends = np.cumsum([0, *map(len, names)])
    x = np.zeros((max(len(c.numbers) or len(c.texts) for c in columns), ends[-1]))
    for column, texts, start in zip(columns, known, ends, strict=False):
        place = {text: index for index, text in enumerate(texts, start=start)}
        for row, text in enumerate(column.texts):
            if text in place:
                x[row, place[text]] = 1.0
        if column.kind in ("number", "id"):
            x[:, start] = column.numbers
    numeric = ends[:-1][[column.kind == "number" for column in columns]]
    if len(numeric):
        x[:, numeric] = standardise(_filled(x[:, numeric], train_rows), train_rows)
    return x, names


def _filled(values: Floats, train_rows: Integers) -> Floats:
    for place in np.flatnonzero(np.isnan(values).any(axis=0)):
        known = values[train_rows, place]
        known = known[~np.isnan(known)]
        values[np.isnan(values[:, place]), place] = np.median(known) if len(known) else 0.0
    return values


def _feature_names(column: Column, known: Sequence[str]) -> list[str]:
    if column.kind == "category":
        return [f"{column.name}={text or '(missing)'}" for text in known]
    return [] if column.kind == "dropped" else [column.name]


def _most_categories(rows: int) -> int:
    return min(MOST_CATEGORIES, max(FEW_CATEGORIES, int(CATEGORIES_SHARE * rows)))


def _numbers(
    name: str, cells: Sequence[str], value_of: dict[str, float | None], missing: int
) -> Column:
    values = [value_of[cell] for cell in cells]
    numbers = [math.nan if value is None else value for value in values]
    for row, value in enumerate(numbers):
        if abs(value) > MAX_NUMBER:
            problem = (
                f"column {name!r} holds {cells[row][:40]}, expected numbers up to "
                f"{MAX_NUMBER:g}; rescale it, or drop={name}"
            )
            return Column(name=name, kind="number", problem=problem, row=row)
    coerced = sum(value is None for value in values)
    if coerced + missing == len(cells):
        problem = f"column {name!r} has no number, expected some; drop={name}"
        return Column(name=name, kind="number", missing=missing, problem=problem)
    return Column(
        name=name,
        kind="number",
        missing=missing + coerced,
        coerced=coerced,
        numbers=numbers,
        remark=_remark(cells, numbers),
    )


def _remark(cells: Sequence[str], numbers: Sequence[float]) -> str:
    """Say what in a column of numbers speaks for something else."""
    if any(len(cell) > 1 and cell[0] == "0" and cell.isdecimal() for cell in cells):
        return "zeros in front: a code?"
    counted = all(map(float.is_integer, numbers)) and max(numbers) - min(numbers) < len(numbers)
    return "it counts the rows: an id?" if counted and len(set(numbers)) == len(numbers) else ""


def _category(
    name: str, cells: Sequence[str], missing: int, *, most: int, amiss: Sequence[int] = ()
) -> Column:
    """Return a column of categories, unless it has too many. `amiss` are rows without a number."""
    texts = ["" if is_missing(cell) else cell for cell in cells]
    counts = Counter(text for text in texts if text)
    column = Column(
        name=name,
        kind="category",
        missing=missing,
        categories=tuple(sorted(counts)),
        texts=texts,
    )
    if most == MOST_FEATURES:
        unlike = False
        problem = f"expected at most {most}; drop={name}, or group its values"
    else:
        unlike = len(counts) == counts.total() > 2
        numbers = len(cells) - missing - len(amiss)
        way = f", numeric={name} (the other {len(amiss)} count as missing)" if numbers else ""
        problem = (
            f"such as {texts[amiss[0]][:40]!r}, expected at most {most}: an id, a name, a date, or "
            f"text? drop={name}, or keep every one: categorical={name}{way}"
        )
    if len(counts) <= most and not unlike:
        return column
    told = f"column {name!r} holds {len(counts):,} different texts in {len(cells):,} rows, "
    return Column(
        name=name,
        kind="category",
        missing=missing,
        problem=told + problem,
        row=amiss[0] if amiss else None,
    )


def _not_a_number(name: str, cell: str, numbers: int, notation: Notation) -> str:
    ways = notation.advice(cell) if is_like_a_number(cell) else []
    others = f" as in {numbers:,} other rows" * bool(numbers)
    ways += [
        f"numeric={name} (what is none counts as missing)",
        f"categorical={name}",
        f"drop={name}",
    ]
    return (
        f"column {name!r} is {cell[:40]!r}, expected a number{others}; "
        f"mend the cell, or give {' or '.join(ways)}"
    )


def _ids(
    name: str, cells: Sequence[str], value_of: dict[str, float | None], vocabulary: int
) -> Column:
    numbers = [value_of[cell] for cell in cells]
    for row, value in enumerate(numbers):
        if value is None or not value.is_integer() or not 0 <= value < vocabulary:
            problem = (
                f"column {name!r} is {cells[row][:40]!r}, expected an id, to feed an embedding: "
                f"a whole number from 0 to {vocabulary - 1}; mend the cell, raise "
                f"vocabulary_size, or drop={name}"
            )
            return Column(name=name, kind="id", problem=problem, row=row)
    return Column(name=name, kind="id", numbers=[value or 0.0 for value in numbers])
