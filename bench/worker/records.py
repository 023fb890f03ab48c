"""The records of a job, one JSON line each in `records.jsonl`: all that happened, in order.

A worker writes them as they happen. When it dies, is stopped or never starts, the parent appends
the record that says so. Seconds are raw; everything else is derived later. Each line ends with the
CRC-32 of the rest of it, so that a damaged one is noticed; one without is read as it is.
"""

from __future__ import annotations

import traceback
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Literal, cast

import msgspec
from msgspec import Meta, Struct

from ...backends.contract import Deviation

Phase = Literal["train", "infer"]
Feed = Literal["staged", "fed"]

# What is read is within what can be measured; squares and sums of it are finite.
MOST = 1e150
Seconds = Annotated[float, Meta(ge=0, le=1e9)]
Duration = Annotated[float, Meta(ge=1e-9, le=1e9)]  # what speeds are divided by
Number = Annotated[float, Meta(ge=-MOST, le=MOST)]
Count = Annotated[int, Meta(ge=0, le=2**53)]


class _Record(Struct, frozen=True, kw_only=True, tag_field="record"):
    pass


class Started(_Record, frozen=True, tag="started"):
    """The worker is alive and its framework imported, while at most one other was on each of the
    other cores; `job` is the hash of its `job.json`.
    """

    python: str
    framework_version: str
    numpy_version: str
    import_seconds: Seconds
    pid: int
    job: str = ""


class Built(_Record, frozen=True, tag="built"):
    """The model is lowered and holds its initial weights; `settings` are the adapter's own words
    for what it has fixed that matters for speed or numerics, `deviations` what it is known to do
    otherwise than the formulas.
    """

    build_seconds: Seconds
    parameters: Count
    settings: dict[str, str] = {}
    deviations: list[Deviation] = []


class Block(_Record, frozen=True, tag="block"):
    """Steps trained in one call of `train`: staging and training are timed apart."""

    epoch: Count
    samples: Count
    stage_seconds: Seconds
    train_seconds: Duration
    losses: Annotated[list[Number], Meta(min_length=1)]


class Epoch(_Record, frozen=True, tag="epoch"):
    """An epoch is over: the mean of its losses, and the metrics on the validation split."""

    epoch: Count
    loss: Number
    metrics: dict[str, Number]


class Finished(_Record, frozen=True, tag="finished"):
    """The job is complete: the metrics on the test split, and the hashes of the files it left."""

    metrics: dict[str, Number]
    peak_rss_mb: Number
    files: dict[str, str] = {}


class FirstSteps(_Record, frozen=True, tag="first_steps"):
    """Timing: the staging of one batch, and the first step, which holds any compilation.

    Beside a rival both are of a batch that is fed, as those of all steps there.
    """

    stage_seconds: Seconds
    step_seconds: Seconds


class Sample(_Record, frozen=True, tag="sample"):
    """Timing: one block, the mean of a few if it is short, and what the machine did meanwhile.

    `feed` says how its batches came: staged before, or gathered and staged inside (fed), as a
    rival's always are; in a `round` of a race each case has its turn. `foreign_cores` is how many
    cores other processes used, null if the system does not tell; `compilations` how many the
    backend had made by its end, null likewise.
    """

    feed: Feed
    round: Count
    seconds: Duration
    cpu_seconds: Seconds
    foreign_cores: Number | None
    load: Number
    compilations: Count | None


class Measured(_Record, frozen=True, tag="measured"):
    """Timing: the case is complete. Seconds of single predictions of one sample, and of the parts
    of a step; memory in MB, that of the process less what it held before it built the model; the
    hashes of the files it left.
    """

    latencies: list[Duration]
    split: dict[str, Seconds]
    peak_rss_mb: Number
    device_memory_mb: Number | None
    settings: dict[str, str]
    files: dict[str, str] = {}


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
    """Give a function that writes records to a new journal, each at once and whole, or not at all.

    It raises OSError.
    """
    with path.open("wb", buffering=0) as file:

        def emit(record: Record) -> None:
            end, rest = file.tell(), memoryview(_line(record))
            try:
                while rest:
                    rest = rest[file.write(rest) :]
            except OSError:
                with suppress(OSError):
                    file.truncate(end)
                    file.seek(end)
                raise

        yield emit


def fail(emit: Emit, error: Exception) -> int:
    """Record an exception; return the worker's exit code: why it cannot, if the disk is full."""
    try:
        emit(Failed(reason=one_line(error), traceback=traceback.format_exc()))
    except OSError as refused:
        return refused.errno or 1
    return 1


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
        file.write(_line(record))


def read(path: Path) -> list[Record]:
    """Return the records of a job, none if it has not begun. Raises OSError, ValueError."""
    return tail(path, 0)[0]


def tail(path: Path, offset: int) -> tuple[list[Record], int]:
    """Return the complete records after `offset` bytes, and the offset behind them.

    Raises OSError, and ValueError for a line that is damaged.
    """
    if not path.exists():
        return [], offset
    if not path.is_file():
        raise ValueError("it is not a file")
    with path.open("rb") as file:
        file.seek(offset)
        data = file.read()
    whole = data.rfind(b"\n") + 1
    lines = data[:whole].split(b"\n")[:-1]
    return [_record(line, number) for number, line in enumerate(lines, start=1)], offset + whole


def _line(record: Record) -> bytes:
    content = msgspec.json.encode(record)
    return b'%s,"crc32":"%08x"}\n' % (content[:-1], zlib.crc32(content))


def _record(line: bytes, number: int) -> Record:
    rest, has_sum, found = line.rpartition(b',"crc32":"')
    content = rest + b"}" if has_sum else line
    if has_sum and found != b'%08x"}' % zlib.crc32(content):
        raise ValueError(f"line {number} is not what was written")
    try:
        return cast("Record", _decoder.decode(content))
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"line {number}: {error}") from None


def deviations_of(records: Iterable[Record]) -> list[Deviation]:
    """Return what the adapter that left them is known to do otherwise than the formulas."""
    return next((record.deviations for record in records if isinstance(record, Built)), [])


def ending(records: list[Record]) -> Ending | None:
    """Return the record that ended the job, or None if it has not ended."""
    return records[-1] if records and isinstance(records[-1], Ending) else None
