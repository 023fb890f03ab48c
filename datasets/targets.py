"""The target of a table: classes or numbers, and which rows are for training, validation, test."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from ..models.losses import Task
from .columns import MAX_NUMBER, Wanted, judge
from .notation import Notation, is_missing
from .preparation import Integers, cut, shuffle, stratified
from .table import Table

FEWEST_ROWS = 10
FEW_NUMBERS = 10  # whole ones: a target that holds no others may be meant as classes


class Target(Struct, frozen=True, kw_only=True):
    """What a target was read as. `label_of` has the label of each text, `classes` their names.

    `missing` cells, of which `coerced` were no numbers, have their rows left out. `problem` says
    what is wrong, and `row` where.
    """

    name: str
    task: Task
    missing: int = 0
    coerced: int = 0
    classes: tuple[str, ...] = ()
    label_of: dict[str, int] = {}
    counts: tuple[int, ...] = ()
    span: tuple[float, float] = (0.0, 0.0)
    problem: str = ""
    row: int | None = None

    @property
    def might_be_classes(self) -> bool:
        """Tell whether the target is numbers of which there are few, and whole ones."""
        return 0 < len(self.counts) <= FEW_NUMBERS and self.task == "regression"


def judge_target(
    table: Table, name: str, notation: Notation, wanted: Wanted, task: Task | None, fewest: int
) -> Target:
    """Say what a target is; `fewest` is how many rows a class must have. Nothing is raised."""
    cells = table.columns[name]
    if sum(not is_missing(cell) for cell in cells) < FEWEST_ROWS:
        known = sum(not is_missing(cell) for cell in cells)
        problem = f"{known} rows with a target, expected at least {FEWEST_ROWS}; add rows"
        return Target(name=name, task=task or "regression", problem=problem)
    if task is None and not wanted.numeric:
        column = judge(table, name, notation, wanted)
        texts = any(notation.number(cell) is None for cell in set(cells))
        if texts and column.kind == "number" and column.problem:
            return Target(name=name, task="regression", problem=column.problem, row=column.row)
        task = "classification" if texts or wanted.categorical else "regression"
    if task == "classification":
        return _classes(name, cells, notation, fewest)
    return _numbers(name, cells, notation, wanted)


def values_of(target: Target, table: Table, notation: Notation) -> NDArray[Any]:
    """Return y int64 [N], -1 where missing, or float64 [N, 1], NaN where missing. InputError."""
    cells = table.columns[target.name]
    if target.task == "regression":
        numbers = [notation.number(cell) for cell in cells]
        for row, value in enumerate(numbers):
            if abs(value or 0) > MAX_NUMBER or (value is None and not target.coerced):
                raise table.error(_not_a_number(target.name, cells[row]), row)
        return np.array([[math.nan if n is None else n] for n in numbers], np.float64)
    for row, cell in enumerate(cells):
        if not is_missing(cell) and cell not in target.label_of:
            raise table.error(
                f"target {target.name!r} is {cell[:40]!r}, a class that the training file lacks; "
                f"remove the row, or add rows of that class",
                row,
            )
    return np.array([target.label_of.get(cell, -1) for cell in cells], np.int64)


def cut_rows(target: Target, y: NDArray[Any], size: int) -> list[Integers]:
    """Return which rows with a target are for training, validation and test.

    y is of the `size` rows of a file, and behind them of those of the test file, if there is one.
    """
    known = np.flatnonzero(y >= 0 if target.classes else ~np.isnan(y[:, 0]))
    mine, given = known[known < size], known[known >= size]
    shares = (85, 15) if len(y) > size else (70, 15)
    if target.classes:
        rows = stratified(y[mine], *shares)
    else:
        rows = cut(shuffle(np.zeros(len(mine), np.int64)), *shares)
    train, validation, test = (mine[chosen] for chosen in rows)
    return [train, validation, given if len(y) > size else test]


def _classes(name: str, cells: Sequence[str], notation: Notation, fewest: int) -> Target:
    """Equal numbers are one class, however they are written; numbers are sorted as such."""
    counts = Counter(cell for cell in cells if not is_missing(cell))
    numbers = {cell: notation.number(cell) for cell in counts}
    key_of: dict[str, Any] = dict(numbers)
    if any(number is None for number in numbers.values()):
        key_of = {cell: cell for cell in counts}
    label_of_key = {key: label for label, key in enumerate(sorted(set(key_of.values())))}
    label_of = {cell: label_of_key[key] for cell, key in key_of.items()}
    sizes = np.bincount([label_of[cell] for cell in counts], weights=list(counts.values())).astype(
        int
    )
    named = {label: cell for cell, label in sorted(label_of.items(), reverse=True)}
    classes = tuple(named[label] for label in range(len(sizes)))
    problem = ""
    if len(classes) < 2 or sizes.min() < fewest:
        least = int(sizes.argmin())
        problem = (
            f"target {name!r} has {len(classes)} different values in {counts.total()} rows, "
            f"{classes[least][:40]!r} in {sizes[least]}, expected at least 2 classes of {fewest} "
            f"rows or more, one for each split; remove or join the smallest, or choose another "
            f"target or task"
        )
    return Target(
        name=name,
        task="classification",
        missing=len(cells) - counts.total(),
        classes=classes,
        label_of=label_of,
        counts=tuple(sizes.tolist()),
        problem=problem,
    )


def _numbers(name: str, cells: Sequence[str], notation: Notation, wanted: Wanted) -> Target:
    numbers = [notation.number(cell) for cell in cells]
    for row, value in enumerate(numbers):
        if abs(value or 0) > MAX_NUMBER or (value is None and not wanted.numeric):
            problem = _not_a_number(name, cells[row])
            return Target(name=name, task="regression", problem=problem, row=row)
    known = Counter(n for n in numbers if n is not None and not math.isnan(n))
    problem = ""
    if len(known) < 2:
        told = f"is {next(iter(known)):g} in every row" if known else "has no number"
        problem = f"target {name!r} {told}, expected one that varies; choose another"
    whole = len(known) <= FEW_NUMBERS and all(number.is_integer() for number in known)
    return Target(
        name=name,
        task="regression",
        missing=len(cells) - known.total(),
        coerced=sum(n is None for n in numbers),
        counts=tuple(known.values()) if whole else (),
        span=(min(known, default=0.0), max(known, default=0.0)),
        problem=problem,
    )


def _not_a_number(name: str, cell: str) -> str:
    return (
        f"target {name!r} is {cell[:40]!r}, expected a number up to {MAX_NUMBER:g} for "
        f"regression; correct it, leave it out by numeric={name}, or use task=classification"
    )
