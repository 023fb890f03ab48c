"""Run the jobs of a run folder, each a worker process, and follow what they write."""

from __future__ import annotations

from pathlib import Path

from ...backends.contract import Execution
from ...datasets.dataset import Dataset
from ..environments import machine
from ..environments.process import Worker, work_in_turn, worker_variables
from ..worker import job, records
from ..worker.files import read_array, read_arrays, remove
from ..worker.job import Job
from ..worker.records import Epoch, Finished, Record, Refused
from . import audits, checkpoint, inputs
from .checkpoint import Checkpoint
from .progress import Display, title
from .run_folder import CheckpointSpec, Place, RunSpec, places, read_run

_TOGETHER = 6  # workers that have imported and wait: some 2 GB of all six frameworks


def describe(spec: RunSpec, place: Place, dataset: Dataset, folder: Path) -> Job:
    """Return what a worker is told of a job, of a run with its inputs in the folder."""
    (planned,) = (each for each in spec.planned if each.workload.name == place.workload)
    (backend,) = (each for each in spec.backends if each.name == place.backend)
    w, drawn = planned.workload, inputs.folder_name(place.workload, place.seed)
    steps = read_array(folder / "inputs" / drawn / "order.npy").shape[1]
    epochs = range(spec.epochs_done + 1, w.epochs + 1)
    assert backend.python
    return Job(
        workload=w.name,
        model=w.model,
        dataset=str(dataset.folder),
        dataset_sha256=dataset.sha256,
        backend=backend.name,
        adapter=backend.adapter,
        execution=Execution(spec.device, spec.dtype, place.mode, spec.threads),
        seed=place.seed,
        target_mean=dataset.target_mean,
        target_scale=dataset.target_scale,
        epochs=w.epochs,
        epochs_done=spec.epochs_done,
        keeps_state=spec.checkpoint is not None,
        steps_per_block=planned.plan.steps_per_block,
        audits=audits.draw(planned.plan, epochs, steps) if spec.audited else [],
        metric=w.metric,
        inputs=f"../../../inputs/{drawn}",
        inputs_sha256=inputs.of(spec, place.workload, place.seed),
        python=backend.python,
        environment=worker_variables(spec.threads, "../../../code.zip"),
    )


def write_job(described: Job, folder: Path, home: Path) -> None:
    """Make the folder of a job, in place of what is there, to be run from `home`."""
    remove(folder)
    job.write(described, folder, home)


def run(folder: Path, display: Display) -> None:
    """Run every job of a run that has not come to its own end, in order.

    Some import together before the first of them trains: nothing else goes on while one does.

    A job that fails, dies or times out gets a record that says so, and the others go on. On
    KeyboardInterrupt the worker is ended, its job marked, and the interrupt raised again.
    """
    spec = read_run(folder)
    waiting = [name for name in spec.jobs if not _is_done(folder / "jobs" / name)]
    by_name = places(spec)
    cores = machine.usable_cores()
    # A framework may take a device's memory as it is imported.
    together = _TOGETHER if spec.device == "cpu" and cores > 1 else 1
    with display:
        display.expect([title(*by_name[name][:3]) for name in waiting])
        for i in range(0, len(waiting), together):
            workers = [
                _worker(folder / "jobs" / name, spec, display) for name in waiting[i : i + together]
            ]
            work_in_turn(workers, spec.timeout, importing=cores)


def _is_done(job_folder: Path) -> bool:
    """Say whether a job finished or was refused; any other end is worth another try."""
    end = records.ending(records.read(job_folder / "records.jsonl"))
    return isinstance(end, Finished | Refused)


def _worker(folder: Path, spec: RunSpec, display: Display) -> Worker:
    what = job.read(folder)

    def show(record: Record) -> None:
        display.show(what, record)
        if spec.checkpoint and isinstance(record, Epoch):
            _write_checkpoint(spec.checkpoint, what.backend, folder / "state.npz")

    return Worker(what.arguments, folder, what.environment, show)


def _write_checkpoint(spec: CheckpointSpec, backend: str, state: Path) -> None:
    tensors = read_arrays(state)
    epochs = int(tensors.pop("epochs"))
    made = Checkpoint(origin=spec.origin, backend=backend, epochs=epochs, tensors=tensors)
    checkpoint.write(made, Path(spec.path))
