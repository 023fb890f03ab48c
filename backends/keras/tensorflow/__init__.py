"""Keras 3 on TensorFlow: eager, a loop of GradientTape steps, and compiled, a loop in one graph.

Images are kept channels-last, the only layout that TensorFlow trains in on a CPU. The step is
native: `keras.layers`, `keras.losses`, a tape, and `keras.optimizers` that keep to the spec.
"""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "tensorflow"  # Keras reads it once, when it is imported
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # or TensorFlow logs what machine this is
os.environ["TF_CUDNN_USE_AUTOTUNE"] = "0"  # autotuned kernels differ from run to run

import sys

import keras
import tensorflow as tf

from ....models import Model
from ...contract import Deviation, Execution, Gap, Mode, Weights, cpu_and_cuda, refuse_unsupported
from ..layers import LAYERS
from ..losses import LOSSES
from ..optimizers import OPTIMIZERS
from .operators import BY_FORMULA
from .optimizers import SMALL
from .trainer import Trainer

__all__ = ["LAYERS", "LOSSES", "OPTIMIZERS"]

MODES: tuple[Mode, ...] = ("eager", "compiled")
TYPICAL: tuple[Mode, str] = ("compiled", "fit() trains by a graph unless run_eagerly is asked for")
UNSUPPORTED: dict[Gap, str] = {}
DEVIATIONS: dict[str, Deviation] = {}


def version() -> str:
    return str(keras.__version__)


def devices() -> list[str]:
    return cpu_and_cuda(len(tf.config.list_physical_devices("GPU")))


def build(
    model: Model, weights: Weights, execution: Execution, *, seed: int, state: Weights | None
) -> Trainer:
    refuse_unsupported(sys.modules[__name__], model, execution)
    # TensorFlow (2.21) fixes its threads and devices at the first operation of a process.
    tf.config.threading.set_intra_op_parallelism_threads(execution.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    kind, _, index = execution.device.partition(":")
    gpus = tf.config.list_physical_devices("GPU")
    tf.config.set_visible_devices([gpus[int(index or 0)]] if kind == "cuda" else [], "GPU")
    tf.config.experimental.enable_tensor_float_32_execution(False)
    keras.utils.set_random_seed(seed)
    keras.config.set_floatx(execution.dtype)  # an optimizer's learning rate has no dtype argument
    return Trainer(model, weights, execution, state)


def settings(execution: Execution) -> dict[str, str]:
    """Return what `build` fixes that matters for speed or rounding, and what is not Keras's own."""
    fixed = {
        "intra-op threads": str(execution.threads),
        "inter-op threads": "1",
        "image data format": "channels_last",
        "by TensorFlow's operators": "grouped convolutions, sgd with momentum, adam, adamw",
    }
    by_formula = [*BY_FORMULA[execution.dtype]]
    if execution.mode == "compiled":
        by_formula.append(f"adam and adamw of weights below {SMALL} elements")
        fixed["tf.map_fn"] = "over the steps of a call"
    fixed["by formula"] = ", ".join(by_formula)
    if execution.device != "cpu":
        fixed["tensor_float_32_execution"] = "off"
        fixed["TF_CUDNN_USE_AUTOTUNE"] = "0"
    elif execution.mode == "compiled":
        fixed["jit_compile"] = "recurrent"
    return fixed


def device_memory(device: str) -> int | None:
    """Return the most bytes that TensorFlow has taken on a CUDA device; None of the CPU."""
    if device == "cpu":
        return None
    return int(tf.config.experimental.get_memory_info("GPU:0")["peak"])  # the only visible one
