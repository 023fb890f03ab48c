"""The audits of a benchmark: what its processes noted around blocks that were timed, judged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from time import perf_counter

import numpy as np
from msgspec.structs import replace

from ..parity.audit import Auditor, Timed
from ..parity.formulas import Batch
from ..parity.judges import judges
from ..parity.ladder import Diverged
from ..results.summary import Audits
from ..worker import notes
from ..worker.evidence import under
from ..worker.notes import orders
from ..worker.records import deviations_of, one_line
from ..worker.task import read_inputs
from .race import Entrant, Race

_REMEMBERS = 3.0  # times as long as what was asked before, for inputs that were never seen


def judge(races: Sequence[Race]) -> dict[str, Audits]:
    """Return what was found of every entrant that left notes, by its folder."""
    entrants = [entrant for race in races for entrant in race.adapters if _noted(entrant)]
    with judges(len(entrants)) as executor:
        futures = {str(each.folder): executor.submit(judge_entrant, each) for each in entrants}
        return {folder: future.result() for folder, future in futures.items()}


def judge_entrant(entrant: Entrant) -> Audits:
    """Return what was found of the notes of one entrant's processes."""
    began = perf_counter()
    try:
        found = _judge(entrant)
    except (Diverged, ValueError, LookupError) as error:
        found = Audits(failure=f"what was noted cannot be judged: {one_line(error)}")
    return replace(found, seconds=perf_counter() - began)


def _judge(entrant: Entrant) -> Audits:
    task, folder = entrant.task, entrant.folder
    deviations = deviations_of(chain.from_iterable(entrant.processes))
    auditor = Auditor(task.model, task.execution.dtype)
    _, x, y, order = read_inputs(task, folder / "0")
    found = Audits()
    for process in sorted(folder.iterdir()):
        places = list(_notes(process))
        if task.phase == "train":
            batches: list[Batch] = [(x[rows], y[rows], None) for rows in order]
            timed = [_timed(place, note, batches) for place, note in places]
            found = auditor.process(timed, deviations, found)
            continue
        for place, note in places:
            found = _predicted(auditor, found, place, note, x[order])
    return found


def _timed(place: str, note: notes.Note, batches: list[Batch]) -> Timed:
    """A block that is fed begins with another batch each time."""
    first = int(note.seen["first"])
    return Timed(place, note, batches[first:] + batches[:first], note.seen["losses"])


def _predicted(
    auditor: Auditor, found: Audits, place: str, note: notes.Note, x: np.ndarray
) -> Audits:
    """Judge a block of predictions, [steps, batch, ...], and the same rows in orders never seen."""
    weights, batch = under("weights", note.before), x.shape[1]
    for number, rows in enumerate(orders(batch)):
        asked = x[:, rows].reshape(-1, *x.shape[2:])
        logits = note.seen[f"logits/{number}"]
        logits = logits.reshape(-1, *logits.shape[2:])
        found = auditor.predictions(found, place, weights, asked, logits, batch)
    seconds = note.seen["seconds"]
    times = float(np.min(seconds[1:]) / seconds[0])
    if times > _REMEMBERS:
        words = f"audit of {place}: inputs that it never saw take {times:.3g} times as long"
        found = replace(found, failure=found.failure or words)
    return replace(found, blocks=found.blocks + 1, steps=found.steps + len(x))


def _noted(entrant: Entrant) -> bool:
    return any(entrant.folder.glob(f"*/{notes.FOLDER}/*.npz"))


def _notes(process: Path) -> Iterator[tuple[str, notes.Note]]:
    for path in sorted((process / notes.FOLDER).glob("*.npz")):
        feed, _, number = path.stem.partition("-")
        yield f"process {process.name}, round {number} ({feed})", notes.read(path)
