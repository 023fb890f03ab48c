"""A job: one workload, backend, execution and seed. A folder, whose `job.json` is all that a worker
is told.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import msgspec
from msgspec import Struct

from ..backends.contract import Execution
from ..models import Model

SCHEMA_VERSION = 1


class Job(Struct, frozen=True, kw_only=True):
    """What a worker reads. `inputs` and `dataset` are folders; `inputs` is relative to the job's.

    A training of `epochs` epochs in all begins behind `epochs_done`; with `keeps_state` the worker
    leaves what a checkpoint is made of after each.

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
    epochs: int
    epochs_done: int = 0
    keeps_state: bool = False
    metric: str
    inputs: str
    python: str
    environment: dict[str, str]
    command: str = ""

    @property
    def arguments(self) -> list[str]:
        """The worker's command line, run in the job's folder.

        -P keeps that folder off `sys.path`.
        """
        return [self.python, "-P", "-m", "bakeoff.bench.worker", "."]


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
    (folder / "job.json").write_bytes(msgspec.json.format(msgspec.json.encode(job)))


def read(folder: Path) -> Job:
    """Read `job.json`. Raises msgspec.ValidationError or OSError."""
    return msgspec.json.decode((folder / "job.json").read_bytes(), type=Job)


def worker_variables(threads: int, code: str) -> dict[str, str]:
    """Return the variables that a worker gets on top of the user's: its code and its threads."""
    count = str(threads)
    return {
        "PYTHONPATH": code,
        # glibc, or memory freed after a step goes back to the system and is cleared again for the
        # next: up to a third of a step, in one process and not in another. The last is for heaps of
        # other threads (JAX's, MXNet's): an empty one, of 64 MiB at most, goes back unless more is
        # to be kept. One arena for all would need none such, but there threads wait for each other:
        # Keras's LSTM on two, a tenth of a step.
        "MALLOC_MMAP_THRESHOLD_": str(2**25),
        "MALLOC_TRIM_THRESHOLD_": str(2**30),
        "MALLOC_TOP_PAD_": str(2**26),
        "OMP_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "TF_NUM_INTRAOP_THREADS": count,
        "TF_NUM_INTEROP_THREADS": "1",
        "NPROC": count,  # what XLA's CPU client takes for the number of cores
    }


def clean_environment() -> dict[str, str]:
    """Return the user's environment, less what would redirect another interpreter's imports."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
