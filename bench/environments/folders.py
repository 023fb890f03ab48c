"""Whose a folder of a run or a benchmark is, and what may be done in it.

What was asked lies in it as a file that anybody may have written. One that was written here is
known by its hash, which is kept in the user's cache; of any other neither interpreters nor adapters
are taken, and nothing is written outside of it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import tomli_w
from msgspec import Struct

from ...backends import NAMES, framework
from ...datasets.loading import cache_folder
from ...models import InputError, sealed
from ...models.toml import decode, plain
from ..worker.files import write_whole
from . import code
from .find import Backend, find, is_alias

S = TypeVar("S", bound=Struct)


class OtherVersionError(InputError):
    """A folder that another version of bakeoff made, which this one does not read."""


class _Header(Struct, frozen=True):
    schema_version: int
    bakeoff_version: str


def write_asked(path: Path, spec: Struct) -> None:
    """Write what was asked, sealed, and remember that it was written on this machine."""
    content = sealed.seal_toml(tomli_w.dumps(plain(spec)).encode())
    write_whole(path, content)
    note = _note(content)
    with suppress(OSError):
        note.parent.mkdir(parents=True, exist_ok=True)
        note.touch()


def read_asked(
    path: Path, kind: type[S], version: int, check: Callable[[S], None], *, what: str
) -> S:
    """Read what `write_asked` wrote, by a schema of this version; `check` raises ValueError.

    Raises InputError; OtherVersionError for another schema, whatever its fields are.
    """
    header = decode(path, _Header)
    if header.schema_version != version:
        raise OtherVersionError(
            f"{path.parent} has schema version {header.schema_version}, this bakeoff reads "
            f"{version}; use bakeoff {header.bakeoff_version}"
        )
    spec = decode(path, kind)
    try:
        sealed.check_toml(path.read_bytes())
        check(spec)
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}; start a new {what}") from None
    return spec


def is_own(path: Path) -> bool:
    """Say whether a file was written here and is what it was."""
    return _note(path.read_bytes()).exists()


def _note(content: bytes) -> Path:
    return cache_folder() / "asked" / hashlib.sha256(content).hexdigest()


def check_names(names: Iterable[str]) -> None:
    """Raise ValueError for a name that is not that of a file in a folder."""
    for name in names:
        if name in ("", ".", "..") or any(c in "/\\\0" for c in name):
            raise ValueError(f'"{name}" cannot be the name of a folder')


def check_confined(folder: Path) -> None:
    """Raise InputError if what is written in the folder would be written elsewhere."""
    for place, inside, files in os.walk(folder):
        beside = files if Path(place) == folder else []
        for path in (Path(place, name) for name in [*inside, *beside]):
            if path.is_symlink():
                raise InputError(
                    f"{path} is a symbolic link, and leads out of where it lies; "
                    "put what it leads to in its place, or start anew"
                )


def check_code(sha256: str, made_by: str) -> None:
    """Raise InputError unless the code of a folder is that of this installation, which is run."""
    if code.digest() != sha256:
        raise InputError(
            f"it was begun with other code than this installation has (then bakeoff {made_by}); "
            "go on with that installation, or start anew"
        )


def interpreters(
    backends: Sequence[Backend],
    pythons: Mapping[str, Path],
    tell: Callable[[str], object],
    *,
    own: bool,
) -> list[Backend]:
    """Return the backends with the interpreters that they go on with: `--python`, or else what they
    had if it was chosen here, or else what this machine has. Raises InputError.
    """
    if unknown := pythons.keys() - {backend.name for backend in backends}:
        raise InputError(f"--python {min(unknown)}=...: no such backend in it")
    return [_interpreter(backend, pythons, tell, own=own) for backend in backends]


def _interpreter(
    then: Backend, pythons: Mapping[str, Path], tell: Callable[[str], object], *, own: bool
) -> Backend:
    if not then.python or (own and then.name not in pythons):
        return then
    if not own and then.adapter not in NAMES:
        raise InputError(
            f"{then.name}: the adapter {then.adapter} was not chosen on this machine, and is not "
            f"run; start anew with --backend {then.adapter} if you trust it"
        )
    if is_alias(then.name) and then.name not in pythons:
        raise InputError(f"{then.name}: give its interpreter: --python {then.name}=PATH")
    now = find(then.name if framework(then.name) == then.adapter else then.adapter, pythons)
    if not now.python:
        raise InputError(f"{then.name}: {now.reason}; run: {now.fix}")
    if now.python != then.python:
        tell(f"{then.name}: goes on with {now.python}; it had {then.python}")
    return now
