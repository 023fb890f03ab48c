"""The speeds in a folder, of a run or of a benchmark: what two of them are compared by."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..training import aggregate
from . import summary
from .stats import Interval, Turns, bootstrap_ratio, turn_pairs, turn_ratio
from .summary import Measurement, Row


class Key(NamedTuple):
    """What a speed is of. `execution` has device, dtype, mode, threads; of a benchmark, phase and
    batch size too.
    """

    workload: str
    backend: str
    execution: str


class Speed(NamedTuple):
    """Blocks, in samples/s by process; if there are none to compare, `obstacle` says why. Of those
    that took turns, `turns` are the same blocks by their rounds.
    """

    blocks: list[list[float]]
    obstacle: str
    turns: Turns = ()


def ratio(ours: Speed, theirs: Speed) -> Interval:
    """Return how many times as fast the first of two of one run or benchmark is."""
    return turn_ratio(ours.turns, theirs.turns) or bootstrap_ratio(ours.blocks, theirs.blocks)


def median_ratio(ours: Speed, theirs: Speed) -> float:
    """Return the same without the interval, which takes a tenth of a second."""
    if pairs := turn_pairs(ours.turns, theirs.turns):
        return float(np.median(np.concatenate(pairs)))
    return float(np.median(np.concatenate(ours.blocks)) / np.median(np.concatenate(theirs.blocks)))


def read(folder: Path) -> dict[Key, Speed]:
    """Read the rows of a run, or the measurements of a benchmark. InputError if it is neither."""
    return dict(_of_benchmark(folder) if is_benchmark(folder) else _of_run(folder))


def is_benchmark(folder: Path) -> bool:
    """Say whether a folder is of `bakeoff bench`: it has a summary, and no jobs behind it."""
    return (folder / "summary.json").exists() and not (folder / "run.toml").exists()


def _of_run(folder: Path) -> Iterator[tuple[Key, Speed]]:
    for row in aggregate.summarize(folder).rows:
        blocks = aggregate.rates(folder, row)
        yield Key(row.workload, row.backend, _execution(row)), _speed(row, blocks)


def _of_benchmark(folder: Path) -> Iterator[tuple[Key, Speed]]:
    for m in summary.read(folder / "summary.json").measurements:
        execution = f"{_execution(m)} {m.phase} {m.batch_size}"
        yield Key(m.workload, m.backend, execution), _speed(m, m.blocks, m.turns)


def _execution(row: Row | Measurement) -> str:
    return f"{row.device} {row.dtype} {row.mode} {row.threads}"


def _speed(row: Row | Measurement, blocks: list[list[float]], turns: Turns = ()) -> Speed:
    if row.status != "ok":
        return Speed([], row.status)
    if not row.comparable:
        return Speed([], "no passing certificate")
    return Speed(blocks, "" if blocks else "no speed", turns)
