"""The speeds of a summary, and what follows from two of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Literal, NamedTuple, TypeVar

import numpy as np

from ...backends import ENGINES, framework
from ..worker.records import Phase
from .stats import Interval, Turns, bootstrap_ratio, turn_pairs, turn_ratio, verdict
from .summary import Comparison, Entry, Measurement, Row, Summary, is_certified

E = TypeVar("E", bound=Entry)


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
    obstacle: str = ""
    turns: Turns = ()


def ratio(ours: Speed, theirs: Speed) -> Interval:
    """Return how many times as fast the first of two of one run or benchmark is."""
    return turn_ratio(ours.turns, theirs.turns) or bootstrap_ratio(ours.blocks, theirs.blocks)


def median_ratio(ours: Speed, theirs: Speed) -> float:
    """Return the same without the interval, which takes a tenth of a second."""
    if pairs := turn_pairs(ours.turns, theirs.turns):
        return float(np.median(np.concatenate(pairs)))
    return float(np.median(np.concatenate(ours.blocks)) / np.median(np.concatenate(theirs.blocks)))


def by_key(summary: Summary) -> dict[Key, Speed]:
    """Return the speed of every row or measurement."""
    return {key_of(entry): speed_of(entry) for entry in summary.entries}


def key_of(entry: Entry) -> Key:
    """Return what a row or measurement is of."""
    return Key(entry.workload, entry.backend, _execution(entry))


def ranking(entries: Sequence[E]) -> list[tuple[E, Interval]]:
    """Return those whose speeds may be compared and their speed, fastest first."""
    comparable = [
        (entry, entry.samples_per_second)
        for entry in entries
        if entry.comparable and entry.samples_per_second
    ]
    return sorted(comparable, key=lambda ranked: -ranked[1].median)


def is_by_mode(asked: Sequence[str]) -> bool:
    """Say whether only what is of one mode is compared; else each backend's typical, or best."""
    return {"eager", "compiled"}.issuperset(asked)


def fields(entries: Sequence[E], asked: Sequence[str]) -> list[list[E]]:
    """Return those of the same work that are compared with each other."""
    if not is_by_mode(asked):
        return [list(entries)] if entries else []
    modes = dict.fromkeys(entry.mode for entry in entries)
    return [[entry for entry in entries if entry.mode == mode] for mode in modes]


def best_of_each(entries: Sequence[E]) -> list[tuple[E, Interval]]:
    """Return of each backend the fastest whose speed may be compared, fastest first."""
    best: dict[str, tuple[E, Interval]] = {}
    for entry, speed in ranking(entries):
        best.setdefault(entry.backend, (entry, speed))
    return list(best.values())


def compared(entries: Sequence[Entry], phase: Phase, batch_size: int) -> Iterator[Comparison]:
    """Compare the fastest with the best of every other backend, fastest first; and Keras on an
    engine with the engine by itself, in the same mode.
    """
    best = [entry for entry, _ in best_of_each(entries)]
    for rival in best[1:]:
        yield _comparison("backends", best[0], rival, phase, batch_size)
    ranked = [entry for entry, _ in ranking(entries)]
    for subject, rival in product(ranked, ranked):
        engine = ENGINES.get(framework(subject.backend) or "")
        if engine and engine == framework(rival.backend) and subject.mode == rival.mode:
            yield _comparison("engine", subject, rival, phase, batch_size)


def _comparison(
    kind: Literal["backends", "engine"], subject: Entry, rival: Entry, phase: Phase, batch_size: int
) -> Comparison:
    times = ratio(speed_of(subject), speed_of(rival))
    return Comparison(
        kind=kind,
        workload=subject.workload,
        phase=phase,
        batch_size=batch_size,
        device=subject.device,
        threads=subject.threads,
        mode=subject.mode,
        subject=subject.backend,
        rival=rival.backend,
        rival_mode=rival.mode,
        ratio=times,
        samples_per_second=subject.samples_per_second,
        rival_samples_per_second=rival.samples_per_second,
        verdict=verdict(times),
    )


def _execution(entry: Entry) -> str:
    execution = f"{entry.device} {entry.dtype} {entry.mode} {entry.threads}"
    if isinstance(entry, Row):
        return execution
    return f"{execution} {entry.phase} {entry.batch_size}"


def bar(entry: Entry) -> str:
    """Say why one that finished may not be compared; nothing if it may."""
    if entry.comparable:
        return ""
    if is_certified(entry) and entry.audits is None:
        return "no audit"
    if is_certified(entry) and entry.audits and entry.audits.failure:
        return "a failed audit"
    return "no passing certificate"


def speed_of(entry: Entry) -> Speed:
    """Return the speed of a row or measurement."""
    if entry.status != "ok":
        return Speed([], entry.status)
    if why := bar(entry):
        return Speed([], why)
    turns = entry.turns if isinstance(entry, Measurement) else ()
    return Speed(entry.blocks, "" if entry.blocks else "no speed", turns)
