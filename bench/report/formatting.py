"""Numbers as text, alike in every rendering: a dash for what was not measured."""

from __future__ import annotations

import math
from collections.abc import Callable

from ..results.stats import Interval
from ..results.summary import LossRange, Metric, TimeToTarget

DASH = "–"
NO_BREAK = "\u00a0"  # a value and its unit stay on one line
_PLUS_MINUS = f"{NO_BREAK}±{NO_BREAK}"


def significant(value: float, digits: int) -> str:
    """Format to so many significant digits; scientific only outside 1e-4 to 1e9."""
    if value == 0 or not math.isfinite(value):
        return f"{value:.0f}"
    scientific = f"{value:.{digits - 1}e}"
    exponent = int(scientific.partition("e")[2])
    if not -4 <= exponent < 9:
        return scientific
    return f"{float(scientific):,.{max(digits - 1 - exponent, 0)}f}"


def rate(value: float) -> str:
    """Format samples per second."""
    return f"{value:,.0f}" if 1000 <= value < 1e9 else significant(value, 4)


def interval(estimate: Interval | None, form: Callable[[float], str]) -> str:
    """Format as `median [low–high]`, or the median alone where there is no interval."""
    if estimate is None:
        return DASH
    if estimate.low is None or estimate.high is None:
        return form(estimate.median)
    return f"{form(estimate.median)} [{form(estimate.low)}–{form(estimate.high)}]"


def rate_and_half(estimate: Interval | None) -> str:
    """Format as `median ± half the interval`, the latter in percent of the median."""
    if estimate is None:
        return DASH
    if estimate.low is None or estimate.high is None:
        return rate(estimate.median)
    half = 50 * (estimate.high - estimate.low) / estimate.median
    return f"{rate(estimate.median)}{_PLUS_MINUS}{significant(half, 2)}{NO_BREAK}%"


def ratio(value: float | None) -> str:
    """Format how many times."""
    return DASH if value is None else f"{significant(value, 3)}x"


def between(estimate: Interval | None) -> str | None:
    """Format an interval for a sentence, as `1.31 to 1.52`; None if there is none."""
    if estimate is None or estimate.low is None or estimate.high is None:
        return None
    return f"{significant(estimate.low, 3)} to {significant(estimate.high, 3)}"


def noise(value: float) -> str:
    """Format an error in units of rounding noise."""
    return f"{value:.1f}x" if value < 1000 else f"{value:.1e}x"


def short(value: float | None) -> str:
    """Format to three digits, without a unit: seconds, GFLOP/s."""
    return DASH if value is None else significant(value, 3)


def megabytes(value: float | None) -> str:
    """Format megabytes, without the unit."""
    return DASH if value is None else f"{value:,.0f}"


def loss_range(loss: LossRange | None) -> str:
    """Format as `first → last`."""
    if loss is None:
        return DASH
    return f"{significant(loss.first, 4)} → {significant(loss.last, 4)}"


def mean_to_target(times: TimeToTarget | None) -> str:
    """Format the mean, and how many seeds reached the target if not all did."""
    if times is None:
        return DASH
    if times.mean is None:
        return "not reached"
    return significant(times.mean, 3) + _some(times)


def time_to_target(times: TimeToTarget | None) -> str:
    """Format likewise, with the interval of the mean."""
    if times is None or times.mean is None or times.low is None or times.high is None:
        return mean_to_target(times)
    return _mean_and_interval(times.mean, times.low, times.high, 3) + _some(times)


def _mean_and_interval(mean: float, low: float, high: float, digits: int) -> str:
    """Format as `mean ± half the interval`, or as `mean [low–high]` where ± would mislead."""
    if not _is_symmetric(mean, low, high):
        return f"{significant(mean, digits)} [{significant(low, 2)}–{significant(high, 2)}]"
    return f"{significant(mean, digits)}{_PLUS_MINUS}{significant((high - low) / 2, 2)}"


def _is_symmetric(mean: float, low: float, high: float) -> bool:
    """Tell whether either side of an interval is as long as the half of it, to a fifth."""
    half = (high - low) / 2
    return abs(mean - low - half) <= half / 5


def _some(times: TimeToTarget) -> str:
    reached = sum(value is not None for value in times.values)
    return "" if reached == len(times.values) else f" ({reached}/{len(times.values)})"


def margin(metric: str, value: float) -> str:
    """Format how far two values of a metric may be apart, accuracy in points of a percent."""
    return f"{100 * value:g} points" if is_percentage(metric) else significant(value, 2)


def is_percentage(metric: str) -> bool:
    """Tell whether a metric is shown in percent."""
    return metric == "accuracy"


def metric_value(name: str, value: float) -> str:
    """Format one value of a metric, accuracy in percent."""
    return f"{100 * value:.2f}{NO_BREAK}%" if is_percentage(name) else significant(value, 4)


def metric_interval(metric: Metric | None) -> str:
    """Format the mean with its interval, or alone where there is none."""
    if metric is None:
        return DASH
    mean, low, high = metric.mean, metric.low, metric.high
    if low is None or high is None:
        return metric_value(metric.name, mean)
    if not is_percentage(metric.name):
        return _mean_and_interval(mean, low, high, 4)
    if not _is_symmetric(mean, low, high):
        return f"{100 * mean:.2f} [{100 * low:.2f}–{100 * high:.2f}]{NO_BREAK}%"
    return f"{100 * mean:.2f}{_PLUS_MINUS}{50 * (high - low):.2f}{NO_BREAK}%"
