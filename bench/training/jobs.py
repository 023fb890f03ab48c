"""Run the jobs of a run folder, one worker process after another, and follow what they write."""

from __future__ import annotations

import shutil
from pathlib import Path

import filelock
import msgspec

from ...datasets import load
from ...models import InputError
from ..environments import process
from ..worker import job, notes, records
from ..worker.files import read_arrays
from ..worker.records import Epoch, Finished, Record, Refused
from . import checkpoint
from .checkpoint import Checkpoint
from .plan import DownloadProgress
from .progress import Display
from .run_folder import CheckpointSpec, RunSpec, read_run

_RESULTS = ("records.jsonl", "log.txt", "weights.npz", "predictions.npy", "state.npz")
_NOTED = ("validation.npy", "again.npy", "repeated.npy", "audit.json", "predictions.csv")


def run(folder: Path, display: Display) -> None:
    """Run every job of a run that has not come to its own end, in order.

    A job that fails, dies or times out gets a record that says so, and the others go on. On
    KeyboardInterrupt the worker is ended, its job marked, and the interrupt raised again.
    """
    spec = read_run(folder)
    try:
        with filelock.FileLock(folder / ".lock", timeout=0), display:
            for name in spec.jobs:
                job_folder = folder / "jobs" / name
                if not is_done(job_folder):
                    _clear(job_folder)
                    _run_job(job_folder, spec, display)
    except filelock.Timeout:
        raise InputError(f"{folder} is being run by another process; wait for it to end") from None


def is_done(job_folder: Path) -> bool:
    """Say whether a job finished or was refused; any other end is worth another try."""
    end = records.ending(records.read(job_folder / "records.jsonl"))
    return isinstance(end, Finished | Refused)


def check_resumable(folder: Path, download_progress: DownloadProgress | None) -> RunSpec:
    """Make sure that what is left can be done, on data that are what they were. InputError."""
    spec = read_run(folder)
    for name in spec.jobs:
        _check_job(folder / "jobs" / name)
    data_dir = Path(spec.data_dir) if spec.data_dir else None
    for facts in spec.workloads:
        dataset = load(facts.dataset, data_dir=data_dir, progress=download_progress)
        if dataset.sha256 != facts.dataset_sha256:
            raise InputError(
                f"{facts.dataset} has changed since {folder} was made "
                f"({facts.dataset_sha256[:12]} then, {dataset.sha256[:12]} now); start a new run"
            )
    return spec


def _check_job(job_folder: Path) -> None:
    if is_done(job_folder):
        return
    try:
        job.read(job_folder)
    except (OSError, msgspec.DecodeError) as error:
        raise InputError(
            f"{job_folder} cannot be gone on with ({error}): it is damaged, or of another version "
            "of bakeoff; start a new run"
        ) from None


def _clear(job_folder: Path) -> None:
    for name in (*_RESULTS, *_NOTED):
        (job_folder / name).unlink(missing_ok=True)
    shutil.rmtree(job_folder / notes.FOLDER, ignore_errors=True)


def _run_job(folder: Path, spec: RunSpec, display: Display) -> None:
    what = job.read(folder)
    display.begin(what)

    def show(record: Record) -> None:
        display.show(record)
        if spec.checkpoint and isinstance(record, Epoch):
            _write_checkpoint(spec.checkpoint, what.backend, folder / "state.npz")

    process.work(what.arguments, folder, what.environment, spec.timeout, show)


def _write_checkpoint(spec: CheckpointSpec, backend: str, state: Path) -> None:
    tensors = read_arrays(state)
    epochs = int(tensors.pop("epochs"))
    made = Checkpoint(origin=spec.origin, backend=backend, epochs=epochs, tensors=tensors)
    checkpoint.write(made, Path(spec.path))
