"""A job: one workload, backend, execution and seed. A folder, whose `job.json` is all that a worker
is told.
"""

from __future__ import annotations

import math
import shlex
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct

from ...backends.contract import Execution
from ...models import Model
from . import files

SCHEMA_VERSION = 3
EVALUATION_BATCH = 256  # samples of one prediction


class Job(Struct, frozen=True, kw_only=True):
    """What a worker reads. `inputs` and `dataset` are folders; `inputs` is relative to the job's.
    `inputs_sha256` has the hash of every file in there.

    A training of `epochs` epochs in all begins behind `epochs_done`; with `keeps_state` the worker
    leaves what a checkpoint is made of after each.

    A call of `train` takes `steps_per_block` steps at most. `audits` are the blocks, by epoch and
    number from 1, around which the worker notes where it stands.

    A regression target in original units is `target_mean + target_scale * y`.

    `command` runs the same worker again by hand; `environment` is what it sets.
    """

    schema_version: int = SCHEMA_VERSION
    workload: str
    model: Model
    dataset: str
    dataset_sha256: str
    backend: str
    adapter: str
    execution: Execution
    seed: int
    target_mean: float
    target_scale: float
    epochs: int
    epochs_done: int = 0
    keeps_state: bool = False
    steps_per_block: int
    audits: list[tuple[int, int]]
    metric: str
    inputs: str
    inputs_sha256: dict[str, str] = {}
    python: str
    environment: dict[str, str]
    command: str = ""

    @property
    def arguments(self) -> list[str]:
        """The worker's command line, run in the job's folder.

        -P keeps that folder off `sys.path`.
        """
        return [self.python, "-P", "-m", "bakeoff.bench.worker.train", "."]


def blocks(batches: np.ndarray, steps_per_block: int) -> list[np.ndarray]:
    """Cut the batches of an epoch, [steps, batch], into blocks, equally long to one step."""
    return np.array_split(batches, math.ceil(len(batches) / steps_per_block))


def write(job: Job, folder: Path, home: Path) -> None:
    """Write `job.json` into a new folder, with the command that runs it by hand from `home`,
    which is where the folder will be.
    """
    variables = [f"{name}={shlex.quote(value)}" for name, value in job.environment.items()]
    command = (
        f"cd {shlex.quote(str(home))} && env {' '.join(variables)} {shlex.join(job.arguments)}"
    )
    folder.mkdir(parents=True)
    job = msgspec.structs.replace(job, command=command)
    files.write_whole(folder / "job.json", msgspec.json.format(msgspec.json.encode(job)))


def check_inputs(job: Job, folder: Path) -> None:
    """Raise ValueError if an input is not what it was when the run was prepared."""
    if wrong := files.damage(folder / job.inputs, job.inputs_sha256):
        raise ValueError(f"inputs: {wrong}; bakeoff run --resume mends it")


def read(folder: Path) -> Job:
    """Read `job.json`. Raises OSError, ValueError."""
    return msgspec.json.decode(files.read_whole(folder / "job.json"), type=Job)
