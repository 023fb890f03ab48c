"""The records of a job, one JSON line each in `records.jsonl`: all that happened, in order.

A worker writes them as they happen. When it dies, is stopped or never starts, the parent appends
the record that says so. Seconds are raw; everything else is derived later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from ...backends.contract import Deviation

Phase = Literal["train", "infer"]
Feed = Literal["staged", "fed"]


class _Record(Struct, frozen=True, kw_only=True, tag_field="record"):
    pass


class Started(_Record, frozen=True, tag="started"):
    """The worker is alive and its framework imported."""

    python: str
    framework_version: str
    numpy_version: str
    import_seconds: float
    pid: int


class Built(_Record, frozen=True, tag="built"):
    """The model is lowered and holds its initial weights; `settings` are the adapter's own words
    for what it has fixed that matters for speed or numerics, `deviations` what it is known to do
    otherwise than the formulas.
    """

    build_seconds: float
    parameters: int
    settings: dict[str, str] = {}
    deviations: list[Deviation] = []


class Block(_Record, frozen=True, tag="block"):
    """Steps trained in one call of `train`: staging and training are timed apart."""

    epoch: int
    samples: int
    stage_seconds: float
    train_seconds: float
    losses: list[float]


class Epoch(_Record, frozen=True, tag="epoch"):
    """An epoch is over: the mean of its losses, and the metrics on the validation split."""

    epoch: int
    loss: float
    metrics: dict[str, float]


class Finished(_Record, frozen=True, tag="finished"):
    """The job is complete: the metrics on the test split."""

    metrics: dict[str, float]
    peak_rss_mb: float


class FirstSteps(_Record, frozen=True, tag="first_steps"):
    """Timing: the staging of one batch, and the first step, which holds any compilation.

    Beside a rival both are of a batch that is fed, as those of all steps there.
    """

    stage_seconds: float
    step_seconds: float


class Sample(_Record, frozen=True, tag="sample"):
    """Timing: one block, the mean of a few if it is short, and what the machine did meanwhile.

    `feed` says how its batches came: staged before, or gathered and staged inside (fed), as a
    rival's always are; in a `round` of a race each case has its turn. `foreign_cores` is how many
    cores other processes used, null if the system does not tell; `compilations` how many the
    backend had made by its end, null likewise.
    """

    feed: Feed
    round: int
    seconds: float
    cpu_seconds: float
    foreign_cores: float | None
    load: float
    compilations: int | None


class Measured(_Record, frozen=True, tag="measured"):
    """Timing: the case is complete. Seconds of single predictions of one sample, and of the parts
    of a step; memory in MB, that of the process less what it held before it built the model.
    """

    latencies: list[float]
    split: dict[str, float]
    peak_rss_mb: float
    device_memory_mb: float | None
    settings: dict[str, str]


class Refused(_Record, frozen=True, tag="refused"):
    """The backend said in `build` that it cannot run this model so."""

    reason: str


class Failed(_Record, frozen=True, tag="failed"):
    """An exception in the worker, or its death: `reason` in one line, `traceback` if any."""

    reason: str
    traceback: str = ""


class TimedOut(_Record, frozen=True, tag="timed_out"):
    """The parent ended the worker after `seconds`."""

    seconds: float


class Interrupted(_Record, frozen=True, tag="interrupted"):
    """The user stopped the run while this job was at work."""


Ending = Finished | Measured | Refused | Failed | TimedOut | Interrupted
Record = Started | Built | Block | Epoch | FirstSteps | Sample | Ending

Emit = Callable[[Record], object]

_decoder = msgspec.json.Decoder(Record)


@contextmanager
def emitter(path: Path) -> Iterator[Emit]:
    """Give a function that writes records to a new journal, each at once."""
    with path.open("wb", buffering=0) as file:
        yield lambda record: file.write(msgspec.json.encode(record) + b"\n")


def one_line(error: Exception) -> str:
    """Say what an error is."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def append(path: Path, record: Record) -> None:
    """Add one line; a line that a killed writer left unfinished is dropped first."""
    with path.open("ab+") as file:
        file.seek(0)
        whole = file.read().rfind(b"\n") + 1
        file.truncate(whole)
        file.write(msgspec.json.encode(record) + b"\n")


def read(path: Path) -> list[Record]:
    """Return the complete records of a job, none if it has not begun."""
    return tail(path, 0)[0]


def tail(path: Path, offset: int) -> tuple[list[Record], int]:
    """Return the complete records after `offset` bytes, and the offset behind them."""
    if not path.exists():
        return [], offset
    with path.open("rb") as file:
        file.seek(offset)
        data = file.read()
    whole = data.rfind(b"\n") + 1
    return [_decoder.decode(line) for line in data[:whole].splitlines()], offset + whole


def deviations_of(records: Iterable[Record]) -> list[Deviation]:
    """Return what the adapter that left them is known to do otherwise than the formulas."""
    return next((record.deviations for record in records if isinstance(record, Built)), [])


def ending(records: list[Record]) -> Ending | None:
    """Return the record that ended the job, or None if it has not ended."""
    return records[-1] if records and isinstance(records[-1], Ending) else None
