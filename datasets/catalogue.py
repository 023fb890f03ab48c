"""The table of all datasets, and how a name with its query finds one."""

from __future__ import annotations

import difflib
from typing import Any
from urllib.parse import quote, unquote

import msgspec
from msgspec import Struct

from ..models.errors import InputError
from . import (
    boston,
    breast_cancer,
    csv,
    diabetes,
    digits,
    fashion_mnist,
    line,
    mnist,
    mnist_5k,
    synthetic_images,
    synthetic_sequences,
    synthetic_table,
)
from .dataset import Card
from .source import Source

SOURCES: dict[str, Source] = {
    "boston": boston.SOURCE,
    "diabetes": diabetes.SOURCE,
    "breast-cancer": breast_cancer.SOURCE,
    "digits": digits.SOURCE,
    "mnist-5k": mnist_5k.SOURCE,
    "mnist": mnist.SOURCE,
    "fashion-mnist": fashion_mnist.SOURCE,
    "line": line.SOURCE,
    "synthetic-images": synthetic_images.SOURCE,
    "synthetic-sequences": synthetic_sequences.SOURCE,
    "synthetic-table": synthetic_table.SOURCE,
    "csv": csv.SOURCE,
}

CARDS: dict[str, Card] = {name: source.card for name, source in SOURCES.items()}


class Choice(Struct, frozen=True):
    """A dataset that a name chose.

    `name` is the canonical spelling, without what is default; `path` is that of `csv:PATH`.
    """

    name: str
    source: Source
    path: str
    parameters: Any


def choose(name: str) -> Choice:
    """Find the dataset of a name such as `synthetic-table?samples=99`; raises InputError."""
    base, _, query = name.partition("?")
    key, _, path = base.partition(":")
    source = SOURCES.get(key)
    if source is None or (":" in base) != (key == "csv"):
        raise _unknown(base, key)
    parameters = _parameters(name, query, source)
    given = msgspec.to_builtins(parameters)
    canonical = "&".join(f"{field}={quote(str(value))}" for field, value in given.items())
    return Choice(f"{base}?{canonical}" if canonical else base, source, path, parameters)


def _unknown(base: str, key: str) -> InputError:
    close = difflib.get_close_matches(key, SOURCES, n=1)
    advice = f"did you mean {SOURCES[close[0]].usage}?" if close else "choose one of these"
    return InputError(f'unknown dataset "{base}", expected one of {", ".join(SOURCES)}; {advice}')


def _parameters(name: str, query: str, source: Source) -> Any:
    """Return the query as the type that the source declares, its texts converted."""
    values: dict[str, str] = {}
    for item in query.split("&") if query else ():
        field, equals, value = item.partition("=")
        if not equals or field in values:
            problem = "appears twice" if equals else "has no value"
            raise InputError(f'dataset "{name}": "{field}" {problem}, expected {source.usage}')
        values[field] = unquote(value)
    try:
        return msgspec.convert(values, source.parameters, strict=False)
    except msgspec.ValidationError as error:
        raise InputError(f'dataset "{name}": {error}; expected {source.usage}') from error
