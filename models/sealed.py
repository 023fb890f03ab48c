"""JSON and TOML that show their damage: each begins with the hash of the rest of it."""

from __future__ import annotations

import hashlib
import re
import zlib
from tokenize import TokenError
from typing import Any, TypeVar
from zipfile import BadZipFile

import msgspec

T = TypeVar("T")

# What NumPy and zipfile raise for an array file that is damaged, beside OSError.
UNREADABLE = (
    *(ValueError, EOFError, LookupError, RuntimeError, MemoryError, TypeError, AttributeError),
    *(SyntaxError, OverflowError, TokenError, BadZipFile, zlib.error),
)

_JSON = re.compile(rb'\{"seal":"([0-9a-f]{64})",')
_TOML = re.compile(rb'seal = "([0-9a-f]{64})"\n')


def encode(value: Any) -> bytes:
    """Return a Struct as JSON, sealed."""
    body = msgspec.json.encode(value)
    return b'{"seal":"%s",' % _sha256(body) + body[1:]


def decode(content: bytes, kind: type[T]) -> T:
    """Read what `encode` wrote; what has no seal is taken as it is. Raises ValueError."""
    if seal := _JSON.match(content):
        content = b"{" + content[seal.end() :]
        _check(content, seal[1])
    try:
        return msgspec.json.decode(content, type=kind)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def seal_toml(content: bytes) -> bytes:
    """Return the content of a TOML file with its seal as the first line."""
    return b'seal = "%s"\n' % _sha256(content) + content


def check_toml(content: bytes) -> None:
    """Raise ValueError if a TOML file has a seal that is not its own."""
    if seal := _TOML.match(content):
        _check(content[seal.end() :], seal[1])


def _check(content: bytes, seal: bytes) -> None:
    if _sha256(content) != seal:
        raise ValueError("it is not what was written: its seal does not match")


def _sha256(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()
