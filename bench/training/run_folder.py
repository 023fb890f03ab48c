"""The folder of a run: `run.toml`, which keeps what was asked, and where each job lies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import filelock
from msgspec import Struct

from ...backends.contract import AskedMode, DType, Mode
from ...models import InputError
from ..environments import folders
from ..environments.find import Backend
from ..environments.machine import Machine
from ..results.summary import WorkloadFacts
from ..workload import Workload
from .checkpoint import Origin

SCHEMA_VERSION = 3


class CheckpointSpec(Struct, frozen=True):
    """Where a run's one training is put after every epoch, and what is told of its origin."""

    path: str
    origin: Origin


class Plan(Struct, frozen=True):
    """How the steps of a workload are cut into blocks, and how many may be audited of a job."""

    steps_per_block: int
    blocks: int


class Planned(Struct, frozen=True):
    """A workload as it is trained, and how it is audited."""

    workload: Workload
    plan: Plan


class RunSpec(Struct, frozen=True, kw_only=True):
    """`run.toml`: what was asked, resolved. `jobs` are folders under `jobs/`, in running order.

    `modes` are those of every backend that was found.

    With the data, which are known by their hash, it says all that the jobs are made of: `inputs`
    has the hash of every file under `inputs/`, `code_sha256` is that of the code.
    """

    schema_version: int
    bakeoff_version: str
    created: str
    command: str
    seeds: list[int]
    device: str
    dtype: DType
    asked_modes: tuple[AskedMode, ...]
    modes: dict[str, tuple[Mode, ...]]
    threads: int
    timeout: float
    data_dir: str | None = None
    parity: bool
    audited: bool
    epochs_done: int
    jobs: list[str]
    code_sha256: str
    inputs: dict[str, str]
    machine: Machine
    backends: list[Backend]
    workloads: list[WorkloadFacts]
    planned: list[Planned]
    checkpoint: CheckpointSpec | None = None


class Place(NamedTuple):
    """Which job it is."""

    workload: str
    backend: str
    mode: Mode
    seed: int


def read_run(folder: Path) -> RunSpec:
    """Read a run folder's `run.toml`. InputError if it is not a run, damaged, or one of another
    version.
    """
    path = folder / "run.toml"
    if not path.is_file():
        unfinished = (folder / "bench.toml").is_file()
        raise InputError(
            f"{folder} is a benchmark without a result; bakeoff bench --resume {folder}"
            if unfinished
            else f"{folder} is not a run: it has no run.toml; give a folder made by bakeoff run"
        )
    return folders.read_asked(path, RunSpec, SCHEMA_VERSION, _check_names, what="run")


def write_run(folder: Path, spec: RunSpec) -> None:
    """Write `run.toml`, and remember that it was written on this machine."""
    folders.write_asked(folder / "run.toml", spec)


def _check_names(spec: RunSpec) -> None:
    """Raise ValueError unless the jobs are those that were asked for, each in a folder of its own
    under the run's.
    """
    names = [facts.name for facts in spec.workloads] + [backend.name for backend in spec.backends]
    folders.check_names(names)
    if sorted(spec.modes) != sorted(backend.name for backend in spec.backends):
        raise ValueError("its modes are not those of its backends")
    if sorted(spec.jobs) != sorted(places(spec)):
        raise ValueError("its jobs are not those of its workloads, backends, modes and seeds")
    if [planned.workload.name for planned in spec.planned] != names[: len(spec.workloads)]:
        raise ValueError("its workloads are not those that were planned")


def places(spec: RunSpec) -> dict[str, Place]:
    """Return every job of a run by its folder under `jobs/`."""
    found = [
        Place(facts.name, backend.name, mode, seed)
        for facts in spec.workloads
        for backend in spec.backends
        if backend.python
        for mode in spec.modes[backend.name]
        for seed in spec.seeds
    ]
    return {job_name(*place): place for place in found}


def job_name(work: str, backend: str, mode: str, seed: int) -> str:
    """Return the folder of a job under `jobs/`."""
    return f"{work}/{backend}-{mode}-{seed}"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from running the same folder. Raises InputError if one does."""
    try:
        with filelock.FileLock(folder / ".lock", timeout=0):
            yield
    except filelock.Timeout:
        raise InputError(f"{folder} is being run by another process; wait for it to end") from None
