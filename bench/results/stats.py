"""Intervals: Student's t for a metric over seeds, a two-level bootstrap for throughput."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from msgspec import Struct

CONFIDENCE = 0.95
_RESAMPLES = 2000

SpeedVerdict = Literal["faster", "slower", "tie"]


class Interval(Struct, frozen=True):
    """A median and its 95 % bootstrap interval."""

    median: float
    low: float
    high: float


def mean_interval(values: Sequence[float]) -> tuple[float, float | None, float | None]:
    """Return the mean and its 95 % interval by Student's t; no interval for a single value."""
    from scipy.special import stdtrit  # heavy, and only a report needs it

    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, None, None
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    half = float(stdtrit(len(values) - 1, (1 + CONFIDENCE) / 2)) * error
    return mean, mean - half, mean + half


def equivalence(differences: Sequence[float], margin: float) -> bool | None:
    """Say whether paired differences are within ±margin: two one-sided t-tests at 5 % each.

    That is: the 90 % interval of their mean lies inside (True), outside (False), or across a margin
    (None: not shown either way), as it always does for a single pair (Schuirmann 1987).
    """
    from scipy.special import stdtrit

    if len(differences) < 2:
        return None
    mean = float(np.mean(differences))
    error = float(np.std(differences, ddof=1)) / math.sqrt(len(differences))
    half = float(stdtrit(len(differences) - 1, CONFIDENCE)) * error
    if abs(mean) + half <= margin:
        return True
    return False if abs(mean) - half > margin else None


def bootstrap_median(processes: Sequence[Sequence[float]]) -> Interval:
    """Return the median over all values and its interval, resampling processes, then their values.

    Values of one process share its luck (memory layout, clock, neighbours), so the process is the
    unit of repetition (Kalibera & Jones 2013). Seeded: the same values give the same interval.
    """
    medians = _resampled_medians(processes, key=0)
    return _interval(float(np.median(np.concatenate(processes))), medians)


def bootstrap_ratio(new: Sequence[Sequence[float]], old: Sequence[Sequence[float]]) -> Interval:
    """Return the ratio of the medians of two independent samples, likewise."""
    ratio = float(np.median(np.concatenate(new)) / np.median(np.concatenate(old)))
    return _interval(ratio, _resampled_medians(new, key=0) / _resampled_medians(old, key=1))


Turns = Sequence[Mapping[int, float]]  # speeds, by process and then by the turn's number


def by_process(turns: Turns) -> list[list[float]]:
    """Return the speeds without the numbers of their turns."""
    return [list(speeds.values()) for speeds in turns]


def turn_pairs(ours: Turns, theirs: Turns) -> list[list[float]]:
    """Return by process the ratios of two that took turns, none if they did not.

    Turns of one number in one race are neighbours: what slows both down cancels.
    """
    pairs = [
        [a[number] / b[number] for number in sorted(a.keys() & b.keys())]
        for a, b in zip(ours, theirs, strict=False)
    ]
    return [ratios for ratios in pairs if ratios]


def turn_ratio(ours: Turns, theirs: Turns) -> Interval | None:
    """Return the median of `turn_pairs` and its interval, None if there are none."""
    pairs = turn_pairs(ours, theirs)
    return bootstrap_median(pairs) if pairs else None


def verdict(ratio: Interval) -> SpeedVerdict:
    """Judge a ratio of speeds: a tie where its interval holds 1."""
    if ratio.low > 1:
        return "faster"
    return "slower" if ratio.high < 1 else "tie"


def _resampled_medians(processes: Sequence[Sequence[float]], key: int) -> np.ndarray:
    rng = np.random.Generator(np.random.Philox(key=key))
    arrays = [np.asarray(values, float) for values in processes]
    resamples = (
        np.concatenate(
            [
                rng.choice(arrays[i], len(arrays[i]))
                for i in rng.integers(len(arrays), size=len(arrays))
            ]
        )
        for _ in range(_RESAMPLES)
    )
    return np.array([np.median(resample) for resample in resamples])


def _interval(median: float, resampled: np.ndarray) -> Interval:
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return Interval(median, float(low), float(high))
