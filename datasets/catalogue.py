"""The table of all datasets, and how a name with its query finds one."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import msgspec
from msgspec import Struct
from msgspec.structs import fields, replace

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
    path = path.replace("%3F", "?")  # a path may hold what begins a query
    source = SOURCES.get(key)
    if source is None or (":" in base) != (key == "csv"):
        raise _unknown(base, key)
    parameters = _parameters(name, query, source)
    return Choice(_spelled(base, parameters), source, path, parameters)


def placed(name: str, folder: Path, vocabulary: int = 0) -> str:
    """Return the name of a dataset whose relative paths are of this folder, if it has any.

    A table gets the `vocabulary` of the embedding that its columns feed, if it is not 0.
    """
    choice = choose(name)
    if choice.source is not csv.SOURCE:
        return name
    test = choice.parameters.test
    parameters = replace(
        choice.parameters,
        test=str(csv.place(test, folder)) if test else "",
        ids=vocabulary or choice.parameters.ids,
    )
    return table_name(str(csv.place(choice.path, folder)), parameters)


def table_name(path: str, parameters: csv.Parameters) -> str:
    """Return the name of a table as a dataset."""
    return _spelled(f"csv:{path.replace('?', '%3F')}", parameters)


def _spelled(base: str, parameters: Struct) -> str:
    given = msgspec.to_builtins(parameters)
    query = "&".join(f"{field}={_quoted(value)}" for field, value in given.items())
    return f"{base}?{query}" if query else base


def _quoted(value: object) -> str:
    if isinstance(value, list | tuple):
        return ",".join(quote(str(each), safe="") for each in value)
    return quote(str(value))


def _unknown(base: str, key: str) -> InputError:
    close = difflib.get_close_matches(key, SOURCES, n=1)
    advice = f"did you mean {SOURCES[close[0]].usage}?" if close else "choose one of these"
    return InputError(f'unknown dataset "{base}", expected one of {", ".join(SOURCES)}; {advice}')


def _parameters(name: str, query: str, source: Source) -> Any:
    """Return the query as the type that the source declares, its texts converted."""
    lists = {f.name for f in fields(source.parameters) if isinstance(f.default, tuple)}
    values: dict[str, str | list[str]] = {}
    for item in query.split("&") if query else ():
        field, equals, value = item.partition("=")
        if not equals or field in values:
            problem = "appears twice" if equals else "has no value"
            raise InputError(f'dataset "{name}": "{field}" {problem}, expected {source.usage}')
        values[field] = unquote(value)
        if field in lists:
            values[field] = [unquote(each) for each in value.split(",")]
    try:
        return msgspec.convert(values, source.parameters, strict=False)
    except msgspec.ValidationError as error:
        raise InputError(f'dataset "{name}": {error}; expected {source.usage}') from error
