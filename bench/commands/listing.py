"""`bakeoff list`: what there is, as tables or as JSON; and what each backend supports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import get_args

from rich import box
from rich.markup import escape
from rich.table import Table

from ... import models
from ...backends import NAMES, typical
from ...datasets import CARDS
from ...models import InputError
from ...models.layers import Layer
from ...models.losses import Loss
from ...models.optimizers import Optimizer
from ...models.shapes import show
from ...models.synonyms import closest
from .. import workload
from ..environments.find import describe, find
from ..environments.install import look, there, versions_there
from ..environments.memory import recall
from ..printing import Screen, write_json
from ..worker.describe import Description
from .install import told, what_to_do

_Rows = Sequence[Mapping[str, str | int]]


def print_all(what: str | None, screen: Screen, *, as_json: bool) -> None:
    """Print workloads, models, datasets and backends, or one of the four. InputError."""
    if what is not None and what not in _LISTED:
        raise InputError(f'nothing to list is called "{what}": {closest(what, _LISTED)}')
    listed = {}
    for kind in [what] if what else _LISTED:
        with screen.status(f"looking for {kind}"):
            listed[kind] = _LISTED[kind]()
        if not as_json:
            _print_rows(listed[kind], screen)
    for now in map(look, there()):
        if "backends" in listed and not as_json and now.state != "ready":
            screen.say(f"{now.name}: its environment is {told(now)}; run: {what_to_do(now)}")
    if as_json:
        write_json(listed)


def _workloads() -> _Rows:
    works = [workload.read(name) for name in workload.names()]
    return [
        {
            "workload": w.name,
            "model": w.model.name,
            "dataset": w.dataset,
            "description": w.description,
        }
        for w in works
    ]


def _models() -> _Rows:
    zoo = [models.read(name) for name in models.zoo()]
    return [
        {
            "model": m.name,
            "input": show(m.input),
            "parameters": m.cost.parameters,
            "description": m.description,
        }
        for m in zoo
    ]


def _datasets() -> _Rows:
    return [{"dataset": name, "size": c.size, "what": c.title} for name, c in CARDS.items()]


def _backends() -> _Rows:
    with ThreadPoolExecutor() as pool:  # each in its own interpreter
        return list(pool.map(_backend, (*NAMES, *versions_there())))


def _backend(name: str) -> dict[str, str | int]:
    backend = find(name, {})
    unknown = dict.fromkeys(("version", "devices", "modes", "typical"), "-")
    row: dict[str, str | int] = {"backend": name, **unknown}
    if backend.python is None:
        return row | {"interpreter": f"{backend.reason}; make one: {backend.fix}"}
    described = recall(backend)
    place = f"{backend.python} ({backend.source})"
    if isinstance(described, str):
        return row | {"version": "broken", "interpreter": f"{place}: {described}"}
    return {
        "backend": name,
        "version": described.version,
        "devices": " ".join(described.devices),
        "modes": " ".join(described.modes),
        "typical": typical(backend.adapter)[0],
        "interpreter": place,
    }


_LISTED = {
    "workloads": _workloads,
    "models": _models,
    "datasets": _datasets,
    "backends": _backends,
}


def _print_rows(rows: _Rows, screen: Screen) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading, value in rows[0].items():
        is_number = isinstance(value, int)
        first = heading == next(iter(rows[0]))
        table.add_column(
            heading, no_wrap=first, overflow="fold", justify="right" if is_number else "left"
        )
    for row in rows:
        cells = (f"{cell:,}" if isinstance(cell, int) else escape(cell) for cell in row.values())
        table.add_row(*cells)
    screen.print(table)


def support_matrix() -> str:
    """Return what each backend supports, as Markdown, from the adapters' own tables.

    Raises InputError unless every backend has an interpreter that works.
    """
    described = {name: _described(name) for name in NAMES}
    rows = [
        ["version", *(d.version.partition("+")[0] for d in described.values())],
        ["typical mode", *(typical(name)[0] for name in described)],
        *(
            [word, *(_supports(d, word) for d in described.values())]
            for word in ("eager", "compiled", "float32", "float64", *_vocabulary())
        ),
    ]
    lines = [["", *NAMES], ["---"] * (len(NAMES) + 1), *rows]
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    return f"{table}\n{''.join(_reasons(described))}"


def _described(name: str) -> Description:
    backend = find(name, {})
    if backend.python is None:
        raise InputError(f"{name}: {backend.reason}; run: {backend.fix}")
    described = describe(backend)
    if isinstance(described, str):
        raise InputError(f"{name}: {backend.python}: {described}; run: bakeoff install {name}")
    return described


def _vocabulary() -> list[str]:
    unions = (Layer, Loss, Optimizer)
    return [spec.__struct_config__.tag for union in unions for spec in get_args(union)]


def _supports(described: Description, word: str) -> str:
    if word in described.gaps:
        return "no"
    modes = [mode for mode in described.modes if f"{word} ({mode})" not in described.gaps]
    return "yes" if modes == described.modes else f"{' '.join(modes)} only"


def _reasons(described: dict[str, Description]) -> Iterator[str]:
    """Yield each reason once, with all that it is the reason for."""
    for name, description in described.items():
        mode, why = typical(name)
        yield f"- {name}, typically {mode}: {why}\n"
        listed = {**description.gaps, **description.deviations}
        for reason in dict.fromkeys(listed.values()):
            words = ", ".join(word for word, why in listed.items() if why == reason)
            yield f"- {name}, {words}: {reason}\n"
