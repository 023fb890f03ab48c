"""How the jobs of a row went on: loss and metric by epoch, loss by step, the time to the target."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from statistics import fmean

from ..results.stats import POSITIVE, mean_interval, telling
from ..results.summary import LossPoint, Point, TimeToTarget, WorkloadFacts
from ..worker.records import Block
from .journal import JobResult

_MOST_POINTS = 200  # of a curve of losses
_MOST_EPOCHS = 400  # of a curve by epoch


def by_epoch(complete: Sequence[JobResult], metric: str) -> list[Point]:
    """Return loss and validation metric by epoch, averaged over seeds; of very many epochs some,
    the highest and lowest among them.
    """
    if not complete:
        return []
    seconds = [_seconds_by_epoch(result) for result in complete]
    points = [
        Point(
            epoch=epochs[0].epoch,
            loss=fmean(epoch.loss for epoch in epochs),
            metric=fmean(epoch.metrics[metric] for epoch in epochs),
            seconds=fmean(spent[epochs[0].epoch] for spent in seconds),
        )
        for epochs in zip(*(result.epochs for result in complete), strict=True)
    ]
    curves = [[point.loss for point in points], [point.metric for point in points]]
    return [points[i] for i in telling(curves, _MOST_EPOCHS)]


def by_step(complete: Sequence[JobResult]) -> list[LossPoint]:
    """Return the loss by step, averaged over seeds."""
    curves = [_thinned(result.blocks) for result in complete]
    return [
        LossPoint(
            step=points[0].step,
            seconds=fmean(point.seconds for point in points),
            loss=fmean(point.loss for point in points),
        )
        for points in zip(*curves, strict=True)
    ]


def _thinned(blocks: Sequence[Block]) -> list[LossPoint]:
    """Return the mean loss of every few blocks, so few that there are not too many points."""
    size = math.ceil(len(blocks) / _MOST_POINTS)
    points, step, seconds = [], 0, 0.0
    for first in range(0, len(blocks), size):
        group = blocks[first : first + size]
        losses = [loss for block in group for loss in block.losses]
        step += len(losses)
        seconds += sum(block.train_seconds for block in group)
        points.append(LossPoint(step, seconds, fmean(losses)))
    return points


def time_to_target(complete: Sequence[JobResult], facts: WorkloadFacts) -> TimeToTarget | None:
    """Return how long each seed took to reach the target, if the workload has one."""
    from_the_start = all(result.epochs[0].epoch == 1 for result in complete)
    if facts.target is None or not complete or not from_the_start:
        return None
    values = [_seconds_until(facts.target, result, facts) for result in complete]
    reached = [value for value in values if value is not None]
    middle, low, high = mean_interval(reached, POSITIVE) if reached else (None, None, None)
    return TimeToTarget(middle, low, high, values)


def _seconds_until(target: float, result: JobResult, facts: WorkloadFacts) -> float | None:
    """Return the seconds of build, staging and training until the target; None if it is missed."""
    reaches = operator.le if facts.lower_is_better else operator.ge
    for epoch in result.epochs:
        if result.built and reaches(epoch.metrics[facts.metric], target):
            return result.built.build_seconds + sum(
                block.stage_seconds + block.train_seconds
                for block in result.blocks
                if block.epoch <= epoch.epoch
            )
    return None


def _seconds_by_epoch(result: JobResult) -> dict[int, float]:
    total, seconds = 0.0, {}
    for block in result.blocks:
        total += block.train_seconds
        seconds[block.epoch] = total
    return seconds
