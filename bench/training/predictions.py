"""`predictions.csv` of a job: what it predicts on the test split, beside what is true.

A line for each row of the test split: `row`, its number from 0 (of a user's table `line`, where it
begins in the file), `prediction`, `target`. Numbers are in the target's own units; classes by their
names, or numbers if they have none, with the `probability` of the predicted one.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ...datasets.dataset import Dataset, open_dataset
from ...models import InputError
from ...models.losses import BinaryCrossEntropy, Loss
from ..results.summary import Summary
from ..worker import job
from ..worker.files import read_array, write_whole
from .run_folder import job_name

FILE = "predictions.csv"


def write(folder: Path, summary: Summary) -> list[Path]:
    """Write those of the finished jobs of a run, and return where they are. Raises InputError."""
    written = [
        folder / "jobs" / job_name(row.workload, row.backend, row.mode, seed) / FILE
        for row in summary.rows
        for seed in row.finished_seeds
    ]
    for path in written:
        if not path.exists():
            _write(path)
    return written


def _write(path: Path) -> None:
    what = job.read(path.parent)
    try:
        logits = read_array(path.parent / "predictions.npy")
        text = as_csv(what.model.loss, open_dataset(Path(what.dataset)), logits)
        write_whole(path, text.encode())
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path} cannot be written ({reason}); the records are kept: mend it, then "
            f"bakeoff run --resume {path.parents[3]}"
        ) from None


def as_csv(loss: Loss, dataset: Dataset, logits: np.ndarray) -> str:
    """Return the file. logits: [N, C], or [N, 1] of a regression or binary_cross_entropy."""
    places: Sequence[int] = dataset.test_lines or range(len(logits))
    place = "line" if dataset.test_lines else "row"
    columns = [place, "prediction", "target"]
    if dataset.num_classes is None:
        rows = _numbers(dataset, logits)
    else:
        columns.append("probability")
        rows = _classes(loss, dataset, logits)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows((place, *row) for place, row in zip(places, rows, strict=True))
    return text.getvalue()


def _numbers(dataset: Dataset, logits: np.ndarray) -> Iterator[tuple[str, ...]]:
    mean, scale = dataset.target_mean, dataset.target_scale
    for predicted, target in zip(logits[:, 0].tolist(), dataset.test.y[:, 0].tolist(), strict=True):
        # Ten digits: what a target had in its file, and not what standardising left of it.
        yield f"{mean + scale * predicted:.10g}", f"{mean + scale * target:.10g}"


def _classes(loss: Loss, dataset: Dataset, logits: np.ndarray) -> Iterator[tuple[str, ...]]:
    z = logits.astype(np.float64)
    if isinstance(loss, BinaryCrossEntropy):
        z = np.concatenate([np.zeros_like(z), z], axis=1)
    probabilities = np.exp(z - z.max(axis=1, keepdims=True))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    names = dict(enumerate(dataset.class_names))
    for row, target in zip(probabilities, dataset.test.y.tolist(), strict=True):
        predicted = int(row.argmax())
        name, true = names.get(predicted, str(predicted)), names.get(target, str(target))
        yield name, true, f"{row[predicted]:.6g}"
