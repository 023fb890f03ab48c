"""A campaign of tables that nobody would wish for: each is refused in one line, or read as it is
written. BAKEOFF_FAULTS says how many.
"""

from __future__ import annotations

import io
import math
import os
import random
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from rich.console import Console

from bakeoff.bench.commands.data import print_data
from bakeoff.datasets import csv, load
from bakeoff.datasets.source import File
from bakeoff.models.errors import InputError

COUNT = int(os.environ.get("BAKEOFF_FAULTS", "60"))
WORDS = (
    *(
        "red",
        "green",
        "blue",
        "Köln",
        "a,b",
        "x;y",
        'say "hi"',
        "two\nlines",
        "=1+1",
        "True",
        "False",
    ),
    *("2020-01-05", "05.01.2020", "12:30", "<b>", "[red]", "\x1b[31m", "1e999", "inf", "-Infinity"),
    *(
        "0x10",
        "１２",
        "1.2.3",
        "5 kg",
        "#5",
        "1e",
        "+",
        "٣",
        "nan%",
        "a|b\tc",
        "x" * 300,
        "'",
        "1__0",
    ),
)
MISSING = ("", "NA", "None", "-", "?", "#N/A", "<NA>", "n/a", "NULL")


class Cell(NamedTuple):
    """What stands in a file, and what it means: a number, NaN where missing, None for a text."""

    text: str
    meaning: float | None


class Dialect(NamedTuple):
    """How a file is written."""

    separator: str
    decimal: str
    thousands: str
    encoding: str
    newline: str


def a_number(rng: random.Random, dialect: Dialect, whole: bool) -> Cell:
    value = rng.choice(
        [
            rng.randint(-9, 99),
            rng.randint(0, 10**7),
            *([] if whole else [round(rng.uniform(-5e3, 5e3), rng.randint(1, 4)), rng.random()]),
        ]
    )
    text = f"{value:,}" if dialect.thousands else str(value)
    swap = {",": dialect.thousands, ".": dialect.decimal}
    return Cell("".join(swap.get(character, character) for character in text), float(value))


KINDS = (
    "number",
    "number",
    "whole",
    "whole",
    "few",
    "few",
    "constant",
    "empty",
    "mix",
    "word",
    "id",
)


