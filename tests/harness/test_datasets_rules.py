"""What a table is read as: separators, marks, kinds of columns, classes, a test file; and what is
refused with the remedy rather than guessed.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import numpy as np
import pytest

from bakeoff.datasets import Dataset, load, preparation
from bakeoff.datasets.notation import Notation
from bakeoff.models.errors import InputError


def write(
    folder: Path, columns: dict[str, list[object]], name: str = "t.csv", sep: str = ","
) -> Path:
    rows = [list(columns), *zip(*columns.values(), strict=True)]
    path = folder / name
    path.write_text("\n".join(sep.join(map(str, row)) for row in rows), encoding="utf-8")
    return path


def load_table(
    folder: Path, columns: dict[str, list[object]], query: str = "", sep: str = ","
) -> Dataset:
    path = write(folder, columns, sep=sep)
    return load(f"csv:{path}?target=y{query}", cache=folder / "cache")


def error_of(
    folder: Path, columns: dict[str, list[object]], query: str = "", sep: str = ","
) -> str:
    with pytest.raises(InputError) as caught:
        load_table(folder, columns, query, sep)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def numbers(count: int = 300) -> list[object]:
    rng = random.Random(0)
    return [f"{rng.uniform(0, 100):.2f}" for _ in range(count)]


def spoilt(cell: str, place: int = 7) -> list[object]:
    cells = numbers()
    cells[place] = cell
    return cells


@pytest.mark.parametrize("cell", ["None", "-", "N.A.", "#N/A", "<NA>", "?", "--"])
def test_one_missing_cell_leaves_a_column_of_numbers(tmp_path: Path, cell: str) -> None:
    assert load_table(tmp_path, {"a": spoilt(cell), "y": numbers()}).input_shape == (1,)


@pytest.mark.parametrize("cell", ["inf", "12.5o", '"1,234"', "32_137", "$5.00", "5 %", "(5)", "−5"])
@pytest.mark.parametrize("column", ["a", "y"])
def test_one_cell_that_is_no_number_is_named_with_the_remedies(
    tmp_path: Path, cell: str, column: str
) -> None:
    message = error_of(tmp_path, {"a": numbers(), "y": numbers()} | {column: spoilt(cell)})
    shown = cell.strip('"')
    assert f"line 9: column '{column}' is '{shown}', expected a number as in 299" in message
    for remedy in (f"numeric={column}", f"categorical={column}", f"drop={column}"):
        assert remedy in message


def test_a_class_that_reads_as_missing_is_told(tmp_path: Path) -> None:
    dataset = load_table(tmp_path, {"a": numbers(60), "y": ["none", "mild", "bad"] * 20})
    assert dataset.class_names == ("bad", "mild")
    (note,) = dataset.notes
    assert note == "t.csv: 20 rows have no 'y' (or 'none', which means that) and are left out"


@pytest.mark.parametrize(
    ("cell", "ways"),
    [
        ("5 %", []),
        ("1 250", ["thousands=space"]),
        ("1,250.5", ["decimal=,", "thousands=,"]),
        ("12,5", ["decimal=,"]),
        ("1.250.000", ["thousands=."]),
        ("32_137", ["thousands=_"]),
    ],
)
def test_only_what_would_help_is_advised(cell: str, ways: list[str]) -> None:
    assert Notation().advice(cell) == ways


def test_numbers_that_no_cell_proves_are_never_classes(tmp_path: Path) -> None:
    columns = {"a": list(range(40)), "y": ['"1,250"', '"2,500"'] * 20}
    message = error_of(tmp_path, columns)
    assert "column 'y' is '1,250'" in message
    assert "or give decimal=, or thousands=, or numeric=y" in message
    assert load_table(tmp_path, columns, "&thousands=,").target_mean > 1000
    assert load_table(tmp_path, columns, "&decimal=,").target_mean < 3
    as_classes = load_table(tmp_path, columns, "&task=classification")
    assert as_classes.class_names == ("1,250", "2,500")


def test_a_share_of_95_in_100_is_a_column_of_numbers(tmp_path: Path) -> None:
    texts = [f"x{i}" for i in range(15)]
    message = error_of(tmp_path, {"a": [*texts, *numbers(285)], "y": numbers()})
    assert "line 2: column 'a' is 'x0', expected a number as in 285 other rows" in message
    message = error_of(tmp_path, {"a": [*texts, "x15", *numbers(284)], "y": numbers()})
    assert "different texts in 300 rows" in message


@pytest.mark.parametrize(
    ("query", "width", "note"),
    [
        ("&numeric=a", 2, "1 cells of 'a' are no numbers and count as missing"),
        ("&drop=a", 1, ""),
        ("&categorical=a", 211, ""),  # those of 210 rows of training, and `b`
    ],
)
def test_the_remedies_help(tmp_path: Path, query: str, width: int, note: str) -> None:
    cells = [f"{i}.5" for i in range(300)]
    cells[7] = "twelve"
    dataset = load_table(tmp_path, {"a": cells, "b": numbers(), "y": numbers()}, query)
    assert dataset.input_shape == (width,)
    assert [note] * bool(note) == [line.partition(": ")[2] for line in dataset.notes]


@pytest.mark.parametrize("sep", [";", "\t", "|"])
def test_decimal_commas_and_other_separators_are_found_and_told(tmp_path: Path, sep: str) -> None:
    point = load_table(tmp_path, {"a": numbers(), "y": numbers()})
    commas = [str(cell).replace(".", ",") for cell in numbers()]
    dataset = load_table(tmp_path, {"a": commas, "y": commas}, sep=sep)
    assert dataset.sha256 == point.sha256
    (note,) = dataset.notes
    assert "as separator and comma as decimal mark" in note
    options = {";": "&sep=;", "\t": "&sep=tab", "|": "&sep=bar"}[sep] + "&decimal=,"
    assert load_table(tmp_path, {"a": commas, "y": commas}, options, sep).notes == ()


def test_thousands_are_read_when_they_are_given(tmp_path: Path) -> None:
    cells = [f"{1000 * i + 250:,}".replace(",", ".") + ",5" for i in range(60)]
    message = error_of(tmp_path, {"a": cells, "y": cells}, sep=";")
    assert "'1.250,5'" in message
    assert "thousands=." in message
    dataset = load_table(tmp_path, {"a": cells, "y": cells}, "&thousands=.", sep=";")
    y = dataset.target_mean + dataset.target_scale * dataset.train.y
    assert y.max() > 50_000
    assert np.allclose(y % 1000, 250.5)


def test_a_point_that_may_be_thousands_is_asked_about(tmp_path: Path) -> None:
    columns = {"a": numbers(40), "y": [f"1.{i:03}" for i in range(40)]}
    assert load_table(tmp_path, columns, sep=";").target_mean < 2  # `a` proves the point
    columns["a"] = list(range(40))
    assert "'1.000' may be thousands" in error_of(tmp_path, columns, sep=";")
    assert load_table(tmp_path, columns, "&decimal=.", sep=";").target_mean < 2
    assert load_table(tmp_path, columns, "&thousands=.", sep=";").target_mean > 1000


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda i: f"T{i}", "'T0'"),
        (lambda i: f'"Doe, Mr. {i}"', "'Doe, Mr. 0'"),
        (lambda i: f"2020-{i % 12 + 1:02}-{i % 28 + 1:02}", "'2020-01-01'"),
        (lambda i: f"{i % 28 + 1:02}.{i % 12 + 1:02}.2020", "'01.01.2020'"),
        (lambda i: "C1" if i % 4 else f"C{i}", "'C0'"),
    ],
)
def test_ids_names_and_dates_are_refused_with_the_remedy(
    tmp_path: Path, make: object, what: str
) -> None:
    columns = {"a": numbers(), "k": [make(i) for i in range(300)], "y": numbers()}
    message = error_of(tmp_path, columns)
    assert f"such as {what}, expected at most 50" in message
    assert "drop=k" in message
    assert load_table(tmp_path, columns, "&drop=k").input_shape == (1,)


def test_all_columns_that_are_refused_are_named(tmp_path: Path) -> None:
    ids = [f"T{i}" for i in range(300)]
    message = error_of(tmp_path, {"a": ids, "b": ids, "c": ids, "y": numbers()})
    assert "refused as well: 'b', 'c'" in message


def test_empty_and_constant_columns_are_left_out_and_told(tmp_path: Path) -> None:
    columns = {"e": [""] * 40, "k": [7] * 40, "t": ["x"] * 40, "a": numbers(40), "y": numbers(40)}
    dataset = load_table(tmp_path, columns)
    assert dataset.feature_names == ("a",)
    assert [note.partition("column ")[2] for note in dataset.notes] == [
        "'e' is left out: it is empty",
        "'k' is left out: it is '7' in every row",
        "'t' is left out: it is 'x' in every row",
    ]


def test_truth_values_are_a_category(tmp_path: Path) -> None:
    dataset = load_table(tmp_path, {"b": ["True", "False"] * 20, "y": numbers(40)})
    assert dataset.feature_names == ("b=False", "b=True")


def test_a_column_without_a_name_gets_one(tmp_path: Path) -> None:
    dataset = load_table(tmp_path, {"": list(range(40)), "a": numbers(40), "y": numbers(40)})
    assert dataset.feature_names == ("column 1", "a")


@pytest.mark.parametrize(
    ("content", "query", "part"),
    [
        (b"a,y\n1,2\0\n", "", ", line 2: a NUL character, expected text"),
        ("ä,y\n1,2\n".encode("cp1252"), "", ", line 1: byte 0xe4, expected UTF-8"),
        (b"PK\3\4...", "", "this is a spreadsheet or a zip, expected a CSV file"),
        (b"\x1f\x8b\x08", "", "this is a gzip, expected a CSV file"),
        (b"a,y\n1,2\n", "&encoding=hex", "encoding 'hex' is none of texts"),
        (b"a,y\n1,2\n", "&encoding=nothing", "encoding 'nothing' is none of texts"),
        (b"a,y\n1,2\n", "&sep=ab", "sep='ab', expected one character"),
        (b"a,y\n1,2\n", "&thousands=5", "thousands='5', expected one of"),
        (b"a,y\n1,2\n", "&thousands=.&decimal=.", "decimal= and thousands= are both '.'"),
        (b"a,y\n1,2\n", "&decimal=;", "Invalid enum value ';'"),
        (b"a,y\n1,2\n", "&drop=z", "no column 'z', expected drop= one of 'a', 'y'"),
        (b"a,y\n1,2\n", "&drop=y", "column 'y' is in target= and in drop="),
        (b"a,y\n1,2\n", "&numeric=a&categorical=a", "'a' is in numeric= and in categorical="),
        (b"a,y\n", "", "0 rows with a target"),
        (b"a,y\n1,2\n", "", "1 rows with a target"),
        (b"a;b,y;z\n" + b"1;2,3;4\n" * 12, "", "a comma or a semicolon may separate the cells"),
        (b"a,y\n" + b"1,5\n2,5\n" * 9, "", "target 'y' is 5 in every row"),
        (b"a,y\n" + b"1," + b"9" * 10**5 + b"\n" + b"1,2\n3,4\n" * 9, "", "expected a number"),
        (b"a,y\n" + b"9" * 10**6 + b",1\n", "", "field larger than field limit"),
    ],
)  # fmt: skip
def test_what_cannot_be_read(tmp_path: Path, content: bytes, query: str, part: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        load(f"csv:{path}?target=y{query}", cache=tmp_path)
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_names_with_commas_and_ampersands(tmp_path: Path) -> None:
    columns = {'"a,b"': ["x"] * 20 + ["z"] * 20, "c&d": numbers(40), "y": numbers(40)}
    assert load_table(tmp_path, columns, "&drop=a%2Cb").feature_names == ("c&d",)
    assert load_table(tmp_path, columns, "&drop=c%26d").feature_names == ("a,b=x", "a,b=z")


def test_a_path_with_a_question_mark(tmp_path: Path) -> None:
    path = write(tmp_path, {"a": numbers(40), "y": numbers(40)}, name="what?.csv")
    name = f"csv:{path}?target=y".replace("what?", "what%3F")
    assert load(name, cache=tmp_path).input_shape == (1,)


class TestClasses:
    """Every class is in every split, or it is told."""

    @pytest.mark.parametrize("rows", [3, 4, 5, 6, 7, 40])
    def test_a_small_class_is_in_every_split(self, tmp_path: Path, rows: int) -> None:
        y = ["rare"] * rows + ["often"] * 100
        dataset = load_table(tmp_path, {"a": numbers(len(y)), "y": y})
        for split in (dataset.train, dataset.validation, dataset.test):
            assert set(np.unique(split.y)) == {0, 1}
        assert dataset.class_names == ("often", "rare")
        assert dataset.notes == ()

    def test_the_smallest_class_has_three_rows(self, tmp_path: Path) -> None:
        y = ["rare"] * 2 + ["often"] * 100
        message = error_of(tmp_path, {"a": numbers(102), "y": y})
        assert "'rare' in 2, expected at least 2 classes of 3 rows or more" in message

    @pytest.mark.parametrize("shares", [(70, 15), (85, 15)])
    def test_shares_are_kept(self, shares: tuple[int, int]) -> None:
        labels = np.repeat([0, 1, 2], [1000, 300, 20])
        parts = preparation.stratified(labels, *shares)
        assert sorted(np.concatenate(parts)) == list(range(len(labels)))
        for part, share in zip(parts, (*shares, 100 - sum(shares)), strict=True):
            np.testing.assert_allclose(
                np.bincount(labels[part], minlength=3), np.array([1000, 300, 20]) * share / 100
            )

    def test_equal_numbers_are_one_class(self, tmp_path: Path) -> None:
        y = ["1", "1.0", "01", "0"] * 10
        dataset = load_table(tmp_path, {"a": numbers(40), "y": y}, "&task=classification")
        assert dataset.num_classes == 2

    def test_classes_that_a_split_lacks_are_told(self, tmp_path: Path) -> None:
        dataset = load("synthetic-sequences?samples=10&classes=3", cache=tmp_path)
        told = "2 of 3 classes are absent from the validation split ("
        assert any(told in note for note in dataset.notes)


class TestTestFile:
    """`test=FILE` is the test split, read as the training file is."""

    def columns(self, rows: int) -> dict[str, list[object]]:
        return {"a": numbers(rows), "k": ["red", "blue"] * (rows // 2), "y": numbers(rows)}

    def load(self, folder: Path, test: dict[str, list[object]], query: str = "") -> Dataset:
        path = write(folder, test, "test.csv")
        return load_table(folder, self.columns(100), f"&test={path}{query}")

    def test_it_is_scaled_by_training(self, tmp_path: Path) -> None:
        dataset = self.load(tmp_path, self.columns(30))
        assert [len(s.x) for s in (dataset.train, dataset.validation, dataset.test)] == [85, 15, 30]
        y = dataset.target_mean + dataset.target_scale * dataset.test.y[:, 0]
        np.testing.assert_allclose(y, [float(cell) for cell in self.columns(30)["y"]])
        assert dataset.test_lines == tuple(range(2, 32))
        assert abs(dataset.train.x[:, 0].mean()) < 1e-12 < abs(dataset.test.x[:, 0].mean())

    def test_its_columns_may_stand_in_another_order(self, tmp_path: Path) -> None:
        columns = self.columns(30)
        first = self.load(tmp_path, columns)
        second = self.load(tmp_path, dict(reversed(columns.items())))
        assert first.sha256 == second.sha256

    def test_what_training_lacks_is_told(self, tmp_path: Path) -> None:
        columns = self.columns(30) | {"k": ["green"] * 30, "more": [1] * 30}
        dataset = self.load(tmp_path, columns)
        assert dataset.notes == (
            "test.csv: column 'k' has categories that the training file lacks: 'green'",
            "test.csv: columns that the training file lacks: 'more'",
        )

    @pytest.mark.parametrize(
        ("changes", "without", "part"),
        [
            ({}, "k", "no column 'k', expected those of the training file"),
            ({}, "y", "no column 'y', expected those of the training file"),
            ({"a": ["x", *range(29)]}, "", "test.csv\", line 2: column 'a' is 'x', expected a num"),
            ({"y": ["x", *range(29)]}, "", "test.csv\", line 2: target 'y' is 'x', expected a num"),
            ({"y": [""] * 30}, "", "no row has a target"),
        ],
    )
    def test_what_does_not_fit_is_refused(
        self, tmp_path: Path, changes: dict[str, list[object]], without: str, part: str
    ) -> None:
        columns = self.columns(30) | changes
        columns.pop(without, None)
        with pytest.raises(InputError) as caught:
            self.load(tmp_path, columns)
        assert part in str(caught.value)

    def test_a_class_that_training_lacks_is_refused(self, tmp_path: Path) -> None:
        classes = {"a": numbers(100), "y": ["p", "q"] * 50}
        test = write(tmp_path, {"a": numbers(10), "y": ["p", "r"] * 5}, "test.csv")
        assert "line 3: target 'y' is 'r', a class" in error_of(tmp_path, classes, f"&test={test}")

    def test_it_is_there(self, tmp_path: Path) -> None:
        message = error_of(tmp_path, self.columns(30), "&test=nothing.csv")
        assert '"nothing.csv": no such file, expected test=PATH' in message


def test_a_home_that_is_nobodys(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load("csv:~nobody-at-all/x.csv?target=y", cache=tmp_path)


def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = write(tmp_path, {"a": numbers(40), "y": numbers(40)})
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("root may read every file")
    with pytest.raises(InputError, match="Permission denied"):
        load(f"csv:{path}?target=y", cache=tmp_path)
