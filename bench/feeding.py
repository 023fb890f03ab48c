"""How batches reach a trainer: gathered here, or by the backend from a split that it holds.

Targets are in the form of the contract (`worker.cast_targets`); x is converted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import numpy as np

from ..backends.blocks import gather
from ..backends.contract import Batch, Trainer

_MOST_HELD = 2**30  # bytes: what is larger may not fit on the device

Feeder = Callable[[np.ndarray], Iterable[Batch]]


def feeder(trainer: Trainer, x: np.ndarray, y: np.ndarray, dtype: str) -> Feeder:
    """Return the fastest way to batches of given rows of x and y, [steps, batch], for `train`."""
    hold = getattr(trainer, "hold", None)
    if hold is None or x.size * np.dtype(dtype).itemsize > _MOST_HELD:
        return partial(stage, trainer, x, y, dtype)
    held: Feeder = hold(x.astype(dtype, copy=False), y)
    return held


def stage(
    trainer: Trainer, x: np.ndarray, y: np.ndarray, dtype: str, order: np.ndarray
) -> list[Batch]:
    """Gather the batches of given rows of x and y, [steps, batch], and stage each."""
    blocks = gather(x, order).astype(dtype, copy=False), gather(y, order)
    return [trainer.stage(*batch, None) for batch in zip(*blocks, strict=True)]
