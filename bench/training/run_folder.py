"""The folder of a run: `run.toml`, which keeps what was asked, and where each job lies."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from ...backends.contract import DType, Mode
from ...models import InputError
from ...models.toml import decode
from ..environments.find import Backend
from ..environments.machine import Machine
from ..results.summary import WorkloadFacts
from .checkpoint import Origin

SCHEMA_VERSION = 1


class CheckpointSpec(Struct, frozen=True):
    """Where a run's one training is put after every epoch, and what is told of its origin."""

    path: str
    origin: Origin


class RunSpec(Struct, frozen=True, kw_only=True):
    """`run.toml`: what was asked, resolved. `jobs` are folders under `jobs/`, in running order."""

    schema_version: int
    bakeoff_version: str
    created: str
    command: str
    seeds: list[int]
    device: str
    dtype: DType
    modes: tuple[Mode, ...]
    threads: int
    timeout: float
    data_dir: str | None = None
    jobs: list[str]
    machine: Machine
    backends: list[Backend]
    workloads: list[WorkloadFacts]
    checkpoint: CheckpointSpec | None = None


def read_run(folder: Path) -> RunSpec:
    """Read a run folder's `run.toml`. InputError if it is not a run, or one of another version."""
    if not (folder / "run.toml").is_file():
        raise InputError(
            f"{folder} is not a run: it has no run.toml; give a folder made by bakeoff run"
        )
    spec = decode(folder / "run.toml", RunSpec)
    if spec.schema_version != SCHEMA_VERSION:
        raise InputError(
            f"{folder} has schema version {spec.schema_version}, this bakeoff reads "
            f"{SCHEMA_VERSION}; use bakeoff {spec.bakeoff_version}"
        )
    return spec


def job_name(work: str, backend: str, mode: Mode, seed: int) -> str:
    """Return the folder of a job under `jobs/`."""
    return f"{work}/{backend}-{mode}-{seed}"
