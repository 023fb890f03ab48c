"""`bakeoff explain`: what a word means here, under its name here or in another framework."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any, get_args

import msgspec
from msgspec.structs import FieldInfo

from ... import models
from ...datasets.catalogue import SOURCES
from ...models import InputError
from ...models.initializers import Initializer
from ...models.layers import Layer
from ...models.losses import Loss
from ...models.optimizers import Optimizer
from ...models.schedules import Schedule
from ...models.synonyms import hint, meant
from ...models.words import Claims, words
from .. import workload
from ..printing import Screen
from ..worker import metrics

_CONSTRUCTS = {
    "layer": Layer,
    "loss": Loss,
    "optimizer": Optimizer,
    "schedule": Schedule,
    "initializer": Initializer,
}
_Meanings = dict[str, dict[str, str]]  # by the word, what it is, and the text


def explain(word: str, screen: Screen) -> None:
    """Print all that a word means: of a construct the docstring, which is its norm, and its fields;
    of a field, a metric or a dataset likewise. InputError if unknown.
    """
    known = _meanings()
    words = [word] if word in known else meant(word, known)
    if not words:
        raise InputError(_unknown(word, known))
    if words != [word]:
        screen.say(f"{word} is {' or '.join(words)} here.\n")
    for place, name in enumerate(words):
        for number, (what, text) in enumerate(known[name].items()):
            if place or number:
                screen.say(f"\n{name}, the {what}:")
            screen.say(text)


def _unknown(word: str, known: _Meanings) -> str:
    if word in {*models.zoo(), *workload.names()}:
        return f'"{word}" is no construct: bakeoff show {word} shows it'
    listed = [name for name, meanings in known.items() if meanings.keys() != {"field"}]
    return (
        f'nothing is called "{word}": {hint(word, known)}known: {", ".join(listed)}, and the '
        "fields of each"
    )


def _meanings() -> _Meanings:
    found: _Meanings = {}
    kinds = {spec: what for what, union in _CONSTRUCTS.items() for spec in get_args(union)}
    for name, word in words().items():
        texts = [_norm(norm) for norm in word.norms]
        texts[-1] = "\n".join([texts[-1], *_elsewhere(word.claims)])
        found[name] = dict(zip((kinds.get(n, "word") for n in word.norms), texts, strict=True))
    for task, names in metrics.METRICS.items():
        for name in names:
            found.setdefault(name, {})["metric"] = f"{task}: {_doc(getattr(metrics, task))}"
    for name, source in SOURCES.items():
        card = msgspec.structs.asdict(source.card) | {"usage": source.usage}
        lines = (f"{field}: {text}" for field, text in card.items())
        found.setdefault(name, {})["dataset"] = "\n".join(lines)
    return {name: {"field": text} for name, text in _fields()} | found


def _elsewhere(claims: Claims) -> Iterator[str]:
    """Yield a line for each claim on a framework; what is not installed has no check."""
    if claims:
        yield "\nElsewhere:"
        width = max(map(len, claims))
    for framework, of_it in claims.items():
        for claim, check in of_it.items():
            yield f"  {framework:{width}}  {claim}{'' if check else ' (not checked)'}"


def _norm(spec: Any) -> str:
    fields = msgspec.structs.fields(spec) if isinstance(spec, type) else ()
    lines = [f"  {_field(field)}" for field in fields]
    return "\n".join([_doc(spec), *(["", "Fields:", *lines] if lines else [])])


def _fields() -> Iterator[tuple[str, str]]:
    """Yield every field by name: who has it, and the text of who brought it in."""
    specs = [spec for union in _CONSTRUCTS.values() for spec in get_args(union)]
    for name in dict.fromkeys(name for spec in specs for name in spec.__struct_fields__):
        owners = [spec for spec in specs if name in spec.__struct_fields__]
        tags = ", ".join(spec.__struct_config__.tag for spec in owners)
        sources = dict.fromkeys(_source(spec, name) for spec in owners)
        texts = dict.fromkeys(text for source in sources if (text := _doc(source)))
        yield name, "\n\n".join([f"{name}: a field of {tags}.", *texts])


def _source(spec: type, field: str) -> type:
    """Return the class that a field of `spec` comes from."""
    return next(base for base in spec.__mro__ if field in inspect.get_annotations(base))


def _doc(thing: object) -> str:
    """Return the docstring; of a class that has none of its own, that of its module."""
    own = thing.__dict__.get("__doc__") if isinstance(thing, type) else thing.__doc__
    return inspect.cleandoc(own) if own else inspect.getdoc(inspect.getmodule(thing)) or ""


def _field(field: FieldInfo) -> str:
    return field.name if field.required else f"{field.name} = {field.default}"
