"""Write the folder of a run, with every job ready to be run. It appears whole, or not at all."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import tomli_w

from ...backends.contract import Execution
from ...datasets.dataset import Dataset
from ...models import InputError
from ...models.init import batch_order, initial_weights
from ...models.toml import plain
from .. import workload
from ..checks import check_output, check_unique
from ..environments import machine
from ..environments.code import write_zip
from ..environments.find import Backend
from ..environments.process import worker_variables
from ..worker import job
from ..worker.files import read_arrays
from ..workload import Workload
from . import audits
from .plan import RunRequest, Work, origin
from .run_folder import SCHEMA_VERSION, CheckpointSpec, RunSpec, job_name

_CODE_BYTES = 2**20  # the zip is a few hundred kilobytes


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
        jobs = _write_jobs(partial, output, request, backends, work)
        spec = _spec(request, backends, work, jobs)
        (partial / "run.toml").write_bytes(_toml(spec))
        write_zip(partial / "code.zip")
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


def _write_jobs(
    partial: Path,
    output: Path,
    request: RunRequest,
    backends: list[Backend],
    work: Work,
) -> list[str]:
    names = []
    for w, dataset in work:
        plan: audits.Plan | None = None  # of the first seed: a run has one length of blocks
        for seed in request.seeds:
            order = _write_inputs(partial / f"inputs/{w.name}-{seed}", w, dataset, seed, request)
            if plan is None:
                plan = _plan_audits(partial / f"inputs/{w.name}-{seed}", w, dataset, order, request)
            pairs = [(b, mode) for b in backends if b.python for mode in request.modes]
            # Every other seed runs backwards, so that a drift of the machine cancels.
            for backend, mode in pairs if seed % 2 == 0 else reversed(pairs):
                name = job_name(w.name, backend.name, mode, seed)
                execution = Execution(request.device, request.dtype, mode, request.threads)
                to_write = _job(w, dataset, backend, execution, seed, request, plan, order.shape[1])
                job.write(to_write, partial / "jobs" / name, output / "jobs" / name)
                names.append(name)
    return names


def _plan_audits(
    inputs: Path, w: Workload, dataset: Dataset, order: np.ndarray, request: RunRequest
) -> audits.Plan:
    weights = read_arrays(inputs / "weights.npz")
    state = request.start.state if request.start else None
    epochs = order[request.start.epochs if request.start else 0 :]
    return audits.plan(w.model, dataset, epochs, weights, state, request.dtype)


def _write_inputs(
    folder: Path, w: Workload, dataset: Dataset, seed: int, request: RunRequest
) -> np.ndarray:
    folder.mkdir(parents=True)
    if request.start:
        weights = request.start.weights
        np.savez(folder / "state.npz", allow_pickle=False, **request.start.state)
    else:
        weights = initial_weights(w.model, seed, request.dtype)
    np.savez(folder / "weights.npz", allow_pickle=False, **weights)
    samples = len(dataset.train.x)
    order = batch_order(samples, batch_size=w.batch_size, epochs=w.epochs, seed=seed)
    np.save(folder / "order.npy", order)
    return order


def _job(
    w: Workload,
    dataset: Dataset,
    backend: Backend,
    execution: Execution,
    seed: int,
    request: RunRequest,
    plan: audits.Plan,
    steps: int,
) -> job.Job:
    assert backend.python
    epochs_done = request.start.epochs if request.start else 0
    epochs = range(epochs_done + 1, w.epochs + 1)
    return job.Job(
        workload=w.name,
        model=w.model,
        dataset=str(dataset.folder),
        dataset_sha256=dataset.sha256,
        backend=backend.name,
        adapter=backend.adapter,
        execution=execution,
        seed=seed,
        target_mean=dataset.target_mean,
        target_scale=dataset.target_scale,
        epochs=w.epochs,
        epochs_done=epochs_done,
        keeps_state=request.checkpoint is not None,
        steps_per_block=plan.steps_per_block,
        audits=audits.draw(plan, epochs, steps) if request.audited else [],
        metric=w.metric,
        inputs=f"../../../inputs/{w.name}-{seed}",
        python=backend.python,
        environment=worker_variables(execution.threads, "../../../code.zip"),
    )


def _spec(
    request: RunRequest,
    backends: list[Backend],
    work: Work,
    jobs: list[str],
) -> RunSpec:
    return RunSpec(
        schema_version=SCHEMA_VERSION,
        bakeoff_version=version("bakeoff"),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=request.command,
        seeds=list(request.seeds),
        device=request.device,
        dtype=request.dtype,
        modes=request.modes,
        threads=request.threads,
        timeout=request.timeout,
        data_dir=str(request.data_dir.resolve()) if request.data_dir else None,
        jobs=jobs,
        machine=machine.look(),
        backends=backends,
        workloads=[workload.facts(w, dataset) for w, dataset in work],
        checkpoint=_checkpoint_spec(request, work),
    )


def _checkpoint_spec(request: RunRequest, work: Work) -> CheckpointSpec | None:
    if request.checkpoint is None:
        return None
    ((w, dataset),) = work
    return CheckpointSpec(str(request.checkpoint.absolute()), origin(request, w, dataset))


def _toml(spec: RunSpec) -> bytes:
    return tomli_w.dumps(plain(spec)).encode()
