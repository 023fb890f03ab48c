"""Finds MNIST or its kin in a folder of the user's: four IDX files, or an .npz as Keras keeps it.

Looked into are the folder, those in it that have the dataset's name (`mnist`, `MNIST`,
`FashionMNIST`, in any case, however joined), and a `raw` in any of these, which is torchvision's.
A file is known by what its name says: `train-images-idx3-ubyte`, `train-images.idx3-ubyte.gz`.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..models.errors import InputError
from .checksums import SHA256
from .source import File

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
NUM_CLASSES = 10
_IDX = re.compile(r"(train|t10k|test)(images|labels)(?:idx[13])?(?:ubyte)?(?:gz)?")
_ARRAYS = ("x_train", "y_train", "x_test", "y_test")  # in the order of FILES
_MOST_LISTED = 12


def find_local(name: str, data_dir: Path) -> list[File]:
    """Return the four IDX files of a dataset, in the order of FILES. InputError if not there."""
    folders = list(_folders(name, data_dir))
    own = [_letters(part) for part in data_dir.resolve().parts[-2:]]
    for other in SHA256.keys() - {name}:
        if _names(other) & {*own} and not _names(name) & {*own}:
            raise InputError(f'"{data_dir}" is a folder of {other} by its name, expected {name}')
    for folder in folders:
        if paths := _idx_files(folder):
            return [File(path, path.read_bytes()) for path in paths]
    for folder in folders:
        for path in sorted(folder.glob("*.npz")):
            if _letters(path.stem) in _names(name):
                return _of_npz(path)
    raise InputError(
        f'"{data_dir}" has no {name}, expected {FILES[0]} and the other three (.gz or not), or '
        f"{name}.npz, in it or in {name}/; {_found(data_dir)}; correct --data-dir or "
        f"$BAKEOFF_DATA, or leave both away: then it is downloaded"
    )


def _folders(name: str, data_dir: Path) -> Iterator[Path]:
    """Yield where to look: the folders with the dataset's name first."""
    inner = sorted(path for path in data_dir.iterdir() if path.is_dir())
    for folder in (*(path for path in inner if _letters(path.name) in _names(name)), data_dir):
        yield folder
        yield from (path for path in sorted(folder.iterdir()) if path.name.lower() == "raw")


def _names(name: str) -> set[str]:
    return {_letters(name), _letters(name.removesuffix("-mnist"))}


def _letters(name: str) -> str:
    return re.sub("[^a-z0-9]", "", name.lower())


def _idx_files(folder: Path) -> list[Path]:
    """Return the four files in this folder, or none if it has none; InputError if it has some."""
    found: dict[tuple[str, str], Path] = {}
    if not folder.is_dir():
        return []
    for path in sorted(folder.iterdir(), key=lambda path: (path.suffix != ".gz", path.name)):
        if (known := _IDX.fullmatch(_letters(path.name))) and path.is_file():
            part = "train" if known[1] == "train" else "t10k"
            found.setdefault((part, known[2]), path)
    wanted = [(part, kind) for part in ("train", "t10k") for kind in ("images", "labels")]
    missing = [name for name, key in zip(FILES, wanted, strict=True) if key not in found]
    if found and missing:
        raise InputError(
            f'"{folder}" lacks {", ".join(missing)} (plain or .gz), expected all four IDX files; '
            f"add the missing or remove the others"
        )
    return [found[key] for key in wanted] if found else []


def _of_npz(path: Path) -> list[File]:
    """Return the arrays of an .npz as IDX files: their form is checked where those are read."""
    data = path.read_bytes()
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            arrays = [stored[name] for name in _ARRAYS]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(
            f'"{path}" cannot be read ({error}), expected {", ".join(_ARRAYS)}; download it again'
        ) from error
    for name, array in zip(_ARRAYS, arrays, strict=True):
        whole = array.dtype.kind in "iu"
        if not whole or not 0 <= array.min(initial=0) <= array.max(initial=0) < 256:
            raise InputError(
                f'"{path}": {name} is {array.dtype}, expected whole numbers from 0 to 255; '
                f"download it again"
            )
    return [File(path, _as_idx(array)) for array in arrays]


def _as_idx(array: np.ndarray) -> bytes:
    sizes = np.array(array.shape, ">u4").tobytes()
    return bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes()


def _found(data_dir: Path) -> str:
    """Say what is in a folder, and in those in it."""
    inside = (path for pattern in ("*", "*/*") for path in data_dir.glob(pattern))
    paths = [path for path in sorted(inside) if path.is_file()]
    names = [str(path.relative_to(data_dir)) for path in paths[:_MOST_LISTED]]
    more = f" and {len(paths) - len(names)} more" if len(paths) > len(names) else ""
    return f"it holds {', '.join(names)}{more}" if names else "it is empty"
