"""A user's own table: `csv:PATH?target=COLUMN&task=regression|classification`.

The file is UTF-8 and comma-separated, its first line names the columns; space around cells is
dropped, and so are empty lines. A cell that is empty, NA, N/A, nan, null or ? (in any case) is
missing. A column whose other cells are all finite numbers is numeric, any other is categorical.

- Numeric: missing is the training split's median; then standardised by the training split.
- Categorical: one 0/1 feature for each category of the training split, sorted; missing is a
  category of its own; a category that training lacks is all zeros.
- Target: rows without one are dropped. Classes are its texts, sorted, from 0; a regression target
  is standardised. Without `task`, a numeric target means regression.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from ..models.errors import InputError
from ..models.losses import Task
from .columns import MAX_NUMBER, encode, number, numbers
from .dataset import Card
from .preparation import Floats, Integers, cut, fit, shuffle, take
from .source import File, Prepared, Request, Source
from .table import Table, read_table, table_error

CARD = Card(
    title="Your own table",
    origin="a CSV file with a header",
    licence="yours to know",
    size="any, regression or classification",
    caveats="Split 70/15/15 by a fixed shuffle, stratified for classes: unfit for time series.",
)


class Parameters(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The query."""

    target: str
    task: Task | None = None


def read(request: Request) -> list[File]:
    """Read the file; raises InputError when it is not there."""
    path = Path(request.path).expanduser()
    if not path.is_file():
        raise table_error(path, "no such file, expected csv:PATH?target=COLUMN; correct the path")
    return [File(path, path.read_bytes())]


def prepare(parameters: Parameters, files: list[File]) -> Prepared:
    """Return x float64 [N, F] and y int64 [N] or float64 [N, 1]; raises InputError."""
    table = read_table(files[0], parameters.target)
    numeric = numbers(table.target_cells()) is not None
    task = parameters.task or ("regression" if numeric else "classification")
    return _regression(table) if task == "regression" else _classification(table)


def _classification(table: Table) -> Prepared:
    cells = table.target_cells()
    classes = {cell: label for label, cell in enumerate(sorted(set(cells)))}
    if not 2 <= len(classes) <= len(cells) // 2:
        raise table_error(
            table.path,
            f"target {table.target!r} has {len(classes)} different values in {len(cells)} rows, "
            f"expected at least 2 classes and 2 rows for each; choose another target or task",
        )
    y = np.array([classes[cell] for cell in cells], np.int64)
    rows = cut(shuffle(y))
    x, names = _features(table, rows[0])
    return Prepared(
        card=_card(table),
        task="classification",
        splits=take(x, y, rows),
        num_classes=len(classes),
        feature_names=names,
    )


def _regression(table: Table) -> Prepared:
    y = np.array(_targets(table), np.float64)[:, None]
    rows = cut(shuffle(np.zeros(len(y), np.int64)))
    mean, scale = fit(y[rows[0]])
    x, names = _features(table, rows[0])
    return Prepared(
        card=_card(table),
        task="regression",
        splits=take(x, (y - mean) / scale, rows),
        feature_names=names,
        target_mean=float(mean[0]),
        target_scale=float(scale[0]),
    )


def _targets(table: Table) -> list[float]:
    targets = []
    for cell, line in zip(table.target_cells(), table.lines, strict=True):
        value = number(cell)
        if value is None or abs(value) > MAX_NUMBER:
            raise table_error(
                table.path,
                f"target {table.target!r} is {cell[:40]!r}, expected a number up to "
                f"{MAX_NUMBER:g} for regression; correct it or use task=classification",
                line=line,
            )
        targets.append(value)
    return targets


def _features(table: Table, train_rows: Integers) -> tuple[Floats, tuple[str, ...]]:
    """Return all columns but the target as features [N, F], and their names."""
    blocks: list[Floats] = []
    names: list[str] = []
    for name in table.names:
        if name == table.target:
            continue
        try:
            block, block_names = encode(name, table.column(name), train_rows)
        except InputError as error:
            raise table_error(table.path, str(error)) from error
        blocks.append(block)
        names += block_names
    return np.concatenate(blocks, axis=1), tuple(names)


def _card(table: Table) -> Card:
    return replace(
        CARD,
        origin=f"the file {table.path.name}",
        size=f"{len(table.rows)} rows, {len(table.names) - 1} columns and the target",
        caveats=f"{CARD.caveats} Rows dropped because they lack a target: {table.dropped}.",
    )


SOURCE = Source(
    card=CARD,
    usage="csv:PATH?target=COLUMN&task=regression|classification",
    read=read,
    prepare=prepare,
    parameters=Parameters,
)
