"""How rows are shuffled, split and normalised; called by the sources.

Everything is fitted on the training rows alone, and computed so that every machine gets the same
bytes: sums run down the rows in order, and pixels are counted in integers.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .dataset import Card, Split
from .source import Prepared

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Pixels = NDArray[np.uint8]


def stream(name: str, seed: int) -> np.random.Generator:
    """Return the random stream of this name and seed, independent of every other."""
    digest = hashlib.sha256(f"{name}/{seed}".encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))


def shuffle(labels: Integers) -> Integers:
    """Return the row numbers in a fixed random order that keeps labels in proportion everywhere.

    labels: [N]. A row's place follows its rank among the rows of its label, so that any slice of
    the order is stratified; equal labels give a plain shuffle.
    """
    # NumPy promises the raw bits of a generator for ever, but not what `permutation` makes of them.
    rows = np.argsort(np.random.Philox(key=0).random_raw(len(labels)), kind="stable")
    rows = rows[np.argsort(labels[rows], kind="stable")]
    _, first, counts = np.unique(labels[rows], return_index=True, return_counts=True)
    rank = np.arange(len(rows)) - np.repeat(first, counts)
    return rows[np.argsort((rank + 0.5) / np.repeat(counts, counts), kind="stable")]


def cut(rows: Integers, train: int = 70, validation: int = 15) -> list[Integers]:
    """Cut an order of rows into train, validation and test rows, in percent."""
    ends = [len(rows) * train // 100, len(rows) * (train + validation) // 100]
    return np.split(rows, ends)


def stratified(labels: Integers, train: int = 70, validation: int = 15) -> list[Integers]:
    """Cut the rows of each label by itself, in percent, in the order of `shuffle`.

    labels: [N]. However few rows a label has, one is for validation and, unless the two shares are
    all, one for testing; what then is left is for training.
    """
    order = shuffle(labels)
    by_label = order[np.argsort(labels[order], kind="stable")]
    _, first, counts = np.unique(labels[by_label], return_index=True, return_counts=True)
    rank = np.arange(len(order)) - np.repeat(first, counts)
    validated = np.maximum(1, (counts * validation + 50) // 100)
    tested = np.maximum(1, (counts * (100 - train - validation) + 50) // 100)
    tested *= train + validation < 100
    ends = [np.repeat(end, counts) for end in (counts - validated - tested, counts - tested)]
    part = np.empty(len(order), np.int64)
    part[by_label] = (rank >= ends[0]).astype(np.int64) + (rank >= ends[1])
    return [order[part[order] == number] for number in range(3)]


def fit(train: Floats) -> tuple[Floats, Floats]:
    """Return mean and scale of each column of the training rows [N, F], both [F].

    A constant column has its value as mean and 1 as scale, so that it becomes exactly 0.
    """
    constant = train.min(axis=0) == train.max(axis=0)
    mean = np.where(constant, train[0], train.mean(axis=0))
    scale = train.std(axis=0)
    return mean, np.where(constant | (scale == 0), 1.0, scale)


def standardise(x: Floats, train_rows: Integers) -> Floats:
    """Return the columns of x [N, F] less the training mean, in units of the training scale."""
    mean, scale = fit(x[train_rows])
    return np.asarray((x - mean) / scale)


def take(x: NDArray[Any], y: NDArray[Any], rows: Sequence[Integers]) -> tuple[Split, Split, Split]:
    """Return the splits that these train, validation and test rows make."""
    train, validation, test = (Split(x[chosen], y[chosen]) for chosen in rows)
    return train, validation, test


def regression_table(x: Floats, y: Floats, *, card: Card, feature_names: Sequence[str]) -> Prepared:
    """Split a table x [N, F] with targets y [N], and standardise both."""
    rows = cut(shuffle(np.zeros(len(x), np.int64)))
    mean, scale = fit(y[rows[0], None])
    return Prepared(
        card=card,
        task="regression",
        splits=take(standardise(x, rows[0]), (y[:, None] - mean) / scale, rows),
        feature_names=tuple(feature_names),
        target_mean=float(mean[0]),
        target_scale=float(scale[0]),
    )


def classification_table(
    x: Floats, y: Integers, *, card: Card, feature_names: Sequence[str], num_classes: int
) -> Prepared:
    """Split a table x [N, F] with labels y [N], stratified, and standardise its features."""
    rows = cut(shuffle(y))
    return Prepared(
        card=card,
        task="classification",
        splits=take(standardise(x, rows[0]), y, rows),
        num_classes=num_classes,
        feature_names=tuple(feature_names),
    )


def classified_images(
    splits: Sequence[tuple[Pixels, Integers]], *, card: Card, num_classes: int
) -> Prepared:
    """Normalise the pixels [N, C, H, W] of train, validation and test images with labels [N]."""
    tables = _lookup_tables(splits[0][0])
    train, validation, test = (Split(_look_up(tables, pixels), y) for pixels, y in splits)
    return Prepared(
        card=card,
        task="classification",
        splits=(train, validation, test),
        num_classes=num_classes,
    )


def absent_classes(prepared: Prepared) -> list[str]:
    """Say for each split which classes it has no row of."""
    if prepared.num_classes is None:
        return []
    told = []
    for name, split in zip(("training", "validation", "test"), prepared.splits, strict=True):
        absent = np.setdiff1d(np.arange(prepared.num_classes), split.y)
        if len(absent):
            names = [str(prepared.class_names[c] if prepared.class_names else c) for c in absent]
            listed = ", ".join(map(repr, names[:5])) + ", ..." * (len(names) > 5)
            told.append(
                f"{len(absent)} of {prepared.num_classes} classes are absent from the {name} "
                f"split ({listed}): its metrics say nothing of them"
            )
    return told


def _lookup_tables(train: Pixels) -> NDArray[np.float32]:
    """Return (pixel / 255 - mean) / std for each channel and pixel value: float32 [C, 256]."""
    squares = np.arange(256, dtype=np.uint16) ** 2
    tables = []
    for channel in range(train.shape[1]):
        pixels = train[:, channel]
        total = int(pixels.sum(dtype=np.int64))
        total_squares = int(squares[pixels].sum(dtype=np.int64))
        mean = total / pixels.size
        std = math.sqrt(pixels.size * total_squares - total**2) / pixels.size or 1.0
        tables.append((np.arange(256) - mean) / std)
    return np.asarray(tables, np.float32)


def _look_up(tables: NDArray[np.float32], pixels: Pixels) -> NDArray[np.float32]:
    x = np.empty(pixels.shape, np.float32)
    for channel, table in enumerate(tables):
        x[:, channel] = table[pixels[:, channel]]
    return x
