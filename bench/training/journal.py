"""What the records of one job say, by kind."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from ..results.status import status_of
from ..results.summary import Status
from ..worker import records
from ..worker.records import (
    Block,
    Built,
    Epoch,
    Finished,
    Started,
)


class JobResult(Struct, frozen=True):
    """The records of one job by kind."""

    seed: int
    status: Status
    reason: str | None
    started: Started | None
    built: Built | None
    blocks: list[Block]
    epochs: list[Epoch]
    finished: Finished | None


def read_job(folder: Path, seed: int) -> JobResult:
    """Read the records of a job, finished or not."""
    journal = records.read(folder / "records.jsonl")
    status, reason = status_of(records.ending(journal))
    return JobResult(
        seed=seed,
        status=status,
        reason=reason,
        started=next((r for r in journal if isinstance(r, Started)), None),
        built=next((r for r in journal if isinstance(r, Built)), None),
        blocks=[r for r in journal if isinstance(r, Block)],
        epochs=[r for r in journal if isinstance(r, Epoch)],
        finished=next((r for r in journal if isinstance(r, Finished)), None),
    )
