"""A dataset on disk, and how to open it. Needs numpy and msgspec alone."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from ..models import sealed
from ..models.errors import InputError
from ..models.losses import Task

DESCRIPTION = "dataset.json"
ARRAYS = ("x_train", "y_train", "x_validation", "y_validation", "x_test", "y_test")


class Card(Struct, frozen=True):
    """The data card: what the data are, whose, under which licence, and what to beware of."""

    title: str
    origin: str
    licence: str
    size: str
    caveats: str


class Split(NamedTuple):
    """Rows for one use; read-only memory maps once opened.

    x: images float32 [N, C, H, W]; tables float64 [N, F]; sequences float32 [N, T, D].
    y: class labels int64 [N], 0 .. num_classes - 1; regression targets float64 [N, 1].
    """

    x: NDArray[Any]
    y: NDArray[Any]


class Description(Struct, frozen=True, forbid_unknown_fields=True):
    """All about a dataset but its arrays: the content of `dataset.json`.

    A prediction in original units is `target_mean + target_scale * prediction`. `sha256` covers
    dtype, shape and bytes of the six arrays. `feature_names` is empty for images and sequences,
    `class_names` where classes have no names but their numbers, `test_lines`, the lines of the test
    rows in their file, but for a user's table. `notes` are what a user should be told, in lines.
    """

    name: str
    task: Task
    input_shape: tuple[int, ...]
    num_classes: int | None
    feature_names: tuple[str, ...]
    target_mean: float
    target_scale: float
    sha256: str
    card: Card
    class_names: tuple[str, ...] = ()
    test_lines: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()


class Dataset(Description, frozen=True, eq=False, kw_only=True):
    """An open dataset; `input_shape` is the shape of one row of x."""

    folder: Path
    train: Split
    validation: Split
    test: Split


def open_dataset(folder: Path) -> Dataset:
    """Open a folder written by `load`; the arrays are read-only memory maps.

    Raises InputError when a file is missing, short, or not what it was when it was written: a
    process reads the whole of a folder once, to compare it with its hash.
    """
    try:
        description = sealed.decode((folder / DESCRIPTION).read_bytes(), Description)
        arrays = [
            np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in ARRAYS
        ]
        splits = [Split(x, y) for x, y in zip(arrays[::2], arrays[1::2], strict=True)]
        _check_shapes(description, splits)
        _check_content(folder, description, splits)
    except (OSError, *sealed.UNREADABLE) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f'dataset folder "{folder}" is missing or damaged ({reason}), expected {DESCRIPTION} '
            f"and six .npy files; delete the folder and load the dataset again"
        ) from error
    train, validation, test = splits
    fields = {name: getattr(description, name) for name in Description.__struct_fields__}
    return Dataset(**fields, folder=folder, train=train, validation=validation, test=test)


_compared: dict[Path, tuple[str, list[int]]] = {}  # by folder: its hash, when it was written


def _check_content(folder: Path, description: Description, splits: list[Split]) -> None:
    """Raise ValueError if the arrays are not those of the description's hash."""
    written = [(folder / f"{name}.npy").stat().st_mtime_ns for name in ARRAYS]
    if _compared.get(folder) != (description.sha256, written):
        if content_hash(splits) != description.sha256:
            raise ValueError("its arrays are not what was written: their hash is another")
        _compared[folder] = description.sha256, written


def content_hash(splits: Sequence[Split]) -> str:
    """Return the SHA-256 over dtype, shape and bytes of the six arrays, in the order of ARRAYS."""
    digest = hashlib.sha256()
    for split in splits:
        for array in map(np.ascontiguousarray, split):
            digest.update(f"{array.dtype.str} {array.shape}\n".encode())
            digest.update(array.data)
    return digest.hexdigest()


def _check_shapes(description: Description, splits: list[Split]) -> None:
    for x, y in splits:
        if x.shape[1:] != description.input_shape or len(x) != len(y):
            raise ValueError(
                f"x has shape {x.shape} and y {y.shape}, expected rows of {description.input_shape}"
            )
