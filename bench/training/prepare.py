"""Write the folder of a run, with every job ready to be run. It appears whole, or not at all."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np

from ...backends import modes as modes_of
from ...backends.contract import Mode
from ...datasets.dataset import Dataset
from ...models import InputError
from .. import workload
from ..checks import check_output, check_unique
from ..environments import machine
from ..environments.code import digest, write_zip
from ..environments.find import Backend
from ..worker.files import read_arrays
from ..workload import Workload
from . import audits, inputs
from .jobs import describe, write_job
from .plan import RunRequest, Work, origin
from .run_folder import (
    SCHEMA_VERSION,
    CheckpointSpec,
    Plan,
    Planned,
    RunSpec,
    job_name,
    places,
    write_run,
)

_CODE_BYTES = 2**21  # the zip is 1.2 MB


def prepare(request: RunRequest, work: Work, backends: list[Backend]) -> Path:
    """Write the run folder and return it. Raises InputError when it cannot be written."""
    check_unique([backend.name for backend in backends], "backend")
    output = request.output.resolve()
    try:
        _write(output, request, backends, work)
    except OSError as error:
        raise InputError(
            f"{output} cannot be written ({error.strerror}); choose another folder with --output"
        ) from None
    return output


def _write(output: Path, request: RunRequest, backends: list[Backend], work: Work) -> None:
    check_output(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(f".{output.name}.partial-{os.getpid()}")
    try:
        partial.mkdir()
        _check_space(output, request, work)
        planned = [_write_inputs(partial / "inputs", w, dataset, request) for w, dataset in work]
        write_zip(partial / "code.zip")
        spec = _spec(request, backends, work, planned, inputs.hashes_of(partial / "inputs"))
        datasets = {w.name: dataset for w, dataset in work}
        for name, place in places(spec).items():
            described = describe(spec, place, datasets[place.workload], partial)
            write_job(described, partial / "jobs" / name, output / "jobs" / name)
        write_run(partial, spec)
        partial.replace(output)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _check_space(output: Path, request: RunRequest, work: Work) -> None:
    """Refuse a disk on which the inputs and the results would not fit."""
    numbers = sum(
        len(request.seeds)
        * (2 * w.model.cost.parameters * len(request.modes) + w.epochs * len(d.train.x))
        for w, d in work
    )
    needed, free = _CODE_BYTES + 8 * numbers, shutil.disk_usage(output.parent).free
    if free < needed:
        raise InputError(
            f"{output}: {free / 2**20:.1f} MB are free, this run needs {needed / 2**20:.1f} MB; "
            "free space, or choose another folder with --output"
        )


def _write_inputs(folder: Path, w: Workload, dataset: Dataset, request: RunRequest) -> Planned:
    """Write the inputs of every seed; the first one decides how the workload is audited."""
    plan: Plan | None = None
    for seed in request.seeds:
        of_seed = folder / inputs.folder_name(w.name, seed)
        order = inputs.write(of_seed, w, dataset, seed, request.dtype, request.start)
        plan = plan or _plan_audits(of_seed, w, dataset, order, request)
    assert plan
    return Planned(w, plan)


def _plan_audits(
    folder: Path, w: Workload, dataset: Dataset, order: np.ndarray, request: RunRequest
) -> Plan:
    weights = read_arrays(folder / "weights.npz")
    state = request.start.state if request.start else None
    epochs = order[request.start.epochs if request.start else 0 :]
    return audits.plan(w.model, dataset, epochs, weights, state, request.dtype)


def _jobs(
    request: RunRequest, backends: list[Backend], modes: dict[str, tuple[Mode, ...]], work: Work
) -> list[str]:
    """Return the jobs in running order: every other seed backwards, so that a drift of the machine
    cancels.
    """
    rows = [
        (w.name, backend.name, mode)
        for w, _ in work
        for backend in backends
        if backend.python
        for mode in modes[backend.name]
    ]
    return [
        job_name(*row, seed)
        for seed in request.seeds
        for row in (rows if seed % 2 == 0 else reversed(rows))
    ]


def _spec(
    request: RunRequest,
    backends: list[Backend],
    work: Work,
    planned: list[Planned],
    input_hashes: dict[str, str],
) -> RunSpec:
    modes = {each.name: modes_of(each.adapter, request.modes) for each in backends}
    return RunSpec(
        schema_version=SCHEMA_VERSION,
        bakeoff_version=version("bakeoff"),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=request.command,
        seeds=list(request.seeds),
        device=request.device,
        dtype=request.dtype,
        asked_modes=request.modes,
        modes=modes,
        threads=request.threads,
        timeout=request.timeout,
        data_dir=str(request.data_dir.resolve()) if request.data_dir else None,
        parity=request.parity,
        audited=request.audited,
        epochs_done=request.start.epochs if request.start else 0,
        jobs=_jobs(request, backends, modes, work),
        code_sha256=digest(),
        inputs=input_hashes,
        machine=machine.look(),
        backends=backends,
        workloads=[workload.facts(w, dataset) for w, dataset in work],
        planned=planned,
        checkpoint=_checkpoint_spec(request, work),
    )


def _checkpoint_spec(request: RunRequest, work: Work) -> CheckpointSpec | None:
    if request.checkpoint is None:
        return None
    ((w, dataset),) = work
    return CheckpointSpec(str(request.checkpoint.absolute()), origin(request, w, dataset))
