"""What a source is: the types that pass between `loading` and the modules of the datasets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from msgspec import Struct

from ..models.errors import InputError
from ..models.losses import Task
from .dataset import Card, Split

Progress: TypeAlias = Callable[[str, int, int], None]  # file name, bytes done, bytes in total


class NotHereError(InputError):
    """What would have to be downloaded, when it must not be."""


class File(Struct, frozen=True):
    """A source file, read once, so that what is hashed is what is parsed."""

    path: Path
    data: bytes


class Request(Struct, frozen=True):
    """Where a source may look for its files; `path` is what follows `csv:` in the name.

    Nothing is downloaded when it is `offline`.
    """

    path: str
    parameters: Any
    data_dir: Path | None
    cache: Path
    progress: Progress | None
    offline: bool = False


class Prepared(Struct, frozen=True, eq=False, kw_only=True):
    """What a source makes: train, validation and test rows, and how they are to be described.

    The fields are those of `Description`.
    """

    card: Card
    task: Task
    splits: tuple[Split, Split, Split]
    num_classes: int | None = None
    feature_names: tuple[str, ...] = ()
    target_mean: float = 0.0
    target_scale: float = 1.0
    class_names: tuple[str, ...] = ()
    test_lines: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()


class NoParameters(Struct, frozen=True, forbid_unknown_fields=True):
    """The query of a dataset that takes none."""


def table_request(path: str, parameters: Any) -> Request:
    """Return the request of a table, which needs no more than its path and parameters."""
    return Request(path, parameters, None, Path(), None, offline=True)


def no_files(request: Request) -> list[File]:
    """Read nothing: the data are generated, or come out of an installed package."""
    return []


class Source(Struct, frozen=True, kw_only=True):
    """One dataset: its card, its files, and the function that prepares the arrays.

    `parameters` is the type of the query, with its defaults; `usage` shows it in errors.
    """

    card: Card
    usage: str
    prepare: Callable[[Any, list[File]], Prepared]
    read: Callable[[Request], list[File]] = no_files
    parameters: type[Struct] = NoParameters
