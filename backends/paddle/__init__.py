"""PaddlePaddle, eager (dygraph) and compiled by paddle.jit.to_static, on the CPU or a CUDA device.

Images are NCHW. The step is native: autograd, `paddle.nn` layers, `paddle.optimizer` optimizers.
What is by formula instead stands in `formulas` and, in float64, in `float64`.
"""

from __future__ import annotations

import inspect
import os
import sys

# Paddle reads these at its import. The first keeps its log lines off stderr. The second runs a
# compiled graph in the caller's thread, not in a pool beside it (3.3: -14 % for a linear model).
# The third lets that graph collect a megabyte that it needs no more before another thread frees it;
# else that thread is woken after every operation (3.3: with one core, -30 % for an LSTM).
os.environ.setdefault("GLOG_minloglevel", "2")
os.environ.setdefault("FLAGS_enable_pir_in_executor_trace_run", "1")
os.environ.setdefault("FLAGS_eager_delete_tensor_gb", "0.001")

import numpy as np
import paddle

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
from . import float64, formulas
from .layers import LAYERS
from .losses import LOSSES
from .optimizers import OPTIMIZERS
from .trainer import Trainer

__all__ = ["LAYERS", "LOSSES", "OPTIMIZERS"]

MODES: tuple[Mode, ...] = ("eager", "compiled")
TYPICAL: tuple[Mode, str] = (
    "eager",
    "dynamic graphs are what paddle.nn trains by unless to_static is asked for",
)
UNSUPPORTED: dict[Gap, str] = {}
DEVIATIONS: dict[str, Deviation] = {
    "adam.v and adamw.v in float32": Deviation(
        optimizers=("adam", "adamw"),
        slot="v",
        dtype="float32",
        relative=2e-5,
        reason="the kernels round beta2 before they form 1 - beta2, and so do its powers: with "
        "beta2 = 0.999 the slot v is off by 1.3e-5; the weights agree to rounding",
    )
}

_WALKED = ("asyncio", "concurrent.futures.process", "unittest.async_case")  # by dy2static, as NumPy
_GRAPH_FLAGS = ("FLAGS_enable_pir_in_executor_trace_run", "FLAGS_eager_delete_tensor_gb")
_GPU_FLAGS = {"FLAGS_cudnn_exhaustive_search": False}


def preload(mode: Mode) -> None:
    """Import what Paddle (3.3) imports at its first update, and dy2static at its first graph."""
    import_those_there(
        ["paddle.optimizer.fusion_utils", "paddle.distributed.auto_parallel.fully_shard_fusion"]
    )
    if mode == "compiled":
        import_those_there(["paddle.jit.dy2static.parameter_recorder", *_WALKED])
        inspect.getmembers(np)  # NumPy loads its submodules when asked for them


def version() -> str:
    return str(paddle.__version__)


def devices() -> list[str]:
    return cpu_and_cuda(paddle.device.cuda.device_count() if paddle.is_compiled_with_cuda() else 0)


def build(
    model: Model, weights: Weights, execution: Execution, *, seed: int, state: Weights | None
) -> Trainer:
    refuse_unsupported(sys.modules[__name__], model, execution)
    paddle.base.core.set_num_threads(execution.threads)
    paddle.set_device(execution.device.replace("cuda", "gpu"))
    if execution.device != "cpu":
        paddle.base.core.set_cublas_switch(False)  # to use TF32
        paddle.base.core.set_cudnn_switch(False)
        paddle.set_flags(_GPU_FLAGS)
    paddle.set_default_dtype(execution.dtype)  # 3.3: Layer.to fails on a recurrent layer
    paddle.seed(seed)
    return Trainer(model, weights, execution, state)


def settings(execution: Execution) -> dict[str, str]:
    """Return what `build` fixes that matters for speed or rounding, and what is by formula."""
    fixed = {
        "set_num_threads": str(execution.threads),
        "by formula": ", ".join(formulas.FORMULAS),
    }
    if execution.dtype == "float64":
        fixed["float64"] = f"by formula: {', '.join(float64.FORMULAS)}"
    else:
        fixed["layer_norm"] = "by formula if epsilon > 0.001"
    if execution.mode == "compiled":
        fixed |= {"to_static": "full_graph=True"} | {
            name: os.environ[name] for name in _GRAPH_FLAGS
        }
    if execution.device == "cpu":
        fixed["bias of a convolution"] = "expanded before it is added"
    else:
        fixed |= {"TF32": "off", **{name: str(value) for name, value in _GPU_FLAGS.items()}}
    return fixed


def device_memory(device: str) -> int | None:
    """Return the most bytes that tensors have taken on a CUDA device; None of the CPU."""
    if device == "cpu":
        return None
    return int(paddle.device.cuda.max_memory_allocated(device.replace("cuda", "gpu")))
