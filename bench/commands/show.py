"""`bakeoff show`: one model, workload or dataset in full."""

from __future__ import annotations

from pathlib import Path

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ... import models
from ...datasets import CARDS
from ...datasets.dataset import Card
from ...models import InputError, Model, Node, cost
from ...models.building import in_words
from ...models.layers import Layer
from ...models.shapes import show
from ...models.synonyms import closest
from .. import workload
from ..workload import Workload
from . import data
from .warn import warn


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
    for heading in ("layer", "type"):
        table.add_column(heading, overflow="fold")
    table.add_column("output", no_wrap=True)
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
        console.print(f"{what} {in_words(spec)}", markup=False, highlight=False)
    warn(model.warnings, console)


def _layer_row(node: Node[Layer]) -> list[str]:
    return [escape(node.key), node.type, show(node.output_shape), *_cost_cells(cost(node))]


def _cost_cells(costs: models.Cost) -> list[str]:
    return [f"{costs.parameters:,}", f"{costs.forward_flops:,}", f"{costs.training_flops:,}"]


def _print_card(card: Card, console: Console) -> None:
    for field in card.__struct_fields__:
        console.print(f"[bold]{field}[/bold]  {escape(getattr(card, field))}", highlight=False)
