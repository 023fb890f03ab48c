"""The inputs of a run: initial weights and batch order of each seed, the same for all backends."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...backends.contract import DType, Weights
from ...datasets.dataset import Dataset
from ...models import InputError
from ...models.init import batch_order, initial_weights
from ..worker.files import damage, hashes, remove, write_array, write_arrays
from ..workload import Workload
from .checkpoint import Checkpoint
from .run_folder import RunSpec


def folder_name(work: str, seed: int) -> str:
    """Return the folder under `inputs/`."""
    return f"{work}-{seed}"


def write(
    folder: Path, w: Workload, dataset: Dataset, seed: int, dtype: DType, start: Checkpoint | None
) -> np.ndarray:
    """Draw the inputs of a seed, or take the weights from where a training goes on; return the
    order, [epochs, steps, batch].
    """
    folder.mkdir(parents=True)
    weights: Weights = start.weights if start else initial_weights(w.model, seed, dtype)
    write_arrays(folder / "weights.npz", weights)
    if start:
        write_arrays(folder / "state.npz", start.state)
    samples = len(dataset.train.x)
    order = batch_order(samples, batch_size=w.batch_size, epochs=w.epochs, seed=seed)
    write_array(folder / "order.npy", order)
    return order


def hashes_of(folder: Path) -> dict[str, str]:
    """Return the hash of every file under `inputs/`."""
    return hashes(folder, "*/*.np[yz]")


def of(spec: RunSpec, work: str, seed: int) -> dict[str, str]:
    """Return the hashes of a seed's inputs by their names in its folder."""
    start = f"{folder_name(work, seed)}/"
    return {n.removeprefix(start): h for n, h in spec.inputs.items() if n.startswith(start)}


def mend(folder: Path, spec: RunSpec, w: Workload, dataset: Dataset, seed: int) -> str:
    """Draw the inputs of a seed again if they are damaged; return what was wrong, or "".

    Raises InputError if they cannot be what they were.
    """
    folder, expected = folder / "inputs" / folder_name(w.name, seed), of(spec, w.name, seed)
    wrong = damage(folder, expected)
    if not wrong:
        return ""
    if "state.npz" not in expected:
        remove(folder)
        write(folder, w, dataset, seed, spec.dtype, None)
    if damage(folder, expected):
        raise InputError(f"{folder}: {wrong}, and cannot be drawn again as it was; start anew")
    return f"{folder.name}/{wrong}"
