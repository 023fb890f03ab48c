"""Turns a column of texts into numbers, by the rules that `csv` documents."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..models.errors import InputError
from .preparation import Floats, Integers, standardise

MISSING = frozenset({"", "na", "n/a", "nan", "null", "?"})
MAX_CATEGORIES = 1000
MAX_NUMBER = 1e100  # its square must be finite, or the column has no scale


def is_missing(cell: str) -> bool:
    """Tell whether a cell stands for nothing."""
    return cell.lower() in MISSING


def number(cell: str) -> float | None:
    """Return the cell as a finite number, NaN when it is missing, None when it is a text."""
    if is_missing(cell):
        return math.nan
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def numbers(cells: Sequence[str]) -> Floats | None:
    """Return the cells as float64 [N], NaN where missing; None when one of them is a text."""
    values = []
    for cell in cells:
        value = number(cell)
        if value is None:
            return None
        values.append(value)
    return np.array(values, np.float64)


def encode(name: str, cells: Sequence[str], train_rows: Integers) -> tuple[Floats, list[str]]:
    """Return a column as features float64 [N, K], and their names; fitted on the training rows."""
    values = numbers(cells)
    if values is None:
        return _one_hot(name, cells, train_rows)
    if np.nanmax(np.abs(values), initial=0.0) > MAX_NUMBER:
        raise InputError(
            f"column {name!r} holds numbers beyond {MAX_NUMBER:g}, expected smaller ones; "
            f"rescale it"
        )
    train = values[train_rows]
    known = train[~np.isnan(train)]
    values[np.isnan(values)] = np.median(known) if len(known) else 0.0
    return standardise(values[:, None], train_rows), [name]


def _one_hot(name: str, cells: Sequence[str], train_rows: Integers) -> tuple[Floats, list[str]]:
    texts = ["" if is_missing(cell) else cell for cell in cells]
    categories = sorted({texts[row] for row in train_rows})
    if len(categories) > MAX_CATEGORIES:
        raise InputError(
            f"column {name!r} holds {len(categories)} different texts in training, expected at "
            f"most {MAX_CATEGORIES}; remove the column or group its values"
        )
    position = {category: index for index, category in enumerate(categories)}
    features = np.zeros((len(texts), len(categories)))
    for row, text in enumerate(texts):
        if text in position:
            features[row, position[text]] = 1.0
    return features, [f"{name}={category or '(missing)'}" for category in categories]
