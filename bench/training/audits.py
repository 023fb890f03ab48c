"""The audits of a run: which blocks are looked at, drawn before it; what was found, behind it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter

import msgspec
import numpy as np

from ...backends.contract import DType, Weights
from ...datasets.dataset import Dataset
from ...models import Model, sealed
from ..parity.audit import Auditor, Timed
from ..parity.formulas import Batch, State
from ..parity.judges import judges
from ..parity.ladder import Diverged
from ..parity.replay import Replays, proved
from ..results.summary import Audits
from ..worker import notes
from ..worker.feeding import Split, cast_targets, open_split
from ..worker.files import damage, read_array, read_arrays, read_whole, write_whole
from ..worker.job import EVALUATION_BATCH, Job, blocks, check_inputs
from ..worker.job import read as read_job
from ..worker.records import Block, Finished, deviations_of, ending, one_line
from ..worker.records import read as read_records
from .run_folder import Plan, Planned, read_run

_MOST_STEPS = 50  # of a block
_FEWEST_STEPS = 4
_SHARE = 0.25  # of a job's steps, what judging it may cost in steps of NumPy's, on one core
_FLOPS = 1e10  # or what it may cost in any case: a second
_COST = {False: 5, True: 12}  # steps that judging one step costs, without and with dropout
_STRETCH = 100  # steps that follow each other, if they may cost that much
FILE = "audit.json"


def plan(
    model: Model,
    dataset: Dataset,
    order: np.ndarray,
    weights: Weights,
    state: Weights | None,
    dtype: DType,
) -> Plan:
    """Return how a training with this order of batches, [epochs, steps, batch], is audited.

    A block is short enough that the first one, two more and a stretch between them cost their share
    at most, and that the first one decides whether its last step was taken.
    """
    has_dropout = bool(notes.dropouts(model))
    free = _FLOPS / ((model.cost.training_flops or 1) * order.shape[2])
    affordable = max(_SHARE * order[..., 0].size, free) / _COST[has_dropout]
    steps = max(min(_FEWEST_STEPS, order.shape[1]), min(_MOST_STEPS, int(affordable / 3)))
    steps = min(steps, order.shape[1])
    if not has_dropout:
        split = Split(dataset.train.x, dataset.train.y)
        start = State.of(weights, state) if state else State.start(model, weights)
        first = _batches(model, split, order[0][:steps], dtype)
        noise = proved(model, start, first[0])
        steps = Replays(model, start, first, dtype, noise).deciding_steps()
    return Plan(steps, max(3, min(2 + math.ceil(_STRETCH / steps), int(affordable / steps))))


def draw(plan: Plan, epochs: range, steps: int) -> list[tuple[int, int]]:
    """Draw which blocks of a job are audited, by epoch and number: the first, the last, and a
    stretch of blocks that follow each other.
    """
    per_epoch = math.ceil(steps / plan.steps_per_block)
    everything = [(epoch, number + 1) for epoch in epochs for number in range(per_epoch)]
    if not everything:
        return []
    stretch = min(plan.blocks - 2, len(everything))
    begin = int(np.random.default_rng().integers(len(everything) - stretch + 1))
    drawn = {everything[0], everything[-1], *everything[begin : begin + stretch]}
    return sorted(drawn)


def judge(folder: Path, show: Callable[[str], object]) -> None:
    """Judge every job of a run that left notes; `show` is told of what is judged."""
    spec = read_run(folder)
    alike: dict[tuple[str, str], list[str]] = {}  # by workload and inputs: replays are shared
    for name in spec.jobs:
        job_folder = folder / "jobs" / name
        if (job_folder / notes.FOLDER).is_dir() and not (job_folder / FILE).exists():
            job = read_job(job_folder)
            alike.setdefault((job.workload, job.inputs), []).append(str(job_folder))
    if not alike:
        return
    show("judging what was noted of the timed blocks")
    costs = {planned.workload.name: _cost(planned) for planned in spec.planned}
    longest_first = sorted(alike, key=lambda of: len(alike[of]) * costs[of[0]], reverse=True)
    with judges(len(alike)) as executor:
        for future in [executor.submit(judge_jobs, alike[of]) for of in longest_first]:
            future.result()


def _cost(planned: Planned) -> int:
    """Return what judging a job of a workload costs: about so many FLOPs."""
    steps = planned.plan.blocks * planned.plan.steps_per_block
    w = planned.workload
    return steps * w.batch_size * (w.model.cost.training_flops or 1)


def read(job_folder: Path) -> Audits | None:
    """Return what was found of a job, if it was judged. Raises OSError, ValueError."""
    path = job_folder / FILE
    return sealed.decode(read_whole(path), Audits) if path.exists() else None


def judge_jobs(names: list[str]) -> None:
    """Judge jobs of the same model and inputs, and write what was found into their folders.

    Notes are kept of what failed.
    """
    folders = [Path(name) for name in names]
    first = read_job(folders[0])
    auditor = Auditor(first.model, first.execution.dtype)
    for folder in folders:
        began = perf_counter()
        try:
            found = _judge_job(auditor, read_job(folder), folder)
        except (Diverged, ValueError, LookupError) as error:
            found = Audits(failure=f"what was noted cannot be judged: {one_line(error)}")
        found = msgspec.structs.replace(found, seconds=perf_counter() - began)
        write_whole(folder / FILE, sealed.encode(found))
        if not found.failure:
            for note in (folder / notes.FOLDER).iterdir():
                note.unlink()


def _judge_job(auditor: Auditor, job: Job, folder: Path) -> Audits:
    check_inputs(job, folder)
    inputs = folder / job.inputs
    order = read_array(inputs / "order.npy")
    given = read_arrays(inputs / "weights.npz")
    state = read_arrays(inputs / "state.npz") if (inputs / "state.npz").exists() else None
    records = read_records(folder / "records.jsonl")
    end = ending(records)
    if isinstance(end, Finished) and (wrong := damage(folder, end.files)):
        raise ValueError(wrong)
    timed = list(_timed(job, folder, order, [r for r in records if isinstance(r, Block)]))
    found = auditor.process(timed, deviations_of(records))
    if timed and timed[0].is_first:
        found = auditor.start(found, timed[0].note, given, state)
    if (folder / "repeated.npy").exists():
        losses = read_array(folder / "repeated.npy")
        last = timed[-1]
        found = auditor.repeated(found, last.note.after, last.batches[0], losses)
    for place, x, logits in _asked(job, folder):
        weights = read_arrays(folder / "weights.npz")
        found = auditor.predictions(found, place, weights, x, logits, EVALUATION_BATCH)
    return found


def _timed(job: Job, folder: Path, order: np.ndarray, journal: list[Block]) -> Iterator[Timed]:
    split = open_split(Path(job.dataset), "train")
    losses: dict[int, list[list[float]]] = {}
    for block in journal:
        losses.setdefault(block.epoch, []).append(block.losses)
    for epoch, number in job.audits:
        path = folder / notes.FOLDER / f"{epoch}-{number}.npz"
        if not path.exists():
            continue
        rows = blocks(order[epoch - 1], job.steps_per_block)[number - 1]
        yield Timed(
            place=f"epoch {epoch}, block {number}",
            note=notes.read(path),
            batches=_batches(job.model, split, rows, job.execution.dtype),
            losses=np.array(losses[epoch][number - 1]),
            is_first=(epoch, number) == (job.epochs_done + 1, 1),
        )


def _asked(job: Job, folder: Path) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield predictions of the weights that the worker left: what they are called, x, logits."""
    test = open_split(Path(job.dataset), "test").x
    for place, file, x in (
        ("the test predictions", "predictions.npy", test),
        ("the test predictions, asked again", "again.npy", test[: notes.ASKED_AGAIN][::-1]),
        ("the validation", "validation.npy", open_split(Path(job.dataset), "validation").x),
    ):
        if (folder / file).exists():
            yield place, x, read_array(folder / file)


def _batches(model: Model, split: Split, rows: np.ndarray, dtype: DType) -> list[Batch]:
    y = cast_targets(model, np.asarray(split.y), dtype)
    return [(np.asarray(split.x[batch]).astype(dtype), y[batch], None) for batch in rows]
