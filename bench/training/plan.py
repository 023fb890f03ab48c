"""What the user asked of a run, and whether it can be done."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct, field, structs

from ...backends.contract import AskedMode, DType
from ...datasets import load
from ...datasets.dataset import Dataset
from ...models import InputError
from ...models.shapes import Natural, PositiveInt
from .. import workload
from ..checks import (
    check_execution,
    check_modes,
    check_output,
    check_unique,
    check_values,
    command_line,
)
from ..workload import Workload
from .checkpoint import Checkpoint, Origin, spec_sha256

DownloadProgress = Callable[[str, int, int], None]  # file name, bytes done, bytes in total
Work = list[tuple[Workload, Dataset]]


class RunRequest(Struct, frozen=True, kw_only=True):
    """What the user asked; None is the default of the workload, or every backend found.

    `parity` says whether the rows are certified, and `audited` whether their processes are audited,
    without both of which their speeds are not comparable.
    `start` is the checkpoint that a training goes on from, `checkpoint` the path where it is put.
    """

    workloads: tuple[str | Workload, ...]
    backends: Annotated[tuple[str, ...], Meta(min_length=1)] | None
    pythons: Mapping[str, Path]
    seeds: Annotated[tuple[Natural, ...], Meta(min_length=1)]
    epochs: PositiveInt | None
    batch_size: PositiveInt | None
    dataset: str | None
    data_dir: Path | None
    device: str
    dtype: DType
    modes: Annotated[tuple[AskedMode, ...], Meta(min_length=1)]
    threads: PositiveInt
    timeout: Annotated[float, Meta(ge=0.1)]
    output: Path
    parity: bool = True
    audited: bool = True
    start: Checkpoint | None = None
    checkpoint: Path | None = None
    command: str = field(default_factory=command_line)


def check(request: RunRequest, download_progress: DownloadProgress | None) -> Work:
    """Read and check all that a run will need but its interpreters. Raises InputError."""
    check_values(request)
    check_execution(request.device, request.threads)
    check_modes(request.modes)
    check_output(request.output)
    workloads = [_override(w, request) for w in named(request)]
    check_unique([w.name for w in workloads], "workload")
    if request.start:
        _check_start(request.start, workloads[0])
    work = [
        (w, load(w.dataset, data_dir=request.data_dir, progress=download_progress))
        for w in workloads
    ]
    for w, dataset in work:
        workload.check(w, dataset)
        if request.start:
            _check_data(request.start, dataset)
    if request.checkpoint:
        _check_checkpoint(request.checkpoint)
    return work


def named(request: RunRequest) -> list[Workload]:
    """Return the workloads as they were named, or that of the checkpoint. Raises InputError."""
    if request.start and not request.workloads:
        return [request.start.origin.workload]
    if not request.workloads:
        raise InputError("no workload is named; name one or more")
    return [workload.read(name) for name in request.workloads]


def origin(request: RunRequest, w: Workload, dataset: Dataset) -> Origin:
    """Return what a checkpoint of a request's one training is told of its origin."""
    (planned,) = named(request)
    return Origin(
        workload=structs.replace(w, epochs=planned.epochs),
        dataset_sha256=dataset.sha256,
        seed=request.seeds[0],
        dtype=request.dtype,
    )


def _check_start(start: Checkpoint, w: Workload) -> None:
    """Raise InputError unless a training of `w` can go on from `start`."""
    then = start.origin
    if spec_sha256(w.model) != spec_sha256(then.workload.model):
        raise InputError(
            f"the checkpoint is of {then.workload.name} (spec {then.spec_sha256[:12]}), whose "
            f"model is not that of {w.name}; go on with what it was made with, or start anew"
        )
    if w.epochs <= start.epochs:
        raise InputError(
            f"the checkpoint has {start.epochs} epochs behind it, {w.epochs} were asked for in "
            f"all; ask for more: --epochs {start.epochs + 1}"
        )


def _check_data(start: Checkpoint, dataset: Dataset) -> None:
    then, now = start.origin.dataset_sha256, dataset.sha256
    if then != now:
        raise InputError(
            f"{dataset.name} has changed since the checkpoint was made "
            f"({then[:12]} then, {now[:12]} now); start anew without --resume"
        )


def _check_checkpoint(path: Path) -> None:
    """Raise InputError if a checkpoint cannot be put there."""
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise InputError(
            f"--checkpoint {path}: {path.parent} is not a folder that can be written to; "
            "make it, or choose another path"
        )


def _override(work: Workload, request: RunRequest) -> Workload:
    changes = {
        "epochs": request.epochs,
        "batch_size": request.batch_size,
        "dataset": request.dataset,
    }
    work = structs.replace(work, **{k: v for k, v in changes.items() if v is not None})
    return workload.at(work, Path()) if request.dataset else work
