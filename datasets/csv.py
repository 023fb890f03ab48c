"""A user's own table: `csv:PATH?target=COLUMN`, or the table `[data]` of a workload.

The first line names the columns. Encoding (UTF-8, or what a byte order mark says), separator
(`, ; tab |`) and decimal mark are given or found, if nothing else can be meant; a thousands mark is
only given. Space around
cells is dropped, and so are empty lines. What pandas takes for missing is, and ? - -- . N.A.

- A column of finite numbers is numeric: missing is the training split's median; standardised by the
  training split. One that is mostly numbers (NUMBERS_SHARE of `notation`) in this or another
  notation is refused at the first cell that is none; `numeric=` makes such cells missing.
- Any other is a category: one 0/1 feature for each text of the training split, sorted; missing is a
  text of its own; what training lacks is all zeros. One with many texts (the constants of
  `columns`), or no two alike, is refused: `drop=` it, or say that it is `categorical=`.
- Empty and constant columns are dropped.
- Where an embedding is fed, all are ids: whole numbers below its vocabulary, as they are.
- Target: rows without one are left out. Numbers mean regression, standardised by the training
  split, any other classes, sorted, from 0; `task=` says it. A class has 3 rows or more.
- The rows are cut 70/15/15, each class by itself; with `test=FILE`, 85/15, and that is the test.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from msgspec import Meta, Struct
from msgspec.structs import replace

from ..models.errors import InputError
from ..models.losses import Task
from . import notation
from .columns import Column, Wanted, apply, encode, judge
from .dataset import Card
from .notation import Notation
from .preparation import fit, take
from .source import File, Prepared, Request, Source
from .table import SEPARATORS, Table, listed, read_table, table_error
from .targets import Target, cut_rows, judge_target, values_of

USAGE = "csv:PATH?target=COLUMN"
CARD = Card(
    title="Your own table",
    origin="a CSV file with a header",
    licence="yours to know",
    size="any, regression or classification",
    caveats="Split 70/15/15 by a fixed shuffle, stratified for classes: unfit for time series.",
)
_MARKS = {word: mark for mark, word in SEPARATORS.items()} | {r"\t": "\t"}
_THOUSANDS = ".,'’_ \u00a0\u202f"


class Parameters(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """The query. Columns are separated by commas; `ids` is the vocabulary of an embedding."""

    target: str = ""
    task: Task | None = None
    drop: tuple[str, ...] = ()
    numeric: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    sep: str = ""
    decimal: Literal["", ".", ","] = ""
    thousands: str = ""
    encoding: str = ""
    test: str = ""
    ids: Annotated[int, Meta(ge=0)] = 0


class Understood(Struct, frozen=True, kw_only=True):
    """What a file was read as: its columns, and its target if it has been named."""

    table: Table
    notation: Notation
    parameters: Parameters
    columns: Mapping[str, Column]
    target: Target | None = None

    @property
    def problem(self) -> InputError | None:
        """The first thing that is wrong with a column, if anything is, and where else."""
        judged: list[Column | Target] = [*self.columns.values()]
        if self.target:
            judged.insert(0, self.target)
        wrong = [each for each in judged if each.problem]
        if not wrong:
            return None
        others = f"; refused as well: {listed([each.name for each in wrong[1:]])}"
        return self.table.error(wrong[0].problem + others * (len(wrong) > 1), wrong[0].row)


class Made(Struct, frozen=True, kw_only=True):
    """What a table became; by column, the names of its features; by split, the lines."""

    prepared: Prepared
    features: dict[str, list[str]]
    lines: list[list[int]]


def read(request: Request) -> list[File]:
    """Read the file, and that of `test=`; raises InputError when one is not there."""
    files = [_file(request.path, USAGE)]
    if request.parameters.test:
        files.append(_file(request.parameters.test, "test=PATH"))
    return files


def place(path: str, folder: Path) -> Path:
    """Return where the path of a table is, if it is relative to this folder."""
    try:
        return folder / Path(path).expanduser()
    except RuntimeError:  # ~nobody
        return folder / path


def _file(name: str, expected: str) -> File:
    path = place(name, Path())
    if not path.is_file():
        raise table_error(path, f"no such file, expected {expected}; correct the path")
    return File(path, path.read_bytes())


def prepare(parameters: Parameters, files: list[File]) -> Prepared:
    """Return x float64 [N, F] and y int64 [N] or float64 [N, 1]; raises InputError."""
    return make(understand(parameters, files[0]), files[1:]).prepared


def understand(parameters: Parameters, file: File) -> Understood:
    """Say what a file is read as. Raises InputError if it is no table, or has no such columns."""
    table = read_table(file, _mark(parameters.sep), parameters.encoding)
    _check_names(table, parameters)
    used = _notation(table, parameters)
    target = None
    if parameters.target:
        fewest = 2 if parameters.test else 3
        wanted = _wanted(parameters, parameters.target, vocabulary=0)
        target = judge_target(table, parameters.target, used, wanted, parameters.task, fewest)
    columns = {
        name: Column(name=name, kind="dropped", remark="as you said")
        if name in parameters.drop
        else judge(table, name, used, _wanted(parameters, name, parameters.ids))
        for name in table.columns
        if name != parameters.target
    }
    return Understood(
        table=table, notation=used, parameters=parameters, columns=columns, target=target
    )


def make(understood: Understood, test: Sequence[File]) -> Made:
    """Cut the rows and encode the columns. Raises InputError for all that is wrong."""
    table, target = understood.table, understood.target
    if target is None:
        names = listed(list(table.columns))
        raise table.error(f"no target, expected target= one of {names}; add it")
    if len(table.columns) == 1:
        raise table.error(f"{target.name!r} is the only column, expected features; add columns")
    if understood.problem:
        raise understood.problem
    if all(column.kind == "dropped" for column in understood.columns.values()):
        raise table.error("every column but the target is left out, expected features; add columns")
    tables = [table, *(_test_table(understood, file) for file in test)]
    columns = [_joined(understood, column, tables[1:]) for column in understood.columns.values()]
    y = np.concatenate([values_of(target, each, understood.notation) for each in tables])
    rows = cut_rows(target, y, len(table.lines))
    if not len(rows[2]):
        raise tables[-1].error("no row has a target, expected rows to test on; add some")
    mean, scale = np.zeros(1), np.ones(1)
    if target.task == "regression":
        mean, scale = fit(y[rows[0]])
        y = (y - mean) / scale
    x, names_of = encode(columns, rows[0])
    lines = np.concatenate([each.lines for each in tables])
    prepared = Prepared(
        card=_card(understood),
        task=target.task,
        splits=take(x, y, rows),
        num_classes=len(target.classes) or None,
        feature_names=tuple(name for names in names_of for name in names),
        target_mean=float(mean[0]),
        target_scale=float(scale[0]),
        class_names=target.classes,
        test_lines=tuple(lines[rows[2]].tolist()),
        notes=tuple(_notes(understood, tables)),
    )
    features = dict(zip(understood.columns, names_of, strict=True))
    return Made(prepared=prepared, features=features, lines=[lines[r].tolist() for r in rows])


def _mark(word: str) -> str:
    """Return the separator of a word. InputError."""
    mark = _MARKS.get(word, word)
    if len(mark) > 1 or mark in ('"', "\n", "\r"):
        raise InputError(
            f"sep={word!r}, expected one character, or one of {', '.join(SEPARATORS.values())}"
        )
    return mark


def _notation(table: Table, parameters: Parameters) -> Notation:
    thousands = " " if parameters.thousands == "space" else parameters.thousands
    if thousands and (thousands not in _THOUSANDS or len(thousands) > 1):
        raise table.error(f"thousands={thousands!r}, expected one of , . ' _ or space; correct it")
    decimal = parameters.decimal or {",": ".", ".": ","}.get(thousands, "")
    if not decimal:
        columns = {n: cells for n, cells in table.columns.items() if n not in parameters.drop}
        decimal, doubtful = notation.find(columns, parameters.numeric)
        if doubtful and table.separator == ";":  # of a country, maybe, where it means thousands
            raise table.error(f"{doubtful!r} may be thousands; say which: decimal=. or thousands=.")
    if decimal == thousands:
        raise table.error(f"decimal= and thousands= are both {decimal!r}; correct one")
    return Notation(decimal, thousands)


def _check_names(table: Table, parameters: Parameters) -> None:
    """Raise InputError for a column that is not there, or is told to be two things."""
    options = {
        "target": (parameters.target,) if parameters.target else (),
        "drop": parameters.drop,
        "numeric": parameters.numeric,
        "categorical": parameters.categorical,
    }
    for option, names in options.items():
        for name in names:
            if name not in table.columns:
                known = listed(list(table.columns))
                raise table.error(f"no column {name!r}, expected {option}= one of {known}")
    for first, second in (("target", "drop"), ("numeric", "categorical")):
        if both := sorted({*options[first]} & {*options[second]}):
            raise table.error(f"column {both[0]!r} is in {first}= and in {second}=; choose one")


def _wanted(parameters: Parameters, name: str, vocabulary: int) -> Wanted:
    return Wanted(
        numeric=name in parameters.numeric,
        categorical=name in parameters.categorical,
        vocabulary=vocabulary,
    )


def _test_table(understood: Understood, file: File) -> Table:
    """Read the test file as the training file was read. InputError if it lacks a column."""
    given = understood.parameters
    table = read_table(file, _mark(given.sep), given.encoding)
    needed = [c.name for c in understood.columns.values() if c.kind != "dropped"]
    for name in (given.target, *needed):
        if name not in table.columns:
            raise table.error(
                f"no column {name!r}, expected those of the training file; add it, or drop={name}"
            )
    return table


def _joined(understood: Understood, column: Column, tables: Sequence[Table]) -> Column:
    """Return a column with the rows of the test file behind its own."""
    if column.kind != "dropped":
        wanted = _wanted(understood.parameters, column.name, understood.parameters.ids)
        for table in tables:
            column = apply(column, table, understood.notation, wanted)
    return column


def _notes(understood: Understood, tables: Sequence[Table]) -> Iterator[str]:
    """Yield what was found, left out or filled in without having been asked for."""
    table, target, given = understood.table, understood.target, understood.parameters
    assert target
    found = []
    if table.separator != "," and not given.sep:
        found.append(f"{SEPARATORS[table.separator]} as separator")
    if understood.notation.decimal == "," and not given.decimal:
        found.append("comma as decimal mark")
    if found:
        yield f"{table.path.name}: found {' and '.join(found)}"
    if target.missing:
        marks = sorted(filter(notation.is_missing, set(table.columns[target.name]) - {""}))
        read_so = f" (or {listed(marks)}, which means that)" * bool(marks)
        yield (
            f"{table.path.name}: {target.missing:,} rows have no {target.name!r}{read_so} and are "
            f"left out"
        )
    for column in understood.columns.values():
        if column.kind == "dropped" and column.name not in given.drop:
            yield f"{table.path.name}: column {column.name!r} is left out: {column.remark}"
        if column.coerced:
            cells = f"{column.coerced:,} cells of {column.name!r} are no numbers"
            yield f"{table.path.name}: {cells} and count as missing"
    for other in tables[1:]:
        yield from _unseen(understood, other)


def _unseen(understood: Understood, test: Table) -> Iterator[str]:
    """Yield what the test file has and the training file lacks."""
    for column in understood.columns.values():
        if column.kind == "category":
            cells = set(test.columns[column.name]) - {*column.categories, ""}
            if unseen := sorted(cell for cell in cells if not notation.is_missing(cell)):
                yield (
                    f"{test.path.name}: column {column.name!r} has categories that the training "
                    f"file lacks: {listed(unseen)}"
                )
    if surplus := [name for name in test.columns if name not in understood.table.columns]:
        yield f"{test.path.name}: columns that the training file lacks: {listed(surplus)}"


def _card(understood: Understood) -> Card:
    table, target = understood.table, understood.target
    assert target
    return replace(
        CARD,
        origin=f"the file {table.path.name}",
        size=(
            f"{len(table.lines) - target.missing} rows, {len(table.columns) - 1} columns and the "
            f"target"
        ),
        caveats=f"{CARD.caveats} Rows dropped because they lack a target: {target.missing}.",
    )


SOURCE = Source(
    card=CARD,
    usage=f"{USAGE}&task=regression|classification",
    read=read,
    prepare=prepare,
    parameters=Parameters,
)
