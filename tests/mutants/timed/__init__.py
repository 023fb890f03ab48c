"""Backends that are wrong where they are timed, and right in the laboratory: the audits' mutants.

A certificate asks for batches of 8 samples at most, one by one and at last two in one call, with
masks given, and for one prediction at the end. Each mutant here is the NumPy backend with one fault
that none of this wakes: it takes a larger batch, a longer block, a later step, a second prediction,
masks of its own, `hold`, or a state to go on from.

By the phase that shows the fault:

    train    `bakeoff run`, and `bench` where it trains: `batches.py`, `blocks.py`, `steps.py`
    fed      `bench` on a split that the trainer holds: `feeding.py`
    infer    `bench` where it predicts: `prediction.py`
    resume   a training that goes on from a checkpoint: `restart.py`
    dropout  a training that draws its own masks: `dropout.py`

A copy of this folder is an adapter by its path, and the copy's name says which: see `write`.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from bakeoff.backends import numpy as real
from bakeoff.backends.contract import Execution, Weights
from bakeoff.backends.numpy import *  # noqa: F403
from bakeoff.models import Model

from . import batches, blocks, controls, dropout, feeding, prediction, restart, steps  # noqa: F401
from .wrapper import CONTROLS, MUTANTS, Mutant, Phase, Wrapper

MODES, UNSUPPORTED, DEVIATIONS = real.MODES, real.UNSUPPORTED, real.DEVIATIONS


def build(
    model: Model, weights: Weights, execution: Execution, *, seed: int, state: Weights | None
) -> Wrapper:
    """Build the mutant, or the control, that the folder of this file is called after."""
    chosen = adapter(Path(__file__).parent.name)
    return chosen.build(model, weights, execution, seed=seed, state=state)


class _Adapter:
    """See `contract.Adapter`."""

    def __init__(self, wrap: type[Wrapper]) -> None:
        self.build = wrap

    def __getattr__(self, name: str) -> Any:
        return getattr(real, name)


def adapter(name: str) -> _Adapter:
    """Return a mutant, or a control, as an adapter in this process."""
    return _Adapter((MUTANTS | CONTROLS)[name].wrap)


def mutants_of(*phases: Phase) -> list[str]:
    """Return the names of the mutants that show in these phases."""
    return [mutant.name for mutant in MUTANTS.values() if mutant.phase in phases]


def write(name: str, folder: Path) -> str:
    """Copy this package into a folder, under the name of a mutant; return the path to load it."""
    assert name in MUTANTS | CONTROLS
    ignored = shutil.ignore_patterns("__pycache__")
    copy = shutil.copytree(Path(__file__).parent, folder / name, ignore=ignored)
    return str(copy / "__init__.py")


__all__ = ["CONTROLS", "MUTANTS", "Mutant", "adapter", "build", "mutants_of", "write"]
