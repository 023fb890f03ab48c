"""What the records of one job say, by kind; and what is wrong with its files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

from ..results.status import status_of
from ..results.summary import Audits, Status
from ..worker import job, notes, records
from ..worker.files import damage, sha256
from ..worker.records import (
    Block,
    Built,
    Epoch,
    Finished,
    Record,
    Refused,
    Started,
)
from . import audits

R = TypeVar("R")


class JobResult(Struct, frozen=True):
    """The records of one job by kind, none of one that is damaged: `damage` says what is wrong."""

    seed: int
    status: Status
    reason: str | None
    started: Started | None = None
    built: Built | None = None
    blocks: list[Block] = []
    epochs: list[Epoch] = []
    finished: Finished | None = None
    audits: Audits | None = None
    is_done: bool = False
    damage: str = ""


def read_row(jobs: Sequence[Path], seeds: Sequence[int], metric: str) -> list[JobResult]:
    """Read the jobs of a row, which do the same work: one that has done another is damaged."""
    results = [read_job(folder, seed) for folder, seed in zip(jobs, seeds, strict=True)]
    work = next((_work(result) for result in results if result.finished), None)
    return [
        _damaged(folder, result.seed, "records.jsonl: it is of other work")
        if result.finished and (_work(result) != work or not _has(result, metric))
        else result
        for folder, result in zip(jobs, results, strict=True)
    ]


def read_job(folder: Path, seed: int) -> JobResult:
    """Read a job, finished or not, with what was found of it."""
    try:
        result = _read(folder, seed)
    except (OSError, ValueError) as error:
        return _damaged(folder, seed, f"records.jsonl: {error}")
    wrong = _damage(folder, result)
    if wrong:
        return _damaged(folder, seed, wrong)
    try:
        return replace(result, audits=audits.read(folder))
    except (OSError, ValueError) as error:
        return _damaged(folder, seed, f"audit.json: {error}")


def _read(folder: Path, seed: int) -> JobResult:
    journal = records.read(folder / "records.jsonl")
    end = records.ending(journal)
    status, reason = status_of(end)
    return JobResult(
        seed=seed,
        status=status,
        reason=reason,
        started=_first(journal, Started),
        built=_first(journal, Built),
        blocks=[r for r in journal if isinstance(r, Block)],
        epochs=[r for r in journal if isinstance(r, Epoch)],
        finished=_first(journal, Finished),
        is_done=isinstance(end, Finished | Refused),
    )


def _first(journal: Sequence[Record], kind: type[R]) -> R | None:
    return next((record for record in journal if isinstance(record, kind)), None)


def _damage(folder: Path, result: JobResult) -> str:
    """Say what is wrong with the files of a job whose records can be read, or return ""."""
    if not folder.is_dir():
        return "its folder is missing"
    if links := [path.name for path in folder.iterdir() if path.is_symlink()]:
        return f"{min(links)} is a symbolic link"
    try:
        job.read(folder)
        digest = sha256(folder / "job.json")
    except (OSError, ValueError) as error:
        return f"job.json: {error}"
    if result.started and result.started.job not in ("", digest):
        return "job.json is not what was run"
    if not result.finished:
        return ""
    if not (result.started and result.built and result.blocks and result.epochs):
        return "records.jsonl: it lacks records of a job that finished"
    if {epoch.epoch for epoch in result.epochs} != {block.epoch for block in result.blocks}:
        return "records.jsonl: its epochs are not those of its blocks"
    is_judged = (folder / audits.FILE).exists()  # then its notes are gone
    left = {
        name: digest
        for name, digest in result.finished.files.items()
        if not (is_judged and name.startswith(f"{notes.FOLDER}/"))
    }
    return damage(folder, left)


def _work(result: JobResult) -> list[tuple[int, int]]:
    return [(block.epoch, len(block.losses)) for block in result.blocks]


def _has(result: JobResult, metric: str) -> bool:
    return all(metric in each.metrics for each in [*result.epochs, result.finished] if each)


def _damaged(folder: Path, seed: int, wrong: str) -> JobResult:
    words = f"jobs/{'/'.join(folder.parts[-2:])} is damaged: {' '.join(wrong.split())}"
    reason = f"{words}; do it again with --resume"
    return JobResult(seed=seed, status="failed", reason=reason, damage=words)
