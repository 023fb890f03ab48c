"""How batches reach a trainer: gathered here, or by the backend from a split that it holds.

Targets are in the form of the contract (`cast_targets`); x is converted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...backends.blocks import gather
from ...backends.contract import Batch, Trainer
from ...models import Model
from ...models.losses import BinaryCrossEntropy

_MOST_HELD = 2**30  # bytes: what is larger may not fit on the device

Feeder = Callable[[np.ndarray], Iterable[Batch]]


class Split(NamedTuple):
    """Samples for one use, as `datasets` writes them: x [N, *input], y [N] or [N, K]."""

    x: np.ndarray
    y: np.ndarray


def open_split(folder: Path, name: str) -> Split:
    """Open a split of a dataset's folder, as read-only memory maps. Raises OSError, ValueError."""
    x, y = (np.load(folder / f"{axis}_{name}.npy", "r", allow_pickle=False) for axis in "xy")
    if len(x) != len(y):
        raise ValueError(f"{folder}: {len(x)} samples of x_{name} and {len(y)} of y_{name}")
    return Split(x, y)


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


def cast_targets(model: Model, y: np.ndarray, dtype: str) -> np.ndarray:
    """Return a dataset's targets in the form that the contract gives them for the model's loss."""
    if isinstance(model.loss, BinaryCrossEntropy):
        y = y[..., None]
    elif model.loss.task == "classification":
        return y
    return y.astype(dtype)
