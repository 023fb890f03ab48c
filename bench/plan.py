"""From what the user asked to a run folder that holds every job, ready to be run.

All input is checked before anything is written; the folder appears whole, or not at all.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import tomli_w
from msgspec import Struct, structs

from ..backends.contract import DType, Execution, Mode
from ..datasets import load
from ..datasets.dataset import Dataset
from ..models import InputError
from ..models.init import batch_order, initial_weights
from ..models.toml import decode
from . import job, machine, workload
from .code import write_zip
from .environments import Backend
from .machine import Machine
from .metrics import LOWER_IS_BETTER
from .summary import WorkloadFacts
from .workload import Workload

SCHEMA_VERSION = 1
DEFAULT_SUITE = ("boston-linear", "mnist-mlp", "mnist-lenet5")
_CODE_BYTES = 2**20  # the zip is a few hundred kilobytes

DownloadProgress = Callable[[str, int, int], None]


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
    output: Path | None
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


def prepare(
    request: Request, backends: list[Backend], download_progress: DownloadProgress | None
) -> Path:
    """Check everything, then write the run folder and return it. Raises InputError."""
    _check_execution(request)
    workloads = [_override(workload.read(name), request) for name in request.workloads]
    _check_unique([w.name for w in workloads], "workload")
    _check_unique([b.name for b in backends], "backend")
    datasets = [
        load(w.dataset, data_dir=request.data_dir, progress=download_progress) for w in workloads
    ]
    for work, dataset in zip(workloads, datasets, strict=True):
        workload.check(work, dataset)
    output = (request.output or _default_output()).resolve()
    try:
        _write(output, request, backends, list(zip(workloads, datasets, strict=True)))
    except OSError as error:
        raise InputError(
            f"{output} cannot be written ({error.strerror}); choose another folder with --output"
        ) from None
    return output


def job_name(work: str, backend: str, mode: Mode, seed: int) -> str:
    """Return the folder of a job under `jobs/`."""
    return f"{work}/{backend}-{mode}-{seed}"


def _check_execution(request: Request) -> None:
    if not re.fullmatch(r"cpu|cuda(:\d+)?", request.device):
        raise InputError(f'--device "{request.device}": expected cpu, cuda or cuda:N')
    cores = os.cpu_count() or 1
    if request.threads > cores:
        raise InputError(
            f"--threads {request.threads}: this machine has {cores} cores; ask for at most {cores}"
        )


def _check_unique(names: list[str], what: str) -> None:
    if twice := {name for name in names if names.count(name) > 1}:
        raise InputError(f'{what} "{min(twice)}" is named twice; name each once')


def _override(work: Workload, request: Request) -> Workload:
    changes = {
        "epochs": request.epochs,
        "batch_size": request.batch_size,
        "dataset": request.dataset,
    }
    return structs.replace(work, **{k: v for k, v in changes.items() if v is not None})


def _default_output() -> Path:
    return Path("bakeoff-runs") / datetime.now().strftime("%Y%m%d-%H%M%S")


def _write(
    output: Path, request: Request, backends: list[Backend], work: list[tuple[Workload, Dataset]]
) -> None:
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(
            f"{output} exists already; choose another folder with --output, "
            f"or go on with it: bakeoff run --resume {output}"
        )
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(f".{output.name}.partial-{os.getpid()}")
    try:
        partial.mkdir()
        _check_space(output, request, work)
        jobs = _write_jobs(partial, output, request, backends, work)
        spec = _spec(request, backends, work, jobs)
        (partial / "run.toml").write_bytes(_toml(spec))
        write_zip(partial / "code.zip")
        partial.replace(output)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _check_space(output: Path, request: Request, work: list[tuple[Workload, Dataset]]) -> None:
    """Refuse a disk on which the inputs and the results would not fit."""
    numbers = sum(
        request.seeds
        * (2 * w.model.cost.parameters * len(request.modes) + w.epochs * len(d.train.x))
        for w, d in work
    )
    needed, free = _CODE_BYTES + 8 * numbers, shutil.disk_usage(output.parent).free
    if free < needed:
        raise InputError(
            f"{output}: {free / 2**20:.1f} MB are free, this run needs {needed / 2**20:.1f} MB; "
            "free space, or choose another folder with --output"
        )


def _write_jobs(
    partial: Path,
    output: Path,
    request: Request,
    backends: list[Backend],
    work: list[tuple[Workload, Dataset]],
) -> list[str]:
    names = []
    for w, dataset in work:
        for seed in range(request.seeds):
            inputs = f"inputs/{w.name}-{seed}"
            _write_inputs(partial / inputs, w, dataset, seed, request.dtype)
            pairs = [(b, mode) for b in backends if b.python for mode in request.modes]
            # Every other seed runs backwards, so that a drift of the machine cancels.
            for backend, mode in pairs if seed % 2 == 0 else reversed(pairs):
                name = job_name(w.name, backend.name, mode, seed)
                execution = Execution(request.device, request.dtype, mode, request.threads)
                to_write = _job(w, dataset, backend, execution, seed)
                job.write(to_write, partial / "jobs" / name, output / "jobs" / name)
                names.append(name)
    return names


def _write_inputs(folder: Path, w: Workload, dataset: Dataset, seed: int, dtype: DType) -> None:
    folder.mkdir(parents=True)
    weights = initial_weights(w.model, seed, dtype)
    np.savez(folder / "weights.npz", allow_pickle=False, **weights)
    samples = len(dataset.train.x)
    order = batch_order(samples, batch_size=w.batch_size, epochs=w.epochs, seed=seed)
    np.save(folder / "order.npy", order)


def _job(
    w: Workload, dataset: Dataset, backend: Backend, execution: Execution, seed: int
) -> job.Job:
    assert backend.python
    return job.Job(
        workload=w.name,
        model=w.model,
        dataset=str(dataset.folder),
        dataset_sha256=dataset.sha256,
        backend=backend.name,
        adapter=backend.adapter,
        execution=execution,
        seed=seed,
        epochs=w.epochs,
        metric=w.metric,
        inputs=f"../../../inputs/{w.name}-{seed}",
        python=backend.python,
        environment=job.worker_variables(execution.threads, "../../../code.zip"),
    )


def _spec(
    request: Request,
    backends: list[Backend],
    work: list[tuple[Workload, Dataset]],
    jobs: list[str],
) -> RunSpec:
    return RunSpec(
        schema_version=SCHEMA_VERSION,
        bakeoff_version=version("bakeoff"),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=request.command,
        seeds=request.seeds,
        device=request.device,
        dtype=request.dtype,
        modes=request.modes,
        threads=request.threads,
        timeout=request.timeout,
        data_dir=str(request.data_dir.resolve()) if request.data_dir else None,
        jobs=jobs,
        machine=machine.look(),
        backends=backends,
        workloads=[_facts(w, dataset) for w, dataset in work],
    )


def _facts(w: Workload, dataset: Dataset) -> WorkloadFacts:
    cost = w.model.cost
    return WorkloadFacts(
        name=w.name,
        description=w.description,
        model=w.model.name,
        dataset=w.dataset,
        dataset_sha256=dataset.sha256,
        dataset_size=" / ".join(
            f"{len(split.x):,}" for split in (dataset.train, dataset.validation, dataset.test)
        ),
        parameters=cost.parameters,
        training_flops=cost.training_flops,
        batch_size=w.batch_size,
        epochs=w.epochs,
        metric=w.metric,
        lower_is_better=w.metric in LOWER_IS_BETTER,
        target=w.target,
    )


def _toml(spec: RunSpec) -> bytes:
    return tomli_w.dumps(_without_none(msgspec.to_builtins(spec))).encode()


def _without_none(value: Any) -> Any:
    """Return plain data without its nulls, which TOML does not have."""
    if isinstance(value, dict):
        return {k: _without_none(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [_without_none(v) for v in value]
    return value
