"""What the user asked, checked; and `run.toml`, which keeps it, resolved, in the run's folder."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path

from msgspec import Struct, structs

from ..backends.contract import DType, Mode
from ..datasets import load
from ..datasets.dataset import Dataset
from ..models import InputError
from ..models.toml import decode
from . import workload
from .environments import Backend
from .machine import Machine
from .summary import WorkloadFacts
from .workload import Workload

SCHEMA_VERSION = 1
DEFAULT_SUITE = ("boston-linear", "mnist-mlp", "mnist-lenet5")

DownloadProgress = Callable[[str, int, int], None]  # file name, bytes done, bytes in total
Work = list[tuple[Workload, Dataset]]


class Request(Struct, frozen=True, kw_only=True):
    """What the user asked; None is the default of the workload, or every backend found."""

    workloads: tuple[str, ...]
    backends: tuple[str, ...] | None
    pythons: Mapping[str, Path]
    seeds: int
    epochs: int | None
    batch_size: int | None
    dataset: str | None
    data_dir: Path | None
    device: str
    dtype: DType
    modes: tuple[Mode, ...]
    threads: int
    timeout: float
    output: Path
    command: str


class RunSpec(Struct, frozen=True, kw_only=True):
    """`run.toml`: what was asked, resolved. `jobs` are folders under `jobs/`, in running order."""

    schema_version: int
    bakeoff_version: str
    created: str
    command: str
    seeds: int
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


def check(request: Request, download_progress: DownloadProgress | None) -> Work:
    """Read and check all that a run will need but its interpreters. Raises InputError."""
    _check_execution(request)
    check_output(request.output)
    workloads = [_override(workload.read(name), request) for name in request.workloads]
    check_unique([w.name for w in workloads], "workload")
    work = [
        (w, load(w.dataset, data_dir=request.data_dir, progress=download_progress))
        for w in workloads
    ]
    for w, dataset in work:
        workload.check(w, dataset)
    return work


def job_name(work: str, backend: str, mode: Mode, seed: int) -> str:
    """Return the folder of a job under `jobs/`."""
    return f"{work}/{backend}-{mode}-{seed}"


def check_output(output: Path) -> None:
    """Raise InputError if the output folder is there already, unless it is empty."""
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(
            f"{output} exists already; choose another folder with --output, "
            f"or go on with it: bakeoff run --resume {output}"
        )


def default_output() -> Path:
    """Return the output folder of a run that names none."""
    return Path("bakeoff-runs") / datetime.now().strftime("%Y%m%d-%H%M%S")


def _check_execution(request: Request) -> None:
    if not re.fullmatch(r"cpu|cuda(:\d+)?", request.device):
        raise InputError(f'--device "{request.device}": expected cpu, cuda or cuda:N')
    cores = os.cpu_count() or 1
    if request.threads > cores:
        raise InputError(
            f"--threads {request.threads}: this machine has {cores} cores; ask for at most {cores}"
        )


def check_unique(names: list[str], what: str) -> None:
    """Raise InputError if a name is there twice."""
    if twice := {name for name in names if names.count(name) > 1}:
        raise InputError(f'{what} "{min(twice)}" is named twice; name each once')


def _override(work: Workload, request: Request) -> Workload:
    changes = {
        "epochs": request.epochs,
        "batch_size": request.batch_size,
        "dataset": request.dataset,
    }
    return structs.replace(work, **{k: v for k, v in changes.items() if v is not None})
