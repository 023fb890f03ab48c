"""float64 on JAX and PyTorch, where Keras (3.15) promotes it to float32, of which only its table of
promotions knows.
"""

from __future__ import annotations

from keras.src.backend.common.dtypes import BIT64_TO_BIT32_DTYPE

from ..contract import DType

SETTING = {"float64": "not promoted to float32"}


def promote_to_itself(dtype: DType) -> None:
    """Let float64 be float64, in this process, if that is what is trained in."""
    BIT64_TO_BIT32_DTYPE["float64"] = dtype
