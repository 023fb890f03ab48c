"""Materialises a dataset once, as a folder of arrays in the cache; `load` is what users call."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
from filelock import FileLock
from platformdirs import user_cache_path

from ..models import sealed
from ..models.errors import InputError
from .catalogue import Choice, choose
from .dataset import ARRAYS, DESCRIPTION, Dataset, Description, Split, content_hash, open_dataset
from .preparation import absent_classes
from .source import File, Prepared, Progress, Request

_log = logging.getLogger(__name__)

FORMAT_VERSION = 2  # raise it when a source, or the preparation, gives other arrays than before


def load(
    name: str,
    *,
    data_dir: Path | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
    offline: bool = False,
) -> Dataset:
    """Return the dataset of this name, materialised in the cache, as read-only memory maps.

    name: one of `CARDS`, with parameters if it takes any: `synthetic-images?samples=512`,
        `csv:PATH?target=COLUMN`.
    data_dir: where your own IDX files are; $BAKEOFF_DATA by default.
    cache: where to materialise and download; `datasets` in $BAKEOFF_CACHE or in the user's cache
        folder by default.
    progress: called with file name, bytes done, and bytes in total, during a download.
    offline: raise NotHereError instead of downloading.

    Raises InputError for an unknown name or parameter, a damaged source file, a download that
    failed, or a cache that cannot be written.
    """
    choice = choose(name)
    try:
        cache = (cache or default_cache()).absolute()
        cache.mkdir(parents=True, exist_ok=True)
        request = Request(
            choice.path,
            choice.parameters,
            _checked_data_dir(data_dir),
            cache,
            progress,
            offline,
        )
        files = choice.source.read(request)
        folder = cache / f"{_slug(choice)}-{_identity(choice, files)}"
        return _opened(folder) or _materialise(folder, choice, files)
    except OSError as error:
        raise InputError(
            f'dataset "{name}": {error}, expected a readable source and a writable cache; '
            f"correct the path, or set $BAKEOFF_CACHE to a folder that can be written"
        ) from error


def cache_folder() -> Path:
    """Return $BAKEOFF_CACHE, or else the user's cache folder."""
    root = os.environ.get("BAKEOFF_CACHE")
    return Path(root) if root else user_cache_path("bakeoff")


def default_cache() -> Path:
    """Return where datasets are kept in it."""
    return cache_folder() / "datasets"


def _checked_data_dir(data_dir: Path | None) -> Path | None:
    if data_dir is None and (given := os.environ.get("BAKEOFF_DATA")):
        data_dir = Path(given)
    if data_dir is not None and not data_dir.is_dir():
        raise InputError(
            f'data folder "{data_dir}" is not a folder, expected one that holds your data files; '
            f"correct --data-dir or $BAKEOFF_DATA"
        )
    return data_dir


def _slug(choice: Choice) -> str:
    name = f"csv-{Path(choice.path).stem}" if choice.path else choice.name.partition("?")[0]
    return re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")[:40]


def _identity(choice: Choice, files: Sequence[File]) -> str:
    checksums = [hashlib.sha256(file.data).hexdigest() for file in files]
    identity = msgspec.json.encode([FORMAT_VERSION, choice.name, checksums])
    return hashlib.sha256(identity).hexdigest()[:12]


def _opened(folder: Path) -> Dataset | None:
    try:
        return open_dataset(folder)
    except InputError as error:  # not there yet, or damaged: both are mended by materialising it
        if folder.exists():
            _log.warning("%s; it is made again", str(error).partition(", expected")[0])
        return None


def _materialise(folder: Path, choice: Choice, files: list[File]) -> Dataset:
    """Write the folder, unless another process was first; it appears whole or not at all."""
    with FileLock(folder.with_suffix(".lock")):
        if dataset := _opened(folder):
            return dataset
        part = folder.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)  # of a process that was killed
        try:
            prepared = choice.source.prepare(choice.parameters, files)
            part.mkdir()
            _write(part, choice.name, prepared)
            _remove(folder)
            part.replace(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        return open_dataset(folder)


def _remove(folder: Path) -> None:
    if folder.is_dir() and not folder.is_symlink():
        shutil.rmtree(folder)
    else:
        folder.unlink(missing_ok=True)


def _write(folder: Path, name: str, prepared: Prepared) -> None:
    for array_name, array in zip(ARRAYS, _arrays(prepared.splits), strict=True):
        np.save(folder / f"{array_name}.npy", array, allow_pickle=False)
    description = Description(
        name=name,
        task=prepared.task,
        input_shape=prepared.splits[0].x.shape[1:],
        num_classes=prepared.num_classes,
        feature_names=prepared.feature_names,
        target_mean=prepared.target_mean,
        target_scale=prepared.target_scale,
        class_names=prepared.class_names,
        test_lines=prepared.test_lines,
        notes=(*prepared.notes, *absent_classes(prepared)),
        sha256=content_hash(prepared.splits),
        card=prepared.card,
    )
    (folder / DESCRIPTION).write_bytes(sealed.encode(description))


def _arrays(splits: Sequence[Split]) -> list[np.ndarray]:
    return [np.ascontiguousarray(array) for split in splits for array in split]
