"""The worker that trains: one process, one job, one backend; it writes down what happens.

Run as `python -P -m bakeoff.bench.worker.train JOB_FOLDER`. Nothing random happens here: weights
and batch order are read from the job's inputs.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np

from ... import backends
from ...backends.contract import Batch, Trainer, Unsupported
from . import metrics, notes
from .describe import settings
from .evidence import standing
from .feeding import Split, cast_targets, open_split, stage
from .files import hashes, read_array, read_arrays, sha256, write_array, write_arrays
from .job import EVALUATION_BATCH, Job, blocks, check_inputs
from .job import read as read_job
from .memory import peak_rss_mb
from .parent import end_with_parent, leave, wait_for_turn
from .records import (
    MOST,
    Block,
    Built,
    Emit,
    Epoch,
    Finished,
    Refused,
    Started,
    emitter,
    fail,
)

_REPEATED = 8  # times

Stage = Callable[[np.ndarray], list[Batch]]  # of the rows of a block, [steps, batch]


def main(folder: Path) -> int:
    """Train the job in the folder. Returns the exit code."""
    with emitter(folder / "records.jsonl") as emit:
        try:
            _work(read_job(folder), folder, emit)
        except Unsupported as refusal:
            emit(Refused(reason=str(refusal)))
        except Exception as error:
            return fail(emit, error)
    return 0


def _work(job: Job, folder: Path, emit: Emit) -> None:
    began = perf_counter()
    adapter = backends.load(job.adapter, job.execution.mode)
    emit(
        Started(
            python=platform.python_version(),
            framework_version=adapter.version(),
            numpy_version=np.__version__,
            import_seconds=perf_counter() - began,
            pid=os.getpid(),
            job=sha256(folder / "job.json"),
        )
    )
    wait_for_turn()
    check_inputs(job, folder)
    inputs = folder / job.inputs
    training, validation, test = (
        open_split(Path(job.dataset), name) for name in ("train", "validation", "test")
    )
    weights = read_arrays(inputs / "weights.npz")
    state = read_arrays(inputs / "state.npz") if (inputs / "state.npz").exists() else None
    began = perf_counter()
    trainer = adapter.build(job.model, weights, job.execution, seed=job.seed, state=state)
    emit(
        Built(
            build_seconds=perf_counter() - began,
            parameters=sum(weight.size for weight in weights.values()),
            settings=settings(adapter, job.execution),
            deviations=list(adapter.DEVIATIONS.values()),
        )
    )
    targets = cast_targets(job.model, np.asarray(training.y), job.execution.dtype)
    feed = partial(stage, trainer, training.x, targets, job.execution.dtype)
    order = read_array(inputs / "order.npy")
    for epoch, batches in enumerate(order[job.epochs_done :], start=job.epochs_done + 1):
        summary = _train_epoch(job, folder, trainer, feed, validation, epoch, batches, emit)
        if job.keeps_state:
            _save_state(folder, trainer, epoch)
        emit(summary)
    logits = _predict(trainer, test.x, job.execution.dtype)
    _save(folder, trainer, logits)
    if job.audits:  # the same rows again, in another order
        again = _predict(trainer, test.x[: notes.ASKED_AGAIN][::-1], job.execution.dtype)
        write_array(folder / "again.npy", again)
    if job.audits and notes.dropouts(job.model):
        first = blocks(order[-1], job.steps_per_block)[-1][:1]  # of the last block
        repeated = trainer.train(feed(np.repeat(first, _REPEATED, axis=0)))
        write_array(folder / "repeated.npy", repeated)
    scores, peak = _score(job, logits, test.y), peak_rss_mb()
    left = hashes(folder, "*.npy", "*.npz", f"{notes.FOLDER}/*.npz")
    emit(Finished(metrics=scores, peak_rss_mb=peak, files=left))


def _train_epoch(
    job: Job,
    folder: Path,
    trainer: Trainer,
    feed: Stage,
    validation: Split,
    epoch: int,
    batches: np.ndarray,
    emit: Emit,
) -> Epoch:
    losses: list[float] = []
    for number, indices in enumerate(blocks(batches, job.steps_per_block), start=1):
        before = standing(trainer) if (epoch, number) in job.audits else None
        began = perf_counter()
        staged = feed(indices)
        staged_at = perf_counter()
        block = trainer.train(staged).tolist()
        ended = perf_counter()
        losses += block
        _check_finite(losses, epoch)
        emit(
            Block(
                epoch=epoch,
                samples=indices.size,
                stage_seconds=staged_at - began,
                train_seconds=ended - staged_at,
                losses=block,
            )
        )
        if before is not None:
            path = folder / notes.FOLDER / f"{epoch}-{number}.npz"
            seen = notes.masked(job.model, trainer, staged[0])
            notes.write(path, before, standing(trainer), seen)
    logits = _predict(trainer, validation.x, job.execution.dtype)
    if epoch == job.epochs:
        write_array(folder / "validation.npy", logits)
    scores = _score(job, logits, validation.y)
    return Epoch(epoch=epoch, loss=float(np.mean(losses)), metrics=scores)


def _check_finite(losses: list[float], epoch: int) -> None:
    is_sound = np.abs(losses) < MOST  # nor is what is not a number
    if not is_sound.all():
        step = int(np.argmin(is_sound)) + 1
        raise FloatingPointError(
            f"the loss became {losses[step - 1]} in epoch {epoch}, step {step}; "
            "lower the learning rate"
        )


def _predict(trainer: Trainer, x: np.ndarray, dtype: str) -> np.ndarray:
    chunks = range(0, len(x), EVALUATION_BATCH)
    return np.concatenate(
        [trainer.predict(x[i : i + EVALUATION_BATCH].astype(dtype)) for i in chunks]
    )


def _score(job: Job, logits: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Return the finite metrics; the job's own must be among them."""
    if job.model.loss.task == "classification":
        scores = metrics.classification(job.model.loss, logits, np.asarray(y))
    else:
        scores = metrics.regression(
            logits * job.target_scale + job.target_mean,
            y * job.target_scale + job.target_mean,
        )
    finite = {name: score for name, score in scores.items() if abs(score) < MOST}
    if job.metric not in finite:
        raise FloatingPointError(f"{job.metric} is {scores[job.metric]} on {len(y)} samples")
    return finite


def _save(folder: Path, trainer: Trainer, logits: np.ndarray) -> None:
    write_arrays(folder / "weights.npz", trainer.weights())
    write_array(folder / "predictions.npy", logits)


def _save_state(folder: Path, trainer: Trainer, epoch: int) -> None:
    """Leave what the parent makes a checkpoint of; it may be late, so `epochs` says what it is."""
    weights = {f"weights/{name}": value for name, value in trainer.weights().items()}
    state = {f"optimizer/{name}": value for name, value in trainer.state().items()}
    write_arrays(folder / "state.npz", {"epochs": np.array(epoch), **weights, **state})


if __name__ == "__main__":
    end_with_parent()
    leave(main(Path(sys.argv[1])))
