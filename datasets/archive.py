"""The four IDX files of MNIST and its kin: what they become, or where they are downloaded from."""

from __future__ import annotations

import hashlib
from pathlib import Path

from filelock import FileLock
from msgspec import Struct

from ..models.errors import InputError
from .checksums import SHA256
from .dataset import Card
from .download import download, has_sha256
from .idx import read_images, read_labels
from .local_archive import FILES, NUM_CLASSES, find_local
from .preparation import classified_images, shuffle
from .source import File, NotHereError, Prepared, Progress, Request


class Archive(Struct, frozen=True):
    """Where the files of a dataset may be downloaded; sha256 is by file name, `.gz` included."""

    name: str
    mirrors: tuple[str, ...]
    sha256: dict[str, str]


def read_archive(archive: Archive, request: Request) -> list[File]:
    """Read the four files, in the order of FILES.

    They are those of `data_dir`, if it is given (see `local_archive`), or else those that are in
    `<cache>/downloads/<name>`, where they are downloaded to. Raises InputError when that fails, or
    when the files are another dataset's; NotHereError instead of downloading, if that was asked.
    """
    if request.data_dir is not None:
        files = find_local(archive.name, request.data_dir)
        _refuse_others(archive, files)
        return files
    folder = request.cache / "downloads" / archive.name
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        paths = [folder / f"{name}.gz" for name in FILES]
        if request.offline and not all(path.is_file() for path in paths):
            raise NotHereError(f"{archive.name} is not here yet; a run downloads it")
        for path in paths:
            _ensure(archive, path, request.progress)
        return [File(path, path.read_bytes()) for path in paths]


def _refuse_others(archive: Archive, files: list[File]) -> None:
    """Raise InputError when a file is known to be of a dataset that has the same file names."""
    owners = {
        checksum: name
        for name, checksums in SHA256.items()
        for checksum in checksums.values()
        if name != archive.name
    }
    for file in files:
        if owner := owners.get(hashlib.sha256(file.data).hexdigest()):
            raise InputError(
                f'"{file.path}" is a file of {owner}, expected one of {archive.name}; put the '
                f"files of each into a folder of its name"
            )


def _ensure(archive: Archive, path: Path, progress: Progress | None) -> None:
    def report(done: int, total: int) -> None:
        if progress is not None:
            progress(path.name, done, total)

    sha256 = archive.sha256[path.name]
    if has_sha256(path, sha256):
        return
    try:
        download(path, mirrors=archive.mirrors, sha256=sha256, report=report)
    except InputError as error:
        raise InputError(
            f"{archive.name}: {error}; connect to the internet, or put the four IDX files into a "
            f"folder and name it with --data-dir DIR or $BAKEOFF_DATA, or use --dataset mnist-5k"
        ) from error


def prepare_archive(card: Card, files: list[File]) -> Prepared:
    """Return x float32 [N, 1, H, W], normalised, and y int64 [N].

    One twelfth of the training file, 5,000 of MNIST's 60,000, is for validation, stratified.
    Raises InputError when a file is damaged or the files do not fit together.
    """
    images, test_images = read_images(files[0]), read_images(files[2])
    labels, test_labels = (read_labels(file, NUM_CLASSES) for file in files[1::2])
    _check_equal(files[0], files[1], "items", sizes=(len(images), len(labels)))
    _check_equal(files[2], files[3], "items", sizes=(len(test_images), len(test_labels)))
    _check_equal(files[0], files[2], "pixels", sizes=(images.shape[2:], test_images.shape[2:]))
    if len(images) < 2:
        raise InputError(f'"{files[0].path}" has 1 image, expected at least 2; use more images')
    rows = shuffle(labels)
    train, validation = rows[: -max(1, len(rows) // 12)], rows[-max(1, len(rows) // 12) :]
    splits = [
        (images[train], labels[train]),
        (images[validation], labels[validation]),
        (test_images, test_labels),
    ]
    return classified_images(splits, card=card, num_classes=NUM_CLASSES)


def _check_equal(first: File, second: File, what: str, *, sizes: tuple[object, object]) -> None:
    if sizes[0] != sizes[1]:
        raise InputError(
            f'"{first.path}" has {sizes[0]} {what} and "{second.path}" {sizes[1]}, expected '
            f"equally many; take both from the same archive"
        )
