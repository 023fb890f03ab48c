"""Keras 3 on PyTorch: eager, as fit() trains unless `jit_compile` is asked for, and compiled by
torch.compile.
"""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "torch"  # Keras reads it once, when it is imported

import importlib
import pkgutil
import sys

import keras
from keras.src.backend.torch import optimizers as native_optimizers

from ....models import Model
from ....models.layers import GRU, LSTM, SimpleRNN
from ... import torch as engine
from ...contract import (
    Deviation,
    Execution,
    Gap,
    Mode,
    Weights,
    import_those_there,
    refuse_unsupported,
)
from ...torch import device_memory, devices, set_up, settings_of_device
from ..float64 import SETTING, promote_to_itself
from ..layers import LAYERS
from ..losses import LOSSES
from ..optimizers import OPTIMIZERS
from .operators import BY_FORMULA
from .trainer import Trainer

__all__ = ["LAYERS", "LOSSES", "OPTIMIZERS", "device_memory", "devices"]

MODES: tuple[Mode, ...] = ("eager", "compiled")
TYPICAL: tuple[Mode, str] = ("eager", "on PyTorch, fit() compiles nothing unless it is asked to")
_UNROLLED = (
    "on PyTorch, Keras goes through time step by step, and torch.compile compiles each step anew: "
    "for an LSTM's 28 it takes 39 s; use --mode eager"
)
UNSUPPORTED: dict[Gap, str] = {
    ("compiled", SimpleRNN): "torch.compile does not trace how Keras's SimpleRNN goes through time",
    ("compiled", LSTM): _UNROLLED,
    ("compiled", GRU): _UNROLLED,
}
DEVIATIONS: dict[str, Deviation] = {}


def version() -> str:
    return str(keras.__version__)


def build(
    model: Model, weights: Weights, execution: Execution, *, seed: int, state: Weights | None
) -> Trainer:
    refuse_unsupported(sys.modules[__name__], model, execution)
    set_up(execution, seed)
    # For good, not for a block: else Keras takes a GPU that is there, whatever was asked for.
    keras.device(execution.device).__enter__()
    keras.utils.set_random_seed(seed)
    keras.config.set_floatx(execution.dtype)  # an optimizer's learning rate has no dtype argument
    promote_to_itself(execution.dtype)
    # torch.compile (2.13) cannot trace Keras's question; PyTorch asks it again by itself.
    keras.config.disable_flash_attention()
    return Trainer(model, weights, execution, state)


def preload(mode: Mode) -> None:
    """Import what PyTorch does, and what Keras does at its first optimizer there."""
    engine.preload(mode)
    if mode == "compiled":
        import_those_there(
            ["pytest", "_pytest.raises"]
        )  # which Dynamo (2.13) looks at, if pytest is there
    package = native_optimizers
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)


def settings(execution: Execution) -> dict[str, str]:
    """Return what `build` fixes that matters for speed or rounding, and what is not Keras's own."""
    by_formula = [
        *BY_FORMULA[execution.dtype],
        "conv_transpose2d's crop",
        "batch_norm's moments",
        "momentum, adam, adamw",
    ]
    fixed = {
        "image data format": "channels_last",
        "by formula": ", ".join(by_formula),
        **settings_of_device(execution),
    }
    return fixed | SETTING if execution.dtype == "float64" else fixed
