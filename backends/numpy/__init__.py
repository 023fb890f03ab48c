"""NumPy, as fast as it goes: a plan per batch size, and no memory taken while it trains.

How a plan works stands in `plan.py`; the formulas by themselves in `reference/`, whose functions
are used as they are for what no plan is worth. No compiler, no framework.
"""

from __future__ import annotations

import sys

import numpy as np

from ...models import Model
from ..contract import Execution, Mode, Weights, refuse_unsupported
from ..reference import DEVIATIONS, UNSUPPORTED, devices, version
from .layers import LAYERS
from .losses import LOSSES
from .optimizers import OPTIMIZERS
from .trainer import Trainer

__all__ = [  # all of an adapter, for one that takes it over
    "DEVIATIONS",
    "LAYERS",
    "LOSSES",
    "MODES",
    "OPTIMIZERS",
    "TYPICAL",
    "UNSUPPORTED",
    "build",
    "devices",
    "version",
]

MODES: tuple[Mode, ...] = ("eager",)
TYPICAL: tuple[Mode, str] = ("eager", "NumPy has no other")


def build(
    model: Model, weights: Weights, execution: Execution, *, seed: int, state: Weights | None
) -> Trainer:
    refuse_unsupported(sys.modules[__name__], model, execution)
    return Trainer(model, weights, np.dtype(execution.dtype), seed, state)
