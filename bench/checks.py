"""Checks of what a user asked, which several commands share: each raises InputError in one line."""

from __future__ import annotations

import re
import reprlib
import shlex
import sys
from collections.abc import Sequence
from datetime import datetime
from itertools import chain, count
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec
from msgspec import Meta, Struct, structs

from ..models import InputError
from .environments.machine import usable_cores

DEFAULT_SUITE = ("boston-linear", "mnist-mlp", "mnist-lenet5")


def check_output(output: Path) -> None:
    """Raise InputError if the output folder is there already, unless it is empty."""
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        begun = {"run.toml": "run", "bench.toml": "bench"}
        ways = [
            f", or go on with it: bakeoff {command} --resume {output}"
            for file, command in begun.items()
            if (output / file).exists()
        ]
        raise InputError(
            f"{output} exists already; choose another folder with --output{''.join(ways)}"
        )


def default_output() -> Path:
    """Return the output folder of a run that names none: one that is not there."""
    folder = Path("bakeoff-runs") / datetime.now().strftime("%Y%m%d-%H%M%S")
    others = (folder.with_name(f"{folder.name}-{number}") for number in count(2))
    return next(path for path in chain([folder], others) if not path.exists())


def command_line() -> str:
    """Return the command that the user gave."""
    return shlex.join(["bakeoff", *sys.argv[1:]])


def check_values(request: Struct) -> None:
    """Raise InputError for a value that is not what its field in a request says: what comes from
    the command line is, from Python it may be anything.
    """
    for field in structs.fields(type(request)):
        value = getattr(request, field.name)
        # What is named may be of two kinds of Struct, which msgspec does not tell apart.
        kind = (
            Annotated[tuple[Any, ...], Meta(min_length=1)] if field.name == "names" else field.type
        )
        try:
            msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            legal = f"expected {', '.join(_literals(kind))}" if _literals(kind) else str(error)
            raise InputError(f"{field.name} {reprlib.repr(value)}: {legal}") from None


def _literals(kind: Any) -> list[str]:
    """Return the words that a type takes, if it takes only some."""
    if get_origin(kind) is Literal:
        return list(get_args(kind))
    return [word for part in get_args(kind) for word in _literals(part)]


def check_modes(asked: Sequence[str]) -> None:
    """Raise InputError unless one way of comparing modes is asked for: of each with itself, of
    what is typical, or of what is best.
    """
    for alone in {"typical", "best"}.intersection(asked):
        if len(asked) > 1:
            raise InputError(
                f'--mode "{",".join(asked)}": {alone} is a choice for every backend; ask for it '
                "alone, or name modes alone"
            )


def check_execution(device: str, threads: int) -> None:
    """Raise InputError for a device that cannot be, or more threads than there are cores."""
    if not re.fullmatch(r"cpu|cuda(:\d{1,3})?", device, re.ASCII):
        raise InputError(f'--device "{device}": expected cpu, cuda or cuda:N')
    if threads > (cores := usable_cores()):
        raise InputError(
            f"--threads {threads}: cores that may be used here: {cores}; ask for at most {cores}"
        )


def check_unique(names: list[str], what: str) -> None:
    """Raise InputError if a name is there twice."""
    if twice := {name for name in names if names.count(name) > 1}:
        raise InputError(f'{what} "{min(twice)}" is named twice; name each once')
