"""What the records of one job say, by kind."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from . import records
from .records import (
    Block,
    Built,
    Epoch,
    Failed,
    Finished,
    Interrupted,
    Measured,
    Refused,
    Started,
    TimedOut,
)
from .summary import Status


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
    found = records.read(folder / "records.jsonl")
    status, reason = status_of(records.ending(found))
    return JobResult(
        seed=seed,
        status=status,
        reason=reason,
        started=next((r for r in found if isinstance(r, Started)), None),
        built=next((r for r in found if isinstance(r, Built)), None),
        blocks=[r for r in found if isinstance(r, Block)],
        epochs=[r for r in found if isinstance(r, Epoch)],
        finished=next((r for r in found if isinstance(r, Finished)), None),
    )


def status_of(end: records.Ending | None) -> tuple[Status, str | None]:
    """Return how a job ended, and why if it did not finish."""
    match end:
        case Finished() | Measured():
            return "ok", None
        case Refused(reason=reason):
            return "unsupported", reason
        case Failed(reason=reason):
            return "failed", reason
        case TimedOut(seconds=seconds):
            return "timeout", f"ended after {seconds:g} s; give it longer with --timeout"
        case Interrupted():
            return "interrupted", "stopped by the user; go on with --resume"
        case None:
            return "interrupted", "not run yet; go on with --resume"
