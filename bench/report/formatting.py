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
    """Format as `median [low–high]`."""
    if estimate is None:
        return DASH
    return f"{form(estimate.median)} [{form(estimate.low)}–{form(estimate.high)}]"


def rate_and_half(estimate: Interval | None) -> str:
    """Format as `median ± half the interval`, the latter in percent of the median."""
    if estimate is None:
        return DASH
    half = 50 * (estimate.high - estimate.low) / estimate.median
    return f"{rate(estimate.median)}{_PLUS_MINUS}{significant(half, 2)}{NO_BREAK}%"


def ratio(value: float | None) -> str:
    """Format how many times."""
    return DASH if value is None else f"{significant(value, 3)}x"


def between(estimate: Interval) -> str:
    """Format an interval for a sentence, as `1.31 to 1.52`."""
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
    """Format likewise, as `mean ± half the interval`."""
    if times is None or times.mean is None or times.low is None or times.high is None:
        return mean_to_target(times)
    half = (times.high - times.low) / 2
    return f"{significant(times.mean, 3)}{_PLUS_MINUS}{significant(half, 2)}{_some(times)}"


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
    """Format as `mean ± half the interval`, or the mean alone where there is no interval."""
    if metric is None:
        return DASH
    if metric.low is None or metric.high is None:
        return metric_value(metric.name, metric.mean)
    half = (metric.high - metric.low) / 2
    if is_percentage(metric.name):
        return f"{100 * metric.mean:.2f}{_PLUS_MINUS}{100 * half:.2f}{NO_BREAK}%"
    return f"{significant(metric.mean, 4)}{_PLUS_MINUS}{significant(half, 2)}"
