"""The audits of a benchmark: what its processes noted around blocks that were timed, judged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from time import perf_counter

import numpy as np
from msgspec.structs import replace

from ...backends.contract import Deviation
from ..parity.audit import Auditor, Timed
from ..parity.judges import judges
from ..results.summary import Audits
from ..worker import notes
from ..worker.evidence import under
from ..worker.records import Built, Record
from ..worker.task import Task, read_inputs
from .race import Entrant, Race

_ROWS = 64  # of the predictions of a block, drawn afterwards


def judge(races: Sequence[Race]) -> dict[str, Audits]:
    """Return what was found of every entrant that left notes, by its folder."""
    entrants = [entrant for race in races for entrant in race.adapters if _noted(entrant)]
    with judges(len(entrants)) as executor:
        futures = {
            str(entrant.folder): executor.submit(
                _judge, entrant.task, entrant.folder, _known(entrant)
            )
            for entrant in entrants
        }
        return {folder: future.result() for folder, future in futures.items()}


def _noted(entrant: Entrant) -> bool:
    return any(entrant.folder.glob(f"*/{notes.FOLDER}/*.npz"))


def _known(entrant: Entrant) -> list[Deviation]:
    """Return what the adapter is known to do otherwise than the formulas."""
    journal: list[Record] = entrant.processes[0]
    return next((record.deviations for record in journal if isinstance(record, Built)), [])


def _judge(task: Task, folder: Path, deviations: list[Deviation]) -> Audits:
    began = perf_counter()
    auditor = Auditor(task.model, task.execution.dtype)
    _, x, y, order = read_inputs(task, folder / "0")
    found = Audits()
    for process in sorted(folder.iterdir()):
        places = list(_notes(process))
        if task.phase == "train":
            batches = [(x[rows], y[rows], None) for rows in order]
            timed = [Timed(place, note, batches, note.seen["losses"]) for place, note in places]
            found = auditor.process(timed, deviations, found)
            continue
        for place, note in places:
            rows = np.random.default_rng().permutation(order.size)[:_ROWS]
            logits = note.seen["logits"].reshape(order.size, -1)[rows]
            logits = logits.reshape(len(rows), *note.seen["logits"].shape[2:])
            weights = under("weights", note.before)
            found = auditor.predictions(found, place, weights, x[order.ravel()[rows]], logits)
            found = replace(found, blocks=found.blocks + 1, steps=found.steps + len(order))
    return replace(found, seconds=perf_counter() - began)


def _notes(process: Path) -> Iterator[tuple[str, notes.Note]]:
    for path in sorted((process / notes.FOLDER).glob("*.npz")):
        feed, _, number = path.stem.partition("-")
        yield f"process {process.name}, round {number} ({feed})", notes.read(path)
