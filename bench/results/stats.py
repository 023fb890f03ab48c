"""Intervals: Student's t for what is measured once per seed, a two-level bootstrap for speeds.

What supports one: of seeds two, as Student's t allows for few; of processes three, each of one
block or more, as a bootstrap does not, and resamples of fewer say nothing of what differs from
process to process. For a ratio that is three on either side. Below it there is no interval, and
without an interval no verdict. Three are few: of processes that differ far more among themselves
than their blocks do, three lie on one side of the true median in one case of four, and their
interval, which is within their range, with them. More processes are worth more than more blocks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from msgspec import Struct

CONFIDENCE = 0.95
LEAST_PROCESSES = 3
_RESAMPLES = 2000
_MOST_VALUES = 500  # of a process that are resampled
_MANY = 1_000_000  # numbers that are drawn at once
_MARGINS = {"accuracy": 0.005, "macro_f1": 0.005}  # half a point
_RELATIVE_MARGIN = 0.01
UNBOUNDED = -math.inf, math.inf
POSITIVE = 0.0, math.inf

SpeedVerdict = Literal["faster", "slower", "tie", "not judged"]


class Interval(Struct, frozen=True):
    """A median and its 95 % bootstrap interval, null where fewer than three processes gave it."""

    median: float
    low: float | None = None
    high: float | None = None

    def times(self, factor: float) -> Interval:
        """Return it in another unit."""
        low, high = (end if end is None else factor * end for end in (self.low, self.high))
        return Interval(factor * self.median, low, high)

    def under(self, number: float) -> Interval:
        """Return what it is to divide a number by it."""
        low, high = (end if end is None else number / end for end in (self.low, self.high))
        return Interval(number / self.median, high, low)

    def is_above(self, number: float) -> bool:
        """Say whether the whole interval is."""
        return self.low is not None and self.low > number


def mean_interval(
    values: Sequence[float], bounds: tuple[float, float] = UNBOUNDED
) -> tuple[float, float | None, float | None]:
    """Return the mean and its 95 % interval by Student's t; no interval for a single value.

    What has bounds has its interval within: m ± t s/√n becomes g⁻¹(g(m) ± g'(m) t s/√n), where g is
    the logarithm of the distance from the one bound, or that of the odds between two (the delta
    method; to first order in s/√n they are the same).
    """
    from scipy.special import stdtrit  # heavy, and only a report needs it

    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, None, None
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    half = float(stdtrit(len(values) - 1, (1 + CONFIDENCE) / 2)) * error
    return mean, _moved(mean, -half, *bounds), _moved(mean, half, *bounds)


def _moved(mean: float, by: float, lowest: float, highest: float) -> float:
    below, above = mean - lowest, highest - mean
    if not below > 0 < above or below == above == math.inf:
        return mean + by
    if above == math.inf:
        return lowest + below * math.exp(by / below)
    if below == math.inf:
        return highest - above * math.exp(-by / above)
    odds = below / above * math.exp(by * (1 / below + 1 / above))
    return lowest + (highest - lowest) * odds / (1 + odds)


def metric_margin(name: str, reference: float) -> float:
    """Return within what a metric counts as the same as the reference: a hundredth of it, or half a
    point of what is a share.
    """
    return _MARGINS.get(name, _RELATIVE_MARGIN * abs(reference))


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
    median = float(np.median(np.concatenate(processes)))
    if len(processes) < LEAST_PROCESSES:
        return Interval(median)
    return _interval(median, _resampled_medians(processes, key=0))


def bootstrap_ratio(new: Sequence[Sequence[float]], old: Sequence[Sequence[float]]) -> Interval:
    """Return the ratio of the medians of two independent samples, likewise."""
    ratio = float(np.median(np.concatenate(new)) / np.median(np.concatenate(old)))
    if min(len(new), len(old)) < LEAST_PROCESSES:
        return Interval(ratio)
    return _interval(ratio, _resampled_medians(new, key=0) / _resampled_medians(old, key=1))


def telling(curves: Sequence[Sequence[float]], most: int) -> list[int]:
    """Return which points of curves of one length to keep, `most` or fewer: the first, the last,
    and of equal stretches between the lowest and the highest of each curve; all if they are few.
    """
    length = len(curves[0]) if curves else 0
    if length <= most:
        return list(range(length))
    stretches = np.array_split(np.arange(length), max(1, (most - 2) // (2 * len(curves))))
    values = [np.asarray(curve, float) for curve in curves]
    ends = {
        int(stretch[pick(curve[stretch])])
        for stretch in stretches
        for curve in values
        for pick in (np.argmin, np.argmax)
    }
    return sorted({0, length - 1} | ends)


def without_interval(processes: int) -> str:
    """Say that so few processes have no interval, and how many have one."""
    noun = "process" if processes == 1 else "processes"
    return f"{processes} {noun}: no interval and no verdict, which take {LEAST_PROCESSES}"


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
    """Judge a ratio of speeds: a tie where its interval holds 1; not at all without an interval."""
    if ratio.low is None or ratio.high is None:
        return "not judged"
    if ratio.is_above(1):
        return "faster"
    return "slower" if ratio.high < 1 else "tie"


def _resampled_medians(processes: Sequence[Sequence[float]], key: int) -> np.ndarray:
    rng = np.random.Generator(np.random.Philox(key=key))
    values = [_quantiles(np.asarray(process, float)) for process in processes]
    lengths = np.array([len(process) for process in values])
    longest = int(lengths.max())
    padded = np.full((len(values), longest), np.inf)
    for row, process in zip(padded, values, strict=True):
        row[: len(process)] = process
    medians = np.empty(_RESAMPLES)
    for some in np.array_split(np.arange(_RESAMPLES), math.ceil(_RESAMPLES * padded.size / _MANY)):
        picked = rng.integers(len(values), size=(len(some), len(values)))
        counts = lengths[picked][..., None]
        drawn = padded[
            picked[..., None], (rng.random((*picked.shape, longest)) * counts).astype(int)
        ]
        drawn[np.arange(longest) >= counts] = np.inf  # behind all others when they are sorted
        ordered = np.sort(drawn.reshape(len(some), -1), axis=1)
        total = counts.sum(axis=(1, 2))
        middles = np.stack([(total - 1) // 2, total // 2], axis=1)
        medians[some] = np.take_along_axis(ordered, middles, axis=1).mean(axis=1)
    return medians


def _quantiles(values: np.ndarray) -> np.ndarray:
    """Return the values of a process, or if there are very many so many of their quantiles."""
    if len(values) <= _MOST_VALUES:
        return values
    return np.asarray(np.quantile(values, (np.arange(_MOST_VALUES) + 0.5) / _MOST_VALUES))


def _interval(median: float, resampled: np.ndarray) -> Interval:
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return Interval(median, float(low), float(high))
