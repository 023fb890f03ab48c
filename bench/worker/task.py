"""What one timing worker is told: `task.json` in its folder."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct

from ...backends.contract import Execution
from ...models import Model
from .feeding import cast_targets
from .files import damage, read_arrays, write_whole
from .records import Feed, Phase

_BLOCK_FLOPS = 2.5e9  # a block is long against a call, short for those that wait for their turn
_MOST_STEPS = 25


class Task(Struct, frozen=True, kw_only=True):
    """One case: `steps` are of one block; arrays are in the file `inputs`, relative to the folder,
    of the hash `inputs_sha256`.

    `rival` is a module with the same net by hand (`native.torch`, `peers.mygrad`) that takes turns
    with the adapter; `as_rival` says that it is what this process times.
    """

    name: str
    model: Model
    backend: str
    adapter: str
    execution: Execution
    phase: Phase
    batch_size: int
    steps: int
    inputs: str
    inputs_sha256: str | None = None
    python: str
    environment: dict[str, str]
    rival: str | None = None
    as_rival: bool = False

    @property
    def feeds(self) -> tuple[Feed, ...]:
        """What is timed, by how batches come; the first is what is compared.

        A rival's batches come from the host, and so do those of the adapter beside it. Prediction
        takes host arrays and returns them: its batches are only gathered before.
        """
        if self.rival:
            return ("fed",)
        return ("staged", "fed") if self.phase == "train" else ("staged",)

    @property
    def arguments(self) -> list[str]:
        """The worker's command line, run in its folder."""
        return [self.python, "-P", "-m", "bakeoff.bench.worker.time", "."]


def steps_per_block(model: Model, phase: Phase, batch_size: int) -> int:
    """Return k, the steps of a block: alike for all backends, as it follows from the FLOPs alone.

    k = 2.5 GFLOP / (FLOPs of a step), 2 to 25.
    """
    cost = model.cost
    per_sample = cost.training_flops if phase == "train" else cost.forward_flops
    flops = max(1, per_sample * batch_size)
    return max(2, min(_MOST_STEPS, round(_BLOCK_FLOPS / flops)))


def read_inputs(
    task: Task, folder: Path
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, np.ndarray]:
    """Return the weights, x and y in the dtypes of the task, and the order [steps, batch].

    Raises OSError, and ValueError if they are not what they were.
    """
    dtype, path = task.execution.dtype, folder / task.inputs
    if task.inputs_sha256 and (wrong := damage(path.parent, {path.name: task.inputs_sha256})):
        raise ValueError(f"inputs: {wrong}; bakeoff bench --resume mends it")
    arrays = read_arrays(path)
    x, y = arrays.pop("x"), cast_targets(task.model, arrays.pop("y"), dtype)
    order = np.resize(arrays.pop("order"), (task.steps, task.batch_size))
    weights = {name: value.astype(dtype) for name, value in arrays.items()}
    return weights, x.astype(dtype, copy=False), y, order


def write(task: Task, folder: Path) -> None:
    """Write `task.json` into a new folder."""
    folder.mkdir(parents=True)
    write_whole(folder / "task.json", msgspec.json.format(msgspec.json.encode(task)))


def read(folder: Path) -> Task:
    """Read `task.json`. Raises msgspec.ValidationError or OSError."""
    return msgspec.json.decode((folder / "task.json").read_bytes(), type=Task)
