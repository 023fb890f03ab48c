"""`csv:PATH`: what a user's table becomes, and what is said when it cannot become anything."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bakeoff.datasets import Dataset, columns, load
from bakeoff.datasets.notation import Notation, is_missing
from bakeoff.datasets.table import Table
from bakeoff.models.errors import InputError

NUMBERS = "a,b,y\n" + "".join(f"{i},{i * i},{3 * i + 1}\n" for i in range(40))
CLASSES = "a,colour,y\n" + "".join(
    f"{i},{['red', 'green'][i % 2]},{'nyn'[i % 3]}\n" for i in range(40)
)


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BAKEOFF_DATA", raising=False)


def write(folder: Path, content: str | bytes) -> Path:
    path = folder / "table.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def load_csv(folder: Path, content: str | bytes, query: str = "target=y") -> Dataset:
    return load(f"csv:{write(folder, content)}?{query}", cache=folder / "cache")


def all_rows(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    splits = (dataset.train, dataset.validation, dataset.test)
    return np.concatenate([split.x for split in splits]), np.concatenate([s.y for s in splits])


def test_a_numeric_target_means_regression(tmp_path: Path) -> None:
    dataset = load_csv(tmp_path, NUMBERS)
    assert (dataset.task, dataset.num_classes) == ("regression", None)
    assert (dataset.feature_names, dataset.input_shape) == (("a", "b"), (2,))
    assert [len(s.x) for s in (dataset.train, dataset.validation, dataset.test)] == [28, 6, 6]
    x, y = all_rows(dataset)
    assert (x.dtype, y.dtype, y.shape) == (np.float64, np.float64, (40, 1))
    original = dataset.target_mean + dataset.target_scale * y[:, 0]
    np.testing.assert_allclose(np.sort(original), 3 * np.arange(40) + 1)
    np.testing.assert_allclose([y[:28].mean(), y[:28].std()], [0, 1], atol=1e-12)
    a = (original - 1) / 3
    np.testing.assert_allclose(x[:, 0], (a - a[:28].mean()) / a[:28].std())
    np.testing.assert_allclose(x[:, 1], (a**2 - (a[:28] ** 2).mean()) / (a[:28] ** 2).std())


def test_a_text_target_means_classification(tmp_path: Path) -> None:
    dataset = load_csv(tmp_path, CLASSES)
    assert (dataset.task, dataset.num_classes) == ("classification", 2)
    assert dataset.feature_names == ("a", "colour=green", "colour=red")
    x, y = all_rows(dataset)
    assert (y.dtype, y.sum()) == (np.int64, 13)
    assert (dataset.target_mean, dataset.target_scale) == (0.0, 1.0)
    np.testing.assert_array_equal(x[:, 1] + x[:, 2], 1)
    assert set(x[:, 1]) == {0.0, 1.0}


def test_classes_that_are_numbers_are_sorted_as_numbers(tmp_path: Path) -> None:
    rows = "".join(f"{i},{[10, 9, 2][i % 3]}\n" for i in range(30))
    dataset = load_csv(tmp_path, "a,y\n" + rows, "target=y&task=classification")
    x, y = all_rows(dataset)
    original = np.rint(x[:, 0] / (x[:, 0].max() - x[:, 0].min()) * 29)
    original -= original.min()
    np.testing.assert_array_equal(y, np.array([2, 1, 0])[original.astype(int) % 3])


def test_rows_without_a_target_are_dropped_and_counted(tmp_path: Path) -> None:
    dataset = load_csv(tmp_path, NUMBERS + "1,2,\n1,2,NA\n1,2,?\n")
    assert len(all_rows(dataset)[0]) == 40
    assert "lack a target: 3." in dataset.card.caveats
    assert dataset.card.origin == "the file table.csv"


def encoded(
    cells: list[str], train_rows: list[int], **wanted: bool
) -> tuple[np.ndarray, list[str]]:
    table = Table(Path("table.csv"), "utf-8", ",", {"a": cells}, list(range(2, len(cells) + 2)))
    column = columns.judge(table, "a", Notation(), columns.Wanted(**wanted))
    assert not column.problem
    features, (names,) = columns.encode([column], np.array(train_rows))
    return features, names


def test_numbers_that_are_missing_become_the_training_median() -> None:
    features, names = encoded(["1", "n/a", "3", "9", "NULL", "100"], [0, 1, 2, 3])
    filled = np.array([1, 3, 3, 9, 3, 100.0])
    np.testing.assert_allclose(features[:, 0], (filled - 4) / np.array([1, 3, 3, 9]).std())
    assert names == ["a"]


def test_categories_are_those_of_training() -> None:
    features, names = encoded(["red", "", "blue", "green", "NA", "red"], [0, 1, 2])
    assert names == ["a=(missing)", "a=blue", "a=red"]
    expected = [[0, 0, 1], [1, 0, 0], [0, 1, 0], [0, 0, 0], [1, 0, 0], [0, 0, 1]]
    np.testing.assert_array_equal(features, expected)


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("1", 1.0),
        ("-1e3", -1000.0),
        ("+.5", 0.5),
        *(
            (cell, None)
            for cell in ("x", "inf", "1e999", "0x1", "1_000", "1,250", "١", "9" * 10**5)
        ),
    ],
)
def test_what_a_number_is(cell: str, value: float | None) -> None:
    assert Notation().number(cell) == value


@pytest.mark.parametrize(
    ("notation", "cell", "value"),
    [
        (Notation(","), "1.250", None),
        (Notation(","), "1,25", 1.25),
        (Notation(",", "."), "-1.250.000,5", -1250000.5),
        (Notation(".", ","), "1,250", 1250.0),
        (Notation(".", ","), "12,50", None),
        (Notation(".", "_"), "32_137", 32137.0),
        (Notation(",", " "), "1 250,5", 1250.5),
    ],
)
def test_what_a_number_is_in_another_notation(
    notation: Notation, cell: str, value: float | None
) -> None:
    assert notation.number(cell) == value


@pytest.mark.parametrize("cell", ["", "na", "NA", "N/A", "NaN", "Null", "?", "-", "N.A.", "."])
def test_what_missing_is(cell: str) -> None:
    assert is_missing(cell)


def test_what_pandas_takes_for_missing_is() -> None:
    from pandas._libs.parsers import STR_NA_VALUES

    assert all(map(is_missing, STR_NA_VALUES))


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + NUMBERS.encode(),
        NUMBERS.replace("\n", "\r\n"),
        NUMBERS.replace(",", " , "),
        NUMBERS.replace("\n", "\n\n") + "  \n",
        NUMBERS.replace("a,b,y", 'a, "b", "y"'),
        NUMBERS.rstrip("\n"),
        NUMBERS.encode("utf-16"),
        NUMBERS.replace(",", ";"),
        NUMBERS.replace(",", "\t"),
        NUMBERS.replace(",", "|"),
        NUMBERS.replace("\n", "\r"),
    ],
    ids=[
        *("bom", "crlf", "spaces", "empty-lines", "quoted", "no-last-newline", "utf-16"),
        *("semicolon", "tab", "bar", "old-mac"),
    ],
)
def test_spellings_of_one_table(tmp_path: Path, content: str | bytes) -> None:
    assert load_csv(tmp_path, content).sha256 == load_csv(tmp_path, NUMBERS).sha256


def test_a_target_may_have_an_odd_name(tmp_path: Path) -> None:
    dataset = load_csv(tmp_path, NUMBERS.replace("y", "y & co?", 1), "target=y %26 co?")
    assert dataset.feature_names == ("a", "b")


def test_a_changed_file_gives_another_folder(tmp_path: Path) -> None:
    first = load_csv(tmp_path, NUMBERS)
    second = load_csv(tmp_path, NUMBERS + "99,99,99\n")
    assert first.folder != second.folder
    assert first.folder.is_dir()
    assert load_csv(tmp_path, NUMBERS).folder == first.folder


def test_the_folder_has_the_name_of_the_file(tmp_path: Path) -> None:
    assert load_csv(tmp_path, NUMBERS).folder.name.startswith("csv-table-")


@pytest.mark.parametrize(
    ("content", "query", "part"),
    [
        ("", "target=y", ": the file is empty"),
        ("\n \n", "target=y", ": the file is empty"),
        ("1,2,3\n4,5,6\n", "target=y", ", line 1: the header is '1', '2', '3', expected a name"),
        (",,\n1,2,3\n", "target=y", ", line 1: the header is '', '', '', expected a name"),
        ("a,b,a\n", "target=b", ", line 1: column 'a' appears twice"),
        (NUMBERS + "7,8\n", "target=y", ", line 42: 2 cells, expected 3 as in the header"),
        (NUMBERS + "7,8,9,10\n", "target=y", ", line 42: 4 cells, expected 3"),
        (NUMBERS, "", ": no target, expected target= one of 'a', 'b', 'y'; add it"),
        (NUMBERS, "target=z", ": no column 'z', expected target= one of 'a', 'b', 'y'"),
        (NUMBERS, "target=y&task=clustering", "`$.task`; expected csv:PATH?target=COLUMN"),
        (NUMBERS, "target=y&seed=1", "unknown field `seed`; expected csv:PATH"),
        ("y\n" + "1\n" * 20, "target=y", ": 'y' is the only column"),
        ("a,y\n" + "1,2\n" * 9, "target=y", ": 9 rows with a target, expected at least 10"),
        ("a,y\n" + "1,\n" * 20, "target=y", ": 0 rows with a target, expected at least 10"),
        ("a,y\n" + "1,z\n" * 20, "target=y", ": target 'y' has 1 different values in 20 rows"),
        (NUMBERS, "target=y&task=classification", ": target 'y' has 40 different values"),
        (CLASSES, "target=y&task=regression", ", line 2: target 'y' is 'n', expected a number"),
        (NUMBERS + "1,1,1e200\n", "target=y", ", line 42: target 'y' is '1e200', expected a"),
        (
            NUMBERS + "1e200,1,1\n",
            "target=y",
            ", line 42: column 'a' holds 1e200, expected numbers up to 1e+100",
        ),
        (NUMBERS.encode() + b"1,\xff,2\n", "target=y", ", line 42: byte 0xff, expected UTF-8"),
        (NUMBERS + '1,"2,3\n4,5,6\n', "target=y", ", line 42: unexpected end of data"),
        (
            "a,y\n" + "".join(f"t{i},{i}\n" for i in range(2000)),
            "target=y",
            ", line 2: column 'a' holds 2,000 different texts in 2,000 rows, such as 't0'",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    tmp_path: Path, content: str | bytes, query: str, part: str
) -> None:
    with pytest.raises(InputError) as caught:
        load_csv(tmp_path, content, query)
    message = str(caught.value)
    assert part in message
    assert "table.csv" in message
    assert "\n" not in message
    cache = tmp_path / "cache"
    assert not cache.exists() or not [path for path in cache.iterdir() if path.is_dir()]


@pytest.mark.parametrize("path", ["nothing.csv", "", "."])
def test_a_file_that_is_not_there(tmp_path: Path, path: str) -> None:
    with pytest.raises(InputError, match="no such file, expected csv:PATH"):
        load(f"csv:{path}?target=y", cache=tmp_path)
