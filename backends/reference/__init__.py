"""The reference: plain NumPy formulas, in float32 or float64, that every other backend is held to.

No framework is imported here.
"""

from __future__ import annotations

import sys

import numpy as np

from ...models import Model
from ..contract import Deviation, Execution, Gap, Mode, Weights, refuse_unsupported
from .layers import LAYERS
from .losses import LOSSES
from .optimizers import OPTIMIZERS, clip, take_step
from .trainer import Trainer

__all__ = ["LAYERS", "LOSSES", "OPTIMIZERS", "clip", "take_step"]

MODES: tuple[Mode, ...] = ("eager",)
UNSUPPORTED: dict[Gap, str] = {"compiled": "NumPy has no compiler; use --mode eager"}
DEVIATIONS: dict[str, Deviation] = {}


def version() -> str:
    return np.__version__


def devices() -> list[str]:
    return ["cpu"]


def build(
    model: Model, weights: Weights, execution: Execution, *, seed: int, state: Weights | None
) -> Trainer:
    refuse_unsupported(sys.modules[__name__], model, execution)
    return Trainer(model, weights, np.dtype(execution.dtype), seed, state)
