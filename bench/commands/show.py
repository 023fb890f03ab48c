"""What there is, in tables: `bakeoff list` and `bakeoff show`."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
from msgspec import Struct
from msgspec.structs import FieldInfo
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ... import models
from ...backends import NAMES
from ...datasets import CARDS
from ...datasets.dataset import Card
from ...models import InputError, Model, Node, cost
from ...models.layers import Layer
from ...models.losses import Loss
from ...models.optimizers import Optimizer
from ...models.shapes import show
from ...models.toml import closest
from ...models.words import Claims, words
from .. import workload
from ..environments.find import Backend, describe, find
from ..worker.describe import Description
from ..workload import Workload
from . import data


def print_all(console: Console) -> None:
    """Print workloads, models, datasets and backends."""
    _print_rows(console, "workload", ["model", "dataset", "description"], _workload_rows())
    _print_rows(console, "model", ["input", "parameters", "description"], _model_rows())
    _print_rows(console, "dataset", ["size", "what"], _dataset_rows())
    with console.status("asking each backend in its own interpreter"):
        rows = [_backend_row(find(name, {})) for name in NAMES]
    _print_rows(console, "backend", ["version", "devices", "modes", "interpreter"], rows)


def print_one(name: str, console: Console) -> None:
    """Print a workload with its model, a model, or a dataset's card. InputError if unknown."""
    if name in workload.names():
        _print_workload(workload.read(name), console)
    elif name in models.zoo():
        _print_model(models.read(name), console)
    elif name in CARDS:
        _print_card(CARDS[name], console)
    elif name.endswith(".toml"):
        _print_file(name, console)
    elif data.is_data(name):
        data.print_data(name, console)
    else:
        known = sorted({*workload.names(), *models.zoo(), *CARDS})
        raise InputError(
            f'nothing is called "{name}": {closest(name, known)}, or a path to a .toml'
        )


def explain(word: str, console: Console) -> None:
    """Print the norm of a word, its fields, and what frameworks do. InputError if unknown."""
    known = words()
    if word not in known:
        raise InputError(f'no construct "{word}": {closest(word, known)}')
    parts = ["\n".join(_norm(norm)) for norm in known[word].norms]
    if claims := known[word].claims:
        parts.append("\n".join(["Elsewhere:", *_elsewhere(claims)]))
    console.print("\n\n".join(parts), markup=False, highlight=False, soft_wrap=True)


def _norm(norm: Any) -> list[str]:
    """Return a docstring and, of a spec, its fields."""
    fields = msgspec.structs.fields(norm) if isinstance(norm, type) else ()
    listed = [f"  {_field(field)}" for field in fields]
    return [str(inspect.getdoc(norm)), *(["", "Fields:", *listed] if listed else [])]


def _elsewhere(claims: Claims) -> Iterator[str]:
    """Yield a line for each claim on a framework; what is not installed has no check."""
    width = max(map(len, claims))
    for framework, of_it in claims.items():
        for claim, check in of_it.items():
            yield f"  {framework:{width}}  {claim}{'' if check else ' (not checked)'}"


def _field(field: FieldInfo) -> str:
    return field.name if field.required else f"{field.name} = {field.default}"


def _print_file(path: str, console: Console) -> None:
    """Print a user's own file: a model has layers at its top level, a workload has a dataset."""
    if workload.looks_like_model(Path(path)):
        _print_model(models.read(path), console)
    else:
        _print_workload(workload.read(path), console)


def _print_workload(work: Workload, console: Console) -> None:
    target = "" if work.target is None else f", target {work.target:g}"
    console.print(
        f"workload {work.name}: {work.description}\n"
        f"dataset {work.dataset}, batch size {work.batch_size}, {work.epochs} epochs, "
        f"metric {work.metric}{target}\n",
        markup=False,
        highlight=False,
    )
    _print_model(work.model, console)
    data.print_fit(work, console)


def _print_model(model: Model, console: Console) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("layer", "type", "output"):
        table.add_column(heading, no_wrap=True)
    for heading in ("parameters", "FLOPs forward", "FLOPs training"):
        table.add_column(heading, justify="right")
    for node in model.walk():
        table.add_row(*_layer_row(node))
    total = model.cost
    table.add_section()
    table.add_row("per sample", "", show(model.output_shape), *_cost_cells(total))
    lines = [f"model {model.name}: {model.description}", f"input {show(model.input)}"]
    console.print("\n".join(lines), markup=False, highlight=False)
    console.print(table)
    for what, spec in (("loss", model.loss), ("optimizer", model.optimizer)):
        console.print(f"{what} {_words(spec)}", markup=False, highlight=False)


def _words(spec: Struct) -> str:
    """Return a loss or an optimizer in words: `sgd learning_rate=0.5 momentum=0.875`."""
    words = [str(spec.__struct_config__.tag)]
    for name, value in msgspec.structs.asdict(spec).items():
        if isinstance(value, Struct):
            words.append(f"{name}=({_words(value)})")
        elif value is not None:
            words.append(f"{name}={value:g}")
    return " ".join(words)


def _layer_row(node: Node[Layer]) -> list[str]:
    return [escape(node.key), node.type, show(node.output_shape), *_cost_cells(cost(node))]


def _cost_cells(costs: models.Cost) -> list[str]:
    return [f"{costs.parameters:,}", f"{costs.forward_flops:,}", f"{costs.training_flops:,}"]


def _print_card(card: Card, console: Console) -> None:
    for field in card.__struct_fields__:
        console.print(f"[bold]{field}[/bold]  {escape(getattr(card, field))}", highlight=False)


def _workload_rows() -> list[list[str]]:
    works = [workload.read(name) for name in workload.names()]
    return [[w.name, w.model.name, w.dataset, w.description] for w in works]


def _model_rows() -> list[list[str]]:
    zoo = [models.read(name) for name in models.zoo()]
    return [[m.name, show(m.input), f"{m.cost.parameters:,}", m.description] for m in zoo]


def _dataset_rows() -> list[list[str]]:
    return [[name, card.size, card.title] for name, card in CARDS.items()]


def _backend_row(backend: Backend) -> list[str]:
    if backend.python is None:
        return [backend.name, "-", "-", "-", f"{backend.reason}; make one: {backend.fix}"]
    described = describe(backend)
    place = f"{backend.python} ({backend.source})"
    if isinstance(described, str):
        return [backend.name, "broken", "-", "-", f"{place}: {described}"]
    return [
        backend.name,
        described.version,
        " ".join(described.devices),
        " ".join(described.modes),
        place,
    ]


def _print_rows(console: Console, what: str, headings: list[str], rows: list[list[str]]) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(what, no_wrap=True)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    console.print(table)


def support_matrix() -> str:
    """Return what each backend supports, as Markdown, from the adapters' own tables.

    Raises InputError unless every backend has an interpreter that works.
    """
    described = {name: _described(name) for name in NAMES}
    rows = [
        ["version", *(d.version.partition("+")[0] for d in described.values())],
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
        listed = {**description.gaps, **description.deviations}
        for reason in dict.fromkeys(listed.values()):
            words = ", ".join(word for word, why in listed.items() if why == reason)
            yield f"- {name}, {words}: {reason}\n"