def a_column(rng: random.Random, dialect: Dialect, rows: int, kind: str) -> list[Cell]:
    few = rng.sample(WORDS, 3)
    cells = []
    for row in range(rows):
        match kind:
            case "number" | "whole":
                cells.append(a_number(rng, dialect, kind == "whole"))
            case "word":
                cells.append(Cell(rng.choice(WORDS), None))
            case "few":
                cells.append(Cell(rng.choice(few), None))
            case "id":
                cells.append(Cell(f"K{row}", None))
            case "constant":
                cells.append(Cell("7", 7.0))
            case "empty":
                cells.append(Cell("", math.nan))
            case "mix":
                number = rng.random() < 0.5
                cells.append(a_number(rng, dialect, False) if number else Cell("red", None))
    word, gap = Cell(rng.choice(WORDS), None), Cell(rng.choice(MISSING), math.nan)
    for spoilt in rng.choice([[], [], [gap], [gap] * 3, [gap] * (rows // 4), [word], [word] * 3]):
        cells[rng.randrange(rows)] = spoilt
    return cells


def quoted(rng: random.Random, text: str, dialect: Dialect) -> str:
    must = any(character in text for character in '"\n\r' + dialect.separator)
    if must or rng.random() < 0.1:
        return '"' + text.replace('"', '""') + '"'
    return rng.choice(["", "", " "]) + text


class Written(NamedTuple):
    """A file, what was meant by it, and on which line each row begins."""

    data: bytes
    columns: dict[str, list[Cell]]
    lines: list[int]
    query: str


def a_table(rng: random.Random) -> Written:
    decimal, thousands = rng.choice([".,", ",.", ". ", ", ", "._", ".,", ",."])
    thousands = rng.choice(["", "", thousands])
    dialect = Dialect(
        rng.choice(",,;;\t|"),
        decimal,
        thousands,
        rng.choice(["utf-8", "utf-8-sig", "utf-16", "utf-8"]),
        rng.choice(["\n", "\r\n"]),
    )
    rows = rng.choice([1, 9, *[12, 30, 80] * 4])
    names = [f"c{number}" for number in range(rng.randint(1, 5))] + ["y"]
    if rng.random() < 0.05:
        names[0] = rng.choice(["", "y", "a&b", "ä,ö"])
    kinds = [rng.choice(KINDS[: rng.choice([6, 9, 11])]) for _ in names]
    kinds[-1] = rng.choice(KINDS[:6] * 5 + KINDS[6:])
    columns = [a_column(rng, dialect, rows, kind) for kind in kinds]
    table = [[quoted(rng, name, dialect) for name in names]]
    table += [
        [quoted(rng, cell.text, dialect) for cell in row] for row in zip(*columns, strict=True)
    ]
    text, lines = "", []
    for row in table:
        if rng.random() < 0.05:
            text += dialect.newline
        lines.append(text.count("\n") + 1)
        text += dialect.separator.join(row) + dialect.newline
    options = ["target=y"]
    if thousands and rng.random() < 0.7:
        options += [f"thousands={'space' if thousands == ' ' else thousands}", f"decimal={decimal}"]
    for option in ("numeric", "categorical", "drop", "task"):
        if rng.random() < 0.1:
            value = "classification" if option == "task" else rng.choice(names).replace("&", "%26")
            options.append(f"{option}={value}")
    written = dict(zip(names, columns, strict=True))
    return Written(text.encode(dialect.encoding), written, lines[1:], "&".join(options))


def one_line(error: InputError) -> None:
    assert "\n" not in str(error)
    assert len(str(error)) < 1500


@pytest.mark.parametrize("seed", range(COUNT))
def test_a_table_is_refused_in_a_line_or_read_as_it_is_written(seed: int, tmp_path: Path) -> None:
    written = a_table(random.Random(seed))
    path = tmp_path / "t.csv"
    path.write_bytes(written.data)
    name = f"csv:{path}?{written.query}"
    try:
        dataset = load(name, cache=tmp_path / "cache")
    except InputError as error:
        one_line(error)
        return
    from bakeoff.datasets.catalogue import choose

    understood = csv.understand(choose(name).parameters, File(path, written.data))
    made = csv.make(understood, [])
    rows = [written.lines.index(line) for lines in made.lines for line in lines]
    assert len(set(rows)) == len(rows)
    x, y = (np.concatenate([split[i] for split in dataset_splits(dataset)]) for i in (0, 1))
    train = len(made.lines[0])
    start = 0
    for column, cells in zip(understood.columns.values(), feature_cells(written), strict=True):
        width = len(made.features[column.name])
        block = x[:, start : start + width]
        start += width
        if column.kind == "number":
            check_numbers(column, cells, block[:, 0], rows, train)
        elif column.kind == "category":
            check_category(made.features[column.name], column.name, cells, block, rows)
        else:
            assert width == 0
            is_told = column.remark == "as you said" or any(
                f"{column.name!r} is left out" in note for note in dataset.notes
            )
            assert is_told
    check_target(dataset, written.columns["y"], y, rows)
    shown = io.StringIO()
    print_data(name, Console(file=shown, width=80))
    for column in understood.columns.values():
        assert any(column.kind in line for line in shown.getvalue().splitlines())
    assert all(note in shown.getvalue() for note in dataset.notes)


def dataset_splits(dataset):
    return dataset.train, dataset.validation, dataset.test


def feature_cells(written: Written) -> list[list[Cell]]:
    return [cells for name, cells in written.columns.items() if name != "y"]


def check_numbers(column, cells: list[Cell], feature: np.ndarray, rows: list[int], train: int):
    """Every number is that of the file; no text is one; the feature is they, standardised."""
    for value, cell in zip(column.numbers, cells, strict=True):
        if cell.meaning is None:
            assert column.coerced, cell
            assert math.isnan(value), cell
        else:
            assert value == cell.meaning or (math.isnan(value) and math.isnan(cell.meaning)), cell
    values = np.array(column.numbers)[rows]
    known = values[:train][~np.isnan(values[:train])]
    values[np.isnan(values)] = np.median(known) if len(known) else 0
    mean, scale = values[:train].mean(), values[:train].std() or 1
    np.testing.assert_allclose(feature, (values - mean) / scale, rtol=1e-6, atol=1e-6)


def check_category(names, column: str, cells: list[Cell], block: np.ndarray, rows: list[int]):
    """Each row has the feature of its text, or none."""
    for row, features in zip(rows, block, strict=True):
        cell = cells[row]
        is_missing = cell.meaning is not None and math.isnan(cell.meaning)
        text = "(missing)" if is_missing else cell.text.strip()
        own = [name for name, value in zip(names, features, strict=True) if value == 1]
        assert set(features) <= {0, 1}
        assert own == [f"{column}={text}"] or (not own and f"{column}={text}" not in names)


def check_target(dataset, cells: list[Cell], y: np.ndarray, rows: list[int]):
    """Each row has the number or the class of its cell, and no row is lost but without a target."""
    for row, value in zip(rows, y, strict=True):
        cell = cells[row]
        if dataset.task == "regression":
            assert cell.meaning is not None
            assert math.isclose(
                dataset.target_mean + dataset.target_scale * value[0],
                cell.meaning,
                rel_tol=1e-9,
                abs_tol=1e-9 * dataset.target_scale,
            )
        else:
            name = dataset.class_names[value]
            assert name == cell.text.strip() or cell.meaning is not None
    without = [r for r, c in enumerate(cells) if c.meaning is not None and math.isnan(c.meaning)]
    lost = set(range(len(cells))) - set(rows)
    texts = {row for row, cell in enumerate(cells) if cell.meaning is None}
    assert set(without) <= lost <= set(without) | texts
    if lost:
        assert any("are left out" in note for note in dataset.notes)


@pytest.mark.parametrize("seed", range(COUNT))
def test_damaged_bytes_are_refused_in_a_line_or_read(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    written = a_table(rng)
    data = bytearray(written.data)
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(data) + 1)
        what = rng.choice(
            [b"\0", b'"', b"\n", b"\r", b",", b";", b"\xff", b"\xc3", b"\x1a", b"9" * 400]
        )
        match rng.randrange(4):
            case 0:
                data[place:place] = what
            case 1:
                del data[place : place + rng.randint(1, 40)]
            case 2:
                data[place : place + 1] = what
            case 3:
                data += data[place : place + 100]
    path = tmp_path / "t.csv"
    path.write_bytes(data)
    try:
        dataset = load(f"csv:{path}?{written.query}", cache=tmp_path / "cache")
    except InputError as error:
        one_line(error)
    else:
        assert all(np.isfinite(array).all() for split in dataset_splits(dataset) for array in split)
