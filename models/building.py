"""What is built in Python: held to what a file is held to, and written as one."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct, structs

from .errors import InputError

_fields = cache(structs.fields)


def settle(built: Struct) -> None:
    """Make the fields of a Struct what a file would have made them: a list is a tuple then, an
    integer a float where that is expected. InputError says what cannot be one.

    msgspec checks what it decodes, not what is built; `__post_init__` calls this.
    """
    for field in _fields(type(built)):
        try:
            plain = msgspec.to_builtins(getattr(built, field.name), enc_hook=_plain)
            value = msgspec.convert(plain, field.type)
        except msgspec.ValidationError as error:
            message, _, place = str(error).partition(" - at `$")
            raise InputError(f"{message} - at `{field.name}{place or '`'}") from None
        except RecursionError:
            raise InputError(f"`{field.name}` is nested too deep") from None
        structs.force_setattr(built, field.name, value)


def to_toml(spec: Struct) -> str:
    """Return a spec as a file that reads as the same: what is a default is left out."""
    return msgspec.toml.encode(_without_defaults(spec)).decode()


def in_words(spec: Struct) -> str:
    """Return a loss or an optimizer in words: `sgd learning_rate=0.5 momentum=0.875`."""
    return _worded(msgspec.to_builtins(spec))


def layer_in_words(layer: Struct) -> str:
    """Return a layer likewise, without its name, the layers inside it, and what is a default."""
    said = _without_defaults(layer)
    own = {name: value for name, value in said.items() if name not in ("name", "body", "shortcut")}
    return _worded(own)


def _worded(said: dict[str, Any]) -> str:
    words = [said["type"]]
    for name, value in said.items():
        if isinstance(value, dict):
            words.append(f"{name}=({_worded(value)})")
        elif value is not None and name != "type":
            shown = f"{value:g}" if isinstance(value, int | float) else value
            words.append(f"{name}={shown}")
    return " ".join(words)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    hint = f"; write {value.__name__}(...)" if isinstance(value, type) else ""
    raise InputError(f"{value!r} cannot stand in a spec{hint}")


def _without_defaults(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_without_defaults(item) for item in value]
    if not isinstance(value, Struct):
        return value
    config = value.__struct_config__
    table = {config.tag_field: config.tag} if config.tag_field else {}
    for field in _fields(type(value)):
        inner = getattr(value, field.name)
        if field.required or inner != field.default:
            table[field.encode_name] = _without_defaults(inner)
    return table
