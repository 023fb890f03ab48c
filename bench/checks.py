"""Checks of what a user asked, which several commands share: each raises InputError in one line."""

from __future__ import annotations

import re
import shlex
import sys
from datetime import datetime
from pathlib import Path

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
    """Return the output folder of a run that names none."""
    return Path("bakeoff-runs") / datetime.now().strftime("%Y%m%d-%H%M%S")


def command_line() -> str:
    """Return the command that the user gave."""
    return shlex.join(["bakeoff", *sys.argv[1:]])


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
