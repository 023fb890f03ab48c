"""MXNet Gluon, imperative and hybridized with its loss, on the CPU or a CUDA device.

Images are kept in MXNet's own NCHW. MXNet has no call for its threads: it reads OMP_NUM_THREADS.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np

if np.lib.NumpyVersion(np.__version__) >= "1.24.0":
    raise ImportError(
        f"MXNet 1.9.1 needs NumPy below 1.24, this interpreter has {np.__version__}; "
        "make one that fits: bakeoff install mxnet"
    )

# Read by libgomp when MXNet loads it. Threads that spin without end starve each other; to wake one
# that sleeps costs more than most operators: 2 to 4 times the step. So they spin for a moment.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
# A copy by several threads leaves a second team of them, beside which libgomp does not spin at all.
os.environ.setdefault("MXNET_CPU_PARALLEL_SIZE", str(2**31 - 1))
# MXNet's own OpenBLAS (1.9.1) takes a newer CPU for one without AVX: 2.2 times the time.
if "avx2" in (Path("/proc/cpuinfo").read_text() if sys.platform == "linux" else ""):
    os.environ.setdefault("OPENBLAS_CORETYPE", "Haswell")

# On a GPU; the second is read by cuBLAS and cuDNN, of which MXNet has no switch for TF32.
os.environ["MXNET_CUDNN_AUTOTUNE_DEFAULT"] = "0"
os.environ["NVIDIA_TF32_OVERRIDE"] = "0"

import mxnet as mx

from ...models import Model
from ..contract import (
    Deviation,
    Execution,
    Gap,
    Mode,
    Weights,
    cpu_and_cuda,
    refuse_unsupported,
)
from . import float64, formulas
from .layers import LAYERS
from .losses import LOSSES
from .optimizers import OPTIMIZERS
from .trainer import Trainer

__all__ = ["LAYERS", "LOSSES", "OPTIMIZERS"]

MODES: tuple[Mode, ...] = ("eager", "compiled")
TYPICAL: tuple[Mode, str] = (
    "compiled",
    "Gluon's tutorials and model zoo hybridize a net before they train it",
)
UNSUPPORTED: dict[Gap, str] = {}
DEVIATIONS: dict[str, Deviation] = {}


def version() -> str:
    return str(mx.__version__)


def devices() -> list[str]:
    return cpu_and_cuda(mx.context.num_gpus())


def build(
    model: Model, weights: Weights, execution: Execution, *, seed: int, state: Weights | None
) -> Trainer:
    refuse_unsupported(sys.modules[__name__], model, execution)
    mx.random.seed(seed)
    return Trainer(model, weights, execution, state)


def settings(execution: Execution) -> dict[str, str]:
    """Return what is fixed that matters for speed or rounding, and what is no operator of MXNet."""
    names = ["OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OPENBLAS_CORETYPE"]
    if execution.device != "cpu":
        names += ["MXNET_CUDNN_AUTOTUNE_DEFAULT", "NVIDIA_TF32_OVERRIDE"]
    fixed = {name: os.environ[name] for name in names if name in os.environ}
    if execution.mode == "compiled":
        fixed["hybridize"] = "static_alloc=True, static_shape=True"
    fixed["log_softmax"] = "temperature=1, which keeps it from oneDNN"
    fixed["by formula"] = ", ".join(formulas.REPLACED)
    if execution.dtype == "float64":
        fixed["float64"] = f"by formula: {', '.join(float64.REPLACED)}"
    else:
        fixed["optimizer"] = "sgd_update, sgd_mom_update, adam_update, rmsprop_update"
    return fixed
