"""Keras 3 on JAX: op by op (`eager`), or a jitted step without state (`compiled`)."""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "jax"  # Keras reads it once, when it is imported

import sys
from typing import Any

import jax
import keras

from ....models import Model
from ...contract import (
    Deviation,
    Execution,
    Gap,
    Mode,
    Weights,
    cpu_and_cuda,
    import_those_there,
    refuse_unsupported,
)
from ..float64 import SETTING, promote_to_itself
from ..layers import LAYERS
from ..losses import LOSSES
from ..optimizers import OPTIMIZERS
from .operators import BY_FORMULA
from .trainer import Trainer, compilation_events

__all__ = ["LAYERS", "LOSSES", "OPTIMIZERS"]

MODES: tuple[Mode, ...] = ("eager", "compiled")
TYPICAL: tuple[Mode, str] = ("compiled", "fit() jits its step unless run_eagerly is asked for")
UNSUPPORTED: dict[Gap, str] = {}
DEVIATIONS: dict[str, Deviation] = {}
_NO_AUTOTUNING = "--xla_gpu_autotune_level=0"


def version() -> str:
    return str(keras.__version__)


def devices() -> list[str]:
    return cpu_and_cuda(sum(device.platform == "gpu" for device in jax.devices()))


def build(
    model: Model, weights: Weights, execution: Execution, *, seed: int, state: Weights | None
) -> Trainer:
    if execution.device != "cpu" and _NO_AUTOTUNING not in os.environ.get("XLA_FLAGS", ""):
        # An autotuner would choose by the clock. XLA reads this when its first device is asked for.
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_NO_AUTOTUNING}"
    refuse_unsupported(sys.modules[__name__], model, execution)
    # In float32 too: Adam's corrections need it. Every array here has its own dtype.
    jax.config.update("jax_enable_x64", True)
    # On a GPU, JAX (0.10) would otherwise multiply float32 matrices in TF32.
    jax.config.update("jax_default_matmul_precision", "highest")
    jax.config.update("jax_default_device", _device(execution.device))
    compilation_events()  # counted from here on
    keras.utils.set_random_seed(seed)
    keras.config.set_floatx(execution.dtype)  # an optimizer's learning rate has no dtype argument
    promote_to_itself(execution.dtype)
    return Trainer(model, weights, execution, state)


def preload(mode: Mode) -> None:
    """Import what JAX (0.7 to 0.10) imports when it asks for devices, and lowers an operation."""
    dialects = ("jaxlib.mlir.dialects.mhlo", "jaxlib.mlir.dialects.builtin")
    lazy = ("importlib.metadata", "jax._src.hijax", "jax.experimental.multihost_utils")
    import_those_there([*lazy, *dialects])


def settings(execution: Execution) -> dict[str, str]:
    """Return what `build` fixes that matters for speed or rounding, and what is not Keras's own."""
    by_formula = [*BY_FORMULA[execution.dtype], "conv_transpose2d's crop", "mae", "momentum, adam"]
    fixed = {
        "jax_default_matmul_precision": "highest",
        "jax_enable_x64": "True",
        "image data format": "channels_last",
        "by formula": ", ".join(by_formula),
    }
    if execution.dtype == "float64":
        fixed |= SETTING
        fixed["multi_head_attention"] = "by its scores, not dot_product_attention"
    if execution.device != "cpu":
        fixed["XLA_FLAGS"] = _NO_AUTOTUNING
    return fixed


def device_memory(device: str) -> int | None:
    """Return the most bytes that arrays have taken on a CUDA device; None of the CPU."""
    return None if device == "cpu" else int(_device(device).memory_stats()["peak_bytes_in_use"])


def _device(name: str) -> Any:
    platform, _, index = name.partition(":")
    return jax.devices(platform)[int(index or 0)]
