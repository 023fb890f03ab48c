"""Numbers as text, alike in every rendering: a dash for what was not measured."""

from __future__ import annotations

import math

from ..stats import Interval
from ..summary import LossRange, Metric

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


def rate_interval(interval: Interval | None) -> str:
    """Format as `median [low–high]`."""
    if interval is None:
        return DASH
    return f"{rate(interval.median)} [{rate(interval.low)}–{rate(interval.high)}]"


def ratio(value: float | None) -> str:
    """Format how many times."""
    return DASH if value is None else f"{significant(value, 3)}x"


def seconds(value: float | None) -> str:
    """Format seconds, without the unit."""
    return DASH if value is None else significant(value, 3)


def megabytes(value: float | None) -> str:
    """Format megabytes, without the unit."""
    return DASH if value is None else f"{value:,.0f}"


def loss_range(loss: LossRange | None) -> str:
    """Format as `first → last`."""
    if loss is None:
        return DASH
    return f"{significant(loss.first, 4)} → {significant(loss.last, 4)}"


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
