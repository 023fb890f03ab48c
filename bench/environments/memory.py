"""What a backend says of itself, remembered until something changes that it depends on.

Called by `bakeoff list`: to ask is to import a framework, which takes seconds.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path

import msgspec

from ...datasets.loading import cache_folder
from ..worker.describe import Description
from ..worker.files import write_whole
from .code import digest
from .find import Backend, describe, packages
from .machine import look


def recall(backend: Backend) -> Description | str:
    """Return what `describe` says, or what it said of the same; what is broken is asked anew."""
    path = cache_folder() / "backends" / f"{_identity(backend)}.json"
    with suppress(OSError, ValueError):  # not there, or damaged
        return msgspec.json.decode(path.read_bytes(), type=Description)
    described = describe(backend)
    if isinstance(described, Description):
        with suppress(OSError):  # a cache that cannot be written is no error
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, msgspec.json.encode(described))
    return described


def _identity(backend: Backend) -> str:
    """Return the hash of what an answer depends on: our code, the interpreter and its packages, the
    variables that frameworks read, the devices that are there.
    """
    assert backend.python
    python = Path(backend.python)
    state = python.stat()
    gpus = sorted(str(path) for path in Path("/dev").glob("nvidia*"))
    parts = [
        *(digest(), backend.adapter, str(python), state.st_mtime_ns, state.st_size),
        *(packages(backend.python), sorted(look().variables.items()), gpus),
    ]
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()
