"""What was understood of data: `bakeoff show houses.csv`, or any dataset with its query; and how a
workload fits its data, as `show` of the workload says it. In plain lines, which a pipe gets whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from rich.console import Console

from ...datasets import csv, load
from ...datasets.catalogue import CARDS, Choice, choose
from ...datasets.columns import Column
from ...datasets.csv import Made, Understood
from ...datasets.dataset import Dataset
from ...datasets.source import NotHereError, table_request
from ...datasets.table import SEPARATORS
from ...datasets.targets import Target
from ...models.shapes import show
from .. import workload
from ..printing import say
from ..workload import Workload
from .warn import warn

_TABLES = (".csv", ".tsv", ".txt", ".data")
_LINES = 5  # of each split that are shown


def is_data(name: str) -> bool:
    """Say whether a name is that of a table, or of a dataset with a query."""
    key = name.partition("?")[0].partition(":")[0]
    return (key in CARDS and key != name) or _is_path(name)


def _is_path(name: str) -> bool:
    return name.partition("?")[0].lower().endswith(_TABLES) and not name.startswith("csv:")


def print_data(name: str, console: Console) -> None:
    """Print what was understood of a table or a dataset. Raises InputError for what is wrong."""
    choice = choose(f"csv:{name}" if _is_path(name) else name)
    if choice.source is csv.SOURCE:
        _print_table(choice, console)
    else:
        _print_dataset(load(choice.name, offline=True), console)


def print_fit(work: Workload, console: Console) -> None:
    """Print what a workload's data are, and that they fit it. Raises InputError if they do not."""
    choice = choose(work.dataset)
    if choice.source is csv.SOURCE:
        _print_table(choice, console)
    try:
        dataset = load(work.dataset, offline=True)
    except NotHereError as error:
        say(console, f"model and data: not checked, {error}")
        return
    if choice.source is not csv.SOURCE:
        _print_dataset(dataset, console)
    workload.check(work, dataset)
    say(console, "model and data: they fit")


def _print_dataset(dataset: Dataset, console: Console) -> None:
    task: str = dataset.task
    if dataset.num_classes is not None:
        task += f", {dataset.num_classes} classes"
    sizes = [len(split.x) for split in (dataset.train, dataset.validation, dataset.test)]
    lines = {
        "dataset": dataset.name,
        "task": task,
        "rows": f"{sizes[0]:,} train, {sizes[1]:,} validation, {sizes[2]:,} test",
        "input": show(dataset.input_shape),
    }
    for word, text in lines.items():
        say(console, f"{word:<11}{text}")
    warn(dataset.notes, console)


def _print_table(choice: Choice, console: Console) -> None:
    files = csv.read(table_request(choice.path, choice.parameters))
    understood = csv.understand(choice.parameters, files[0])
    made = None
    if understood.target and not understood.problem:
        made = csv.make(understood, files[1:])
    for word, text in _facts(understood, made):
        say(console, f"{word:<11}{text}")
    say(console, "")
    for line in _aligned(_rows(understood, made)):
        say(console, line)
    say(console, "")
    if made:
        warn(made.prepared.notes, console)
    elif understood.problem:
        raise understood.problem
    else:
        say(console, f"no target yet: bakeoff show '{choice.path}?target=COLUMN'")


def _facts(understood: Understood, made: Made | None) -> Iterator[tuple[str, str]]:
    table, notation = understood.table, understood.notation
    yield "file", str(table.path)
    separator = SEPARATORS.get(table.separator, repr(table.separator))
    marks = f"decimal {notation.decimal}"
    marks += f", thousands {notation.thousands!r}" if notation.thousands else ""
    yield "read as", f"{table.encoding}, {separator}-separated, {marks}"
    yield "rows", f"{len(table.lines):,} in {len(table.columns):,} columns"
    if target := understood.target:
        yield "task", _task(target)
        if target.missing:
            yield "left out", f"{target.missing:,} rows without {target.name!r}"
    if made:
        for word, lines in zip(("train", "validation", "test"), made.lines, strict=True):
            of = f" of {understood.parameters.test}" if understood.parameters.test else ""
            first = ", ".join(map(str, lines[:_LINES])) + ", ..." * (len(lines) > _LINES)
            yield word, f"{len(lines):,} rows: lines {first}{of * (word == 'test')}"
        yield "input", f"{show(made.prepared.splits[0].x.shape[1:])}: {_described(made)}"


def _described(made: Made) -> str:
    width = len(made.prepared.feature_names)
    return f"{width:,} feature{'s' * (width != 1)}"


def _task(target: Target) -> str:
    if target.task == "classification":
        return f"classification of {target.name!r}, {len(target.classes)} classes"
    return f"regression of {target.name!r}; for classes: task=classification"


def _rows(understood: Understood, made: Made | None) -> Iterator[list[str]]:
    yield ["column", "kind", "missing", "becomes", "holds"]
    for name in understood.table.columns:
        if name in understood.columns:
            column = understood.columns[name]
            features = made.features[name] if made else None
            yield [
                name,
                "refused" if column.problem else column.kind,
                f"{column.missing:,}",
                _becomes(column, features),
                _holds(column),
            ]
        else:
            target = understood.target
            assert target
            yield [
                name,
                "refused" if target.problem else "target",
                f"{target.missing:,}",
                _target_becomes(target),
                _spans(target),
            ]


def _becomes(column: Column, features: Sequence[str] | None) -> str:
    if column.problem or column.kind == "dropped":
        return "-"
    count = 1 if column.kind != "category" else len(features or column.categories)
    return f"{count:,} x {'0/1' if column.kind == 'category' else column.kind}"


def _holds(column: Column) -> str:
    if column.problem:
        return column.problem.partition(", expected")[0]
    if column.kind == "dropped":
        return column.remark
    if column.kind == "category":
        return f"{len(column.categories)}: {', '.join(column.categories)}"
    known = [number for number in column.numbers if not math.isnan(number)]
    span = f"{min(known):.10g} to {max(known):.10g}" if known else "no number"
    return f"{span}; {column.remark}" if column.remark else span


def _target_becomes(target: Target) -> str:
    if target.problem:
        return "-"
    return "class" if target.classes else "number"


def _spans(target: Target) -> str:
    if target.problem:
        return target.problem.partition(", expected")[0]
    if target.classes:
        pairs = zip(target.classes, target.counts, strict=True)
        return ", ".join(f"{name} ({count:,})" for name, count in pairs)
    return f"{target.span[0]:.10g} to {target.span[1]:.10g}"


def _aligned(rows: Iterable[list[str]]) -> Iterator[str]:
    rows = [[_one_line(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    for *cells, last in rows:
        padded = [f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)]
        yield "  ".join([*padded, last])


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
