"""PyTorch, eager and compiled by torch.compile (Inductor), on the CPU or a CUDA device.

Images are kept channels-last, which PyTorch's CPU convolutions and pooling are fastest in. The
step is native: autograd, `torch.nn` layers, fused or multi-tensor `torch.optim` optimizers.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import shutil
import sys

import torch

from ...models import Model
from ...models.layers import GRU, LSTM, SimpleRNN
from ..contract import (
    Deviation,
    Execution,
    Gap,
    Mode,
    Unsupported,
    Weights,
    cpu_and_cuda,
    import_those_there,
    refuse_unsupported,
)
from .layers import LAYERS
from .losses import LOSSES
from .optimizers import OPTIMIZERS
from .trainer import Trainer

__all__ = ["LAYERS", "LOSSES", "OPTIMIZERS"]

MODES: tuple[Mode, ...] = ("eager", "compiled")
TYPICAL: tuple[Mode, str] = (
    "eager",
    "a training loop is plain Python unless torch.compile is asked for",
)
_NO_RNN = "torch.compile does not compile PyTorch's recurrent layers; use --mode eager"
UNSUPPORTED: dict[Gap, str] = {
    ("compiled", SimpleRNN): _NO_RNN,
    ("compiled", LSTM): _NO_RNN,
    ("compiled", GRU): _NO_RNN,
}
DEVIATIONS: dict[str, Deviation] = {}

_OPTIMIZER = ("torch._dynamo", "torch.profiler._cupti_monitor")
_PASSES = (
    "apply_gumbel_max_trick",
    "efficient_conv_bn_eval",
    "freezing_patterns",
    "fuse_attention",
    "mkldnn_fusion",
    "pad_mm",
    "quantization",
    "serialized_patterns",
)
_LAZY: dict[Mode, tuple[str, ...]] = {
    "eager": _OPTIMIZER,
    "compiled": (
        *_OPTIMIZER,
        "torch._inductor.compile_fx",
        "torch._inductor.compiler_bisector",
        "torch._inductor.codegen.memory_planning",
        "torch._inductor.hooks",
        "torch._functorch._aot_autograd.subclass_codegen",
        "torch._dynamo.dce_extra_outputs",
        "torch._export.db.logging",
        "torch.export._trace",
        "torch.utils.cpp_extension",
        "torch.distributed.tensor.experimental",
        "torch._higher_order_ops.passes.inline_invoke_subgraph",
        "torch._subclasses.schema_check_mode",
        "torch.fx.experimental.validator",
        "sympy.tensor.tensor",
        "torch._inductor.bounds",
        "torch._inductor.choices",
        "torch._inductor.codegen.segmented_tree",
        "torch._inductor.extern_node_serializer",
        "torch._inductor.kernel_template_choice",
        "torch._inductor.runtime.caching",
        *(f"torch._inductor.fx_passes.{name}" for name in _PASSES),
    ),
}


def version() -> str:
    return str(torch.__version__)


def devices() -> list[str]:
    return cpu_and_cuda(torch.cuda.device_count() if torch.cuda.is_available() else 0)


def build(
    model: Model, weights: Weights, execution: Execution, *, seed: int, state: Weights | None
) -> Trainer:
    refuse_unsupported(sys.modules[__name__], model, execution)
    set_up(execution, seed)
    return Trainer(model, weights, execution, state)


def set_up(execution: Execution, seed: int) -> None:
    """Fix what a process trains with: threads, seed, precision. Raises Unsupported."""
    compiler = os.environ.get("CXX", "g++")
    if execution.mode == "compiled" and execution.device == "cpu" and not shutil.which(compiler):
        raise Unsupported(
            f'compiled: Inductor needs a C++ compiler, "{compiler}" is not on the PATH'
        )
    torch.set_num_threads(execution.threads)
    torch.manual_seed(seed)
    # cuDNN would otherwise convolve float32 in TF32, an autotuner would choose by the clock, and
    # what it chose might add up in another order every time.
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True


def preload(mode: Mode) -> None:
    """Import what `torch.optim` imports at its first optimizer, and Inductor at its first graph."""
    import_those_there(_LAZY[mode])
    if mode == "compiled":
        torch._dynamo.list_backends()
        torch._inductor.codegen.common.init_backend_registration()
        torch._inductor.codegen.common.get_device_op_overrides("cpu")
        patterns = torch._inductor.fx_passes.serialized_patterns
        for pattern in pkgutil.iter_modules(patterns.__path__, f"{patterns.__name__}."):
            importlib.import_module(pattern.name)


def settings(execution: Execution) -> dict[str, str]:
    """Return what `build` fixes that matters for speed or rounding, in PyTorch's words."""
    fixed = {
        "memory format": "channels_last",
        "optimizer": "fused=True",
        "by formula": "Hardsigmoid, RMSprop, Adagrad, the running variance of batch_norm",
    }
    fixed |= settings_of_device(execution)
    if execution.device != "cpu":
        fixed["optimizer"] = "fused=True; Adam and AdamW foreach=True"
        fixed["padded avg_pool2d"] = "channels first"
        if execution.dtype == "float32":
            fixed["recurrent layers"] = "cudnn.enabled=False"
        else:
            fixed["simple_rnn with relu"] = "cudnn.enabled=False"
            fixed["uneven padding"] = "torch.cat"
    return fixed


def settings_of_device(execution: Execution) -> dict[str, str]:
    """Return what `set_up` fixes, and how torch.compile is asked."""
    fixed: dict[str, str] = {}
    if execution.mode == "compiled":
        fixed["torch.compile"] = (
            "fullgraph=True, automatic_dynamic_shapes=False, guards on the arguments alone"
        )
    if execution.device != "cpu":
        fixed["cuda.matmul.allow_tf32"] = "False"
        fixed["cudnn.allow_tf32"] = "False"
        fixed["cudnn.benchmark"] = "False"
        fixed["cudnn.deterministic"] = "True"
    return fixed


def device_memory(device: str) -> int | None:
    """Return the most bytes that tensors have taken on a CUDA device; None of the CPU."""
    return None if device == "cpu" else int(torch.cuda.max_memory_allocated(device))
