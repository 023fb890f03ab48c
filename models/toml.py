"""Decode a TOML file into a frozen type, with errors that are one line and say where."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from .errors import InputError
from .synonyms import closest, meant

T = TypeVar("T")

_AT = r"(?: - at `\$(.*)`)?"  # where msgspec says that something is wrong: `$.layers[2].units`
_UNKNOWN_FIELD = re.compile(rf"Object contains unknown field `(.*?)`{_AT}")
_UNKNOWN_TYPE = re.compile(r"Invalid value '(.*)' - at `\$(.*)\.type`")
_NO_TYPE = re.compile(rf"Object missing required field `type`{_AT}")
_NO_TABLE = re.compile(rf"Expected `object`, got `str`{_AT}")


def decode(file: Path | Traversable, kind: type[T]) -> T:
    """Read `file` as a `kind`; InputError names the file, the place and what is legal there."""
    content = _read(file)
    data: Any = None
    try:
        data = msgspec.toml.decode(content)
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        raise InputError(f"{file}: {_explained(str(error), data, kind)}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: not UTF-8 ({error.reason} at byte {error.start})") from None
    except ValueError as error:  # no TOML, or a number that no integer can be
        raise InputError(f"{file}: {error}") from None
    except RecursionError:
        raise InputError(f"{file}: nested too deeply; expected a few levels") from None


def _read(file: Path | Traversable) -> bytes:
    try:
        if isinstance(file, Path) and (file.is_char_device() or file.is_fifo()):
            raise OSError(0, "it has no end")
        return file.read_bytes()
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror})") from None
    except ValueError as error:  # a name that no file can have
        raise InputError(f"{str(file)!r}: cannot be read ({error})") from None


def _explained(message: str, data: Any, kind: Any) -> str:
    """Add to an error what is legal at its place, and what of that may have been meant."""
    if unknown := _UNKNOWN_FIELD.fullmatch(message):
        here = _struct(*_place(kind, data, unknown[2]))
        return f"{message}: {closest(unknown[1], [field.encode_name for field in here.fields])}"
    if wrong := _UNKNOWN_TYPE.fullmatch(message):
        return f"{message}: {closest(wrong[1], _tags(_place(kind, data, wrong[2])[0]))}"
    if bare := _NO_TYPE.fullmatch(message):
        return f"{message}; known: {', '.join(_tags(_place(kind, data, bare[1])[0]))}"
    if text := _NO_TABLE.fullmatch(message):
        where, value = _place(kind, data, text[1])
        if tags := _tags(where):
            likely = (meant(value, tags) or [value])[0]
            return f'{message}; write {{ type = "{likely}" }}'
    return message


def _place(kind: Any, data: Any, path: str | None) -> tuple[inspect.Type, Any]:
    """Follow a path such as `.layers[2]`: return which type is expected there, and what is."""
    here = inspect.type_info(kind)
    for name, index in re.findall(r"\.(\w+)|\[(\d+)\]", path or ""):
        if name:
            fields = _struct(here, data).fields
            here = next(field.type for field in fields if field.encode_name == name)
            data = data[name]
        else:
            here = next(t.item_type for t in _members(here) if hasattr(t, "item_type"))
            data = data[int(index)]
    return here, data


def _struct(expected: inspect.Type, data: Any) -> inspect.StructType:
    structs = list(_structs(expected))
    return next(s for s in structs if len(structs) == 1 or s.tag == data.get("type"))


def _structs(expected: inspect.Type) -> Iterator[inspect.StructType]:
    return (member for member in _members(expected) if isinstance(member, inspect.StructType))


def _members(expected: inspect.Type) -> tuple[inspect.Type, ...]:
    return expected.types if isinstance(expected, inspect.UnionType) else (expected,)


def _tags(expected: inspect.Type) -> list[str]:
    return [str(struct.tag) for struct in _structs(expected) if struct.tag]


def plain(value: Any) -> Any:
    """Return a Struct as plain data that TOML can hold: it has no nulls."""
    value = msgspec.to_builtins(value)
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if v is not None}
    return [plain(v) for v in value] if isinstance(value, list | tuple) else value
