"""Decode a TOML file into a frozen type, with errors that are one line and say where."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, TypeVar, get_args

import msgspec

from .errors import InputError
from .initializers import Initializer
from .layers import Layer
from .losses import Loss
from .optimizers import Optimizer
from .schedules import Schedule

T = TypeVar("T")

_UNIONS: dict[str, Any] = {
    "layers": Layer,
    "body": Layer,
    "shortcut": Layer,
    "paths": Layer,
    "loss": Loss,
    "optimizer": Optimizer,
    "schedule": Schedule,
    "weight_initializer": Initializer,
    "recurrent_initializer": Initializer,
    "bias_initializer": Initializer,
}


def decode(file: Path | Traversable, kind: type[T]) -> T:
    """Read `file` as a `kind`; InputError names the file, the place and what is legal there."""
    try:
        return msgspec.toml.decode(file.read_bytes(), type=kind)
    except msgspec.MsgspecError as error:
        raise InputError(f"{file}: {_with_legal_types(str(error))}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: not UTF-8 ({error.reason} at byte {error.start})") from None
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror})") from None


def closest(name: str, known: Iterable[str]) -> str:
    """Return the end of an error on an unknown name: the nearest known one, and them all."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"{hint}known: {', '.join(known)}"


def _with_legal_types(message: str) -> str:
    place = re.fullmatch(r"Invalid value '(.*)' - at `\$?(.*?)(?:\[[\d.]+\])?\.type`", message)
    field = place[2].rpartition(".")[2] if place else ""
    if not place or field not in _UNIONS:
        return message
    tags = [member.__struct_config__.tag for member in get_args(_UNIONS[field])]
    return f"{message}: {closest(place[1], tags)}"


def plain(value: Any) -> Any:
    """Return a Struct as plain data that TOML can hold: it has no nulls."""
    value = msgspec.to_builtins(value)
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if v is not None}
    return [plain(v) for v in value] if isinstance(value, list | tuple) else value
