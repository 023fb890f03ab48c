"""The worker: one process that trains one job with one backend and writes down what happens.

Run as `python -P -m bakeoff.bench.worker JOB_FOLDER`. It needs the framework, numpy and msgspec.
Nothing random happens here: weights and batch order are read from the job's inputs.
"""

from __future__ import annotations

import math
import os
import platform
import resource
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import perf_counter

import msgspec
import numpy as np

from .. import backends
from ..backends.contract import Adapter, Gap, Trainer, Unsupported
from ..datasets.dataset import Dataset, open_dataset
from ..models import Model
from ..models.losses import BinaryCrossEntropy
from . import metrics
from .feeding import Feeder, stage
from .files import read_arrays
from .job import Job
from .job import read as read_job
from .records import Block, Built, Epoch, Failed, Finished, Record, Refused, Started

_STEPS_PER_BLOCK = 50  # at most; the blocks of an epoch are equally long, to one step
_EVALUATION_BATCH = 256
_PARENT = os.getppid()

Emit = Callable[[Record], object]


def main(arguments: list[str]) -> int:
    """Train the job in the folder named, or describe an adapter. Returns the exit code."""
    if arguments[0] == "--describe":
        adapter, answer = arguments[1:]
        Path(answer).write_bytes(msgspec.json.encode(_describe(backends.load(adapter))))
        return 0
    folder = Path(arguments[0])
    with emitter(folder / "records.jsonl") as emit:
        try:
            _work(read_job(folder), folder, emit)
        except Unsupported as refusal:
            emit(Refused(reason=str(refusal)))
        except Exception as error:
            emit(Failed(reason=one_line(error), traceback=traceback.format_exc()))
            return 1
    return 0


@contextmanager
def emitter(path: Path) -> Iterator[Emit]:
    """Give a function that writes records to a new journal, each at once."""
    with path.open("wb", buffering=0) as file:
        yield lambda record: file.write(msgspec.json.encode(record) + b"\n")


class Description(msgspec.Struct, frozen=True):
    """What an adapter says of itself in its own interpreter.

    `gaps` gives the reason for what is unsupported, by the spec's word, or `lstm (compiled)`.
    """

    version: str
    devices: list[str]
    modes: list[str]
    gaps: dict[str, str]
    deviations: dict[str, str]


def _describe(adapter: Adapter) -> Description:
    return Description(
        version=adapter.version(),
        devices=adapter.devices(),
        modes=list(adapter.MODES),
        gaps={_word(gap): reason for gap, reason in adapter.UNSUPPORTED.items()},
        deviations={name: d.reason for name, d in adapter.DEVIATIONS.items()},
    )


def _word(gap: Gap) -> str:
    if isinstance(gap, tuple):
        return f"{_word(gap[1])} ({gap[0]})"
    return gap if isinstance(gap, str) else str(gap.__struct_config__.tag)  # type: ignore[attr-defined]


def one_line(error: Exception) -> str:
    """Say what an error is."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _work(job: Job, folder: Path, emit: Emit) -> None:
    began = perf_counter()
    adapter = backends.load(job.adapter)
    emit(
        Started(
            python=platform.python_version(),
            framework_version=adapter.version(),
            numpy_version=np.__version__,
            import_seconds=perf_counter() - began,
            pid=os.getpid(),
        )
    )
    inputs = folder / job.inputs
    dataset = open_dataset(Path(job.dataset))
    weights = read_arrays(inputs / "weights.npz")
    state = read_arrays(inputs / "state.npz") if (inputs / "state.npz").exists() else None
    began = perf_counter()
    trainer = adapter.build(job.model, weights, job.execution, seed=job.seed, state=state)
    emit(
        Built(
            build_seconds=perf_counter() - began,
            parameters=sum(weight.size for weight in weights.values()),
        )
    )
    targets = cast_targets(job.model, np.asarray(dataset.train.y), job.execution.dtype)
    feed = partial(stage, trainer, dataset.train.x, targets, job.execution.dtype)
    order = np.load(inputs / "order.npy", allow_pickle=False)
    for epoch, batches in enumerate(order[job.epochs_done :], start=job.epochs_done + 1):
        summary = _train_epoch(job, trainer, feed, dataset, epoch, batches, emit)
        if job.keeps_state:
            _save_state(folder, trainer, epoch)
        emit(summary)
    logits = _predict(trainer, dataset.test.x, job.execution.dtype)
    _save(folder, trainer, logits)
    scores = _score(job, dataset, logits, dataset.test.y)
    emit(Finished(metrics=scores, peak_rss_mb=peak_rss_mb()))


def _train_epoch(
    job: Job,
    trainer: Trainer,
    feed: Feeder,
    dataset: Dataset,
    epoch: int,
    batches: np.ndarray,
    emit: Emit,
) -> Epoch:
    losses: list[float] = []
    for indices in np.array_split(batches, math.ceil(len(batches) / _STEPS_PER_BLOCK)):
        if os.getppid() != _PARENT:
            sys.exit("the parent process is gone")
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
    logits = _predict(trainer, dataset.validation.x, job.execution.dtype)
    scores = _score(job, dataset, logits, dataset.validation.y)
    return Epoch(epoch=epoch, loss=float(np.mean(losses)), metrics=scores)


def cast_targets(model: Model, y: np.ndarray, dtype: str) -> np.ndarray:
    """Return a dataset's targets in the form that the contract gives them for the model's loss."""
    if isinstance(model.loss, BinaryCrossEntropy):
        y = y[..., None]
    elif model.loss.task == "classification":
        return y
    return y.astype(dtype)


def _check_finite(losses: list[float], epoch: int) -> None:
    if not np.isfinite(losses).all():
        step = int(np.argmin(np.isfinite(losses))) + 1
        raise FloatingPointError(
            f"the loss became {losses[step - 1]} in epoch {epoch}, step {step}; "
            "lower the learning rate"
        )


def _predict(trainer: Trainer, x: np.ndarray, dtype: str) -> np.ndarray:
    chunks = range(0, len(x), _EVALUATION_BATCH)
    return np.concatenate(
        [trainer.predict(x[i : i + _EVALUATION_BATCH].astype(dtype)) for i in chunks]
    )


def _score(job: Job, dataset: Dataset, logits: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Return the finite metrics; the job's own must be among them."""
    if dataset.task == "classification":
        scores = metrics.classification(job.model.loss, logits, np.asarray(y))
    else:
        scores = metrics.regression(
            logits * dataset.target_scale + dataset.target_mean,
            y * dataset.target_scale + dataset.target_mean,
        )
    finite = {name: score for name, score in scores.items() if np.isfinite(score)}
    if job.metric not in finite:
        raise FloatingPointError(f"{job.metric} is {scores[job.metric]} on {len(y)} samples")
    return finite


def _save(folder: Path, trainer: Trainer, logits: np.ndarray) -> None:
    # NumPy 1.23 would store an array called allow_pickle.
    np.savez(folder / "weights.npz", **trainer.weights())  # type: ignore[arg-type]
    np.save(folder / "predictions.npy", logits)


def _save_state(folder: Path, trainer: Trainer, epoch: int) -> None:
    """Leave what the parent makes a checkpoint of; it may be late, so `epochs` says what it is."""
    weights = {f"weights/{name}": value for name, value in trainer.weights().items()}
    state = {f"optimizer/{name}": value for name, value in trainer.state().items()}
    partial = folder / "state.partial.npz"
    np.savez(partial, epochs=epoch, **weights, **state)  # type: ignore[arg-type]
    partial.replace(folder / "state.npz")


def peak_rss_mb() -> float:
    """Return the most memory that this process has held."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
