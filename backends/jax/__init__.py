"""JAX with optax's losses and optimizers: op by op (`eager`), or one jitted step (`compiled`).

Images are kept channels-last, which XLA's CPU convolutions are fastest in. JAX has no layers of its
own: a layer function computes its output by `jax.nn` and `lax`, and autodiff does the way back.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import jax

from ...models import Model
from ..contract import (
    Deviation,
    Execution,
    Gap,
    Mode,
    Weights,
    cpu_and_cuda,
    import_those_there,
    refuse_unsupported,
)
from .layers import LAYERS
from .losses import LOSSES
from .optimizers import OPTIMIZERS
from .trainer import Trainer, compilation_events

__all__ = ["LAYERS", "LOSSES", "OPTIMIZERS"]

MODES: tuple[Mode, ...] = ("eager", "compiled")
TYPICAL: tuple[Mode, str] = (
    "compiled",
    "a step of training is written to be jitted; without, each operation compiles",
)
UNSUPPORTED: dict[Gap, str] = {}
DEVIATIONS: dict[str, Deviation] = {}
_NO_AUTOTUNING = "--xla_gpu_autotune_level=0"


def version() -> str:
    return str(jax.__version__)


def devices() -> list[str]:
    return cpu_and_cuda(sum(device.platform == "gpu" for device in jax.devices()))


def build(
    model: Model, weights: Weights, execution: Execution, *, seed: int, state: Weights | None
) -> Trainer:
    if execution.device != "cpu" and _NO_AUTOTUNING not in os.environ.get("XLA_FLAGS", ""):
        # An autotuner would choose by the clock. XLA reads this when its first device is asked for.
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_NO_AUTOTUNING}"
    refuse_unsupported(sys.modules[__name__], model, execution)
    # The threads: XLA's CPU client (0.10) only reads NPROC, at its birth; the harness sets it.
    # In float32 too: optax (0.2.8) takes 1 - beta**t in the widest float there is, and would lose
    # three digits of it in float32. Every array here has its own dtype, which no number widens.
    jax.config.update("jax_enable_x64", True)
    # On a GPU, JAX (0.10) would otherwise multiply float32 matrices in TF32.
    jax.config.update("jax_default_matmul_precision", "highest")
    # Not `device_put(x, device)`, which commits an array to its device: JAX (0.10) then fills each
    # zeros_like, such as an eager ReLU makes, by a callback: two per cent of an eager MLP's step.
    jax.config.update("jax_default_device", _device(execution.device))
    compilation_events()  # counted from here on
    return Trainer(model, weights, execution, seed, state)


def preload(mode: Mode) -> None:
    """Import what JAX (0.7 to 0.10) imports when it asks for devices, and lowers an operation."""
    dialects = ("jaxlib.mlir.dialects.mhlo", "jaxlib.mlir.dialects.builtin")
    lazy = ("importlib.metadata", "jax._src.hijax", "jax.experimental.multihost_utils")
    import_those_there([*lazy, *dialects])


def settings(execution: Execution) -> dict[str, str]:
    """Return what `build` fixes that matters for speed or rounding, in JAX's words."""
    fixed = {
        "jax_default_matmul_precision": "highest",
        "jax_enable_x64": "True",
        "image layout": "NHWC, HWIO",
        "by formula": "max_pool2d and its gradient, avg_pool2d, depthwise convolution, leaky_relu",
        "grouped convolution": "one per group",
    }
    if execution.dtype == "float64":
        fixed["float64"] = "by formula: multi_head_attention"
    if execution.device != "cpu":
        fixed["XLA_FLAGS"] = _NO_AUTOTUNING
    return fixed


def device_memory(device: str) -> int | None:
    """Return the most bytes that arrays have taken on a CUDA device; None of the CPU."""
    return None if device == "cpu" else int(_device(device).memory_stats()["peak_bytes_in_use"])


def _device(name: str) -> Any:
    platform, _, index = name.partition(":")
    return jax.devices(platform)[int(index or 0)]
