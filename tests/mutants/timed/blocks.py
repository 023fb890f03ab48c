"""What is wrong in long blocks alone: where one call of `train` takes more than two steps."""

from __future__ import annotations

import numpy as np

from bakeoff.backends.contract import Weights
from bakeoff.models.schedules import ConstantRate

from .wrapper import Array, LongBlock, Rows, float16, mutant, one_by_one


@mutant("train")
class FirstBatchRepeated(LongBlock):
    """Trains on the first batch of a long block over and over."""

    def long(self, block: list[Rows]) -> Array:
        return self.take([block[0]] * len(block))


@mutant("train")
class LastStepLeftOut(LongBlock):
    """Leaves out the last step of a long block; its loss is that of the step before."""

    def long(self, block: list[Rows]) -> Array:
        losses = self.take(block[:-1])
        return np.append(losses, losses[-1])


@mutant("train")
class LastStepOnlyLooked(LongBlock):
    """Computes the loss of a long block's last step, counts the step, and does not take it."""

    def long(self, block: list[Rows]) -> Array:
        return np.append(self.take(block[:-1]), self.skip(block[-1]))


@mutant("train")
class LastStepTwice(LongBlock):
    """Takes the last step of a long block twice, and counts it once."""

    def long(self, block: list[Rows]) -> Array:
        losses = self.take(block)
        self.take_as(block[-1:], self.step - 1)
        self.step -= 1
        self.go_on(state={"step": np.array(self.step)})
        return losses


@mutant("train")
class CutAtEight(LongBlock):
    """Takes the first eight steps of a block; of the others it computes the loss."""

    def long(self, block: list[Rows]) -> Array:
        return np.concatenate([self.take(block[:8]), *map(self.skip, block[8:])])


@mutant("train")
class BatchesReversed(LongBlock):
    """Takes the batches of a long block from the last to the first; the losses are in order."""

    def long(self, block: list[Rows]) -> Array:
        return self.take(block[::-1])[::-1].copy()


@mutant("train")
class OneBatchTwiceOneNever(LongBlock):
    """Trains on the second batch of a long block in the place of the third, too."""

    def long(self, block: list[Rows]) -> Array:
        return self.take([*block[:2], block[1], *block[3:]])


@mutant("train")
class BufferReused(LongBlock):
    """Prefetches into two buffers by turns, and too early: only the last two batches are left."""

    def long(self, block: list[Rows]) -> Array:
        last = len(block) - 1
        return self.take([block[last - (last - i) % 2] for i in range(len(block))])


@mutant("train")
class TwoBatchesInOneUpdate(LongBlock):
    """Accumulates gradients over two batches of a long block, and counts two steps."""

    def long(self, block: list[Rows]) -> Array:
        return one_by_one(self._pair(block[i : i + 2]) for i in range(0, len(block), 2))

    def _pair(self, pair: list[Rows]) -> Array:
        if len(pair) == 1:
            return self.take(pair)
        losses = self.losses(pair)
        self.take([pair[0].and_then(pair[1])])
        self.step += 1
        self.go_on(state={"step": np.array(self.step)})
        return losses


@mutant("train")
class LossesTurnedByOne(LongBlock):
    """Hands back the losses of a long block turned by one."""

    def long(self, block: list[Rows]) -> Array:
        return np.roll(self.take(block), 1)


@mutant("train")
class LossesAveraged(LongBlock):
    """Reports the mean of a long block's losses for each of its steps."""

    def long(self, block: list[Rows]) -> Array:
        losses = self.take(block)
        return np.full_like(losses, losses.mean())


@mutant("train")
class LossesAsRunningMean(LongBlock):
    """Reports the mean of a long block's losses so far, as a progress bar does."""

    def long(self, block: list[Rows]) -> Array:
        losses = self.take(block)
        return (losses.cumsum() / np.arange(1, len(losses) + 1)).astype(losses.dtype)


@mutant("train")
class LossesAfterTheUpdate(LongBlock):
    """Reports what the loss is after each step of a long block."""

    def long(self, block: list[Rows]) -> Array:
        return one_by_one((self.take([rows]), self.losses([rows]))[1] for rows in block)


@mutant("train")
class LossesThroughFloat16(LongBlock):
    """Gathers the losses of a long block in float16."""

    def long(self, block: list[Rows]) -> Array:
        return float16(self.take(block))


@mutant("train")
class LastUpdateNotWaitedFor(LongBlock):
    """Shows the weights as they were before the last update of a long block, which comes later."""

    shown: Weights | None = None

    def block(self, block: list[Rows]) -> Array:
        self.shown = None
        return super().block(block)

    def long(self, block: list[Rows]) -> Array:
        losses = self.take(block[:-1])
        self.shown = self.real.weights()
        return np.append(losses, self.take(block[-1:]))

    def weights(self) -> Weights:
        return self.real.weights() if self.shown is None else self.shown


@mutant("train")
class LastUpdatePending(LongBlock):
    """Applies the last update of a long block when it is next called to train."""

    pending: tuple[Rows, ...] = ()

    def block(self, block: list[Rows]) -> Array:
        self.take(self.pending)
        self.pending = ()
        return super().block(block)

    def long(self, block: list[Rows]) -> Array:
        losses = self.take(block[:-1])
        self.pending = (block[-1],)
        return np.append(losses, self.losses(self.pending))


@mutant("train")
class WeightsRestored(LongBlock):
    """Puts the weights back, when it is next called, to where they were before a long block."""

    before: Weights | None = None

    def block(self, block: list[Rows]) -> Array:
        if self.before is not None:
            self.go_on(weights=self.before)
        self.before = None
        return super().block(block)

    def long(self, block: list[Rows]) -> Array:
        self.before = self.real.weights()
        return self.take(block)


@mutant("train")
class SlotsReset(LongBlock):
    """Starts every long block without momentum."""

    def long(self, block: list[Rows]) -> Array:
        self.go_on(state=self.empty_slots())
        return self.take(block)


@mutant("train")
class DecayDropped(LongBlock):
    """Leaves out weight decay in long blocks."""

    def long(self, block: list[Rows]) -> Array:
        return self.take_with(block, weight_decay=0.0)


@mutant("train")
class ClippedOncePerBlock(LongBlock):
    """Clips the gradients of a long block's first step, and no others."""

    def long(self, block: list[Rows]) -> Array:
        first = self.take(block[:1])
        return np.append(first, self.take_with(block[1:], clip_value=None, clip_norm=None))


@mutant("train")
class RateWrongFromTheSecond(LongBlock):
    """Takes all steps of a long block but the first at a rate that is 5 % too high."""

    def long(self, block: list[Rows]) -> Array:
        rate = 1.05 * self.model.optimizer.learning_rate
        return np.append(self.take(block[:1]), self.take_with(block[1:], learning_rate=rate))


@mutant("train")
class RateOfTheFirst(LongBlock):
    """Takes all steps of a long block at the rate of its first, whatever the schedule says."""

    def long(self, block: list[Rows]) -> Array:
        rate = self.model.optimizer.rate(self.step)
        return self.take_with(block, learning_rate=rate, schedule=ConstantRate())


@mutant("train")
class ScheduleCountsBlocks(LongBlock):
    """Counts a long block as one step of the schedule, and of its warm-up."""

    uncounted = 0

    def block(self, block: list[Rows]) -> Array:
        if len(block) > 2 or self.uncounted:
            return self.long(block)
        return self.take(block)

    def long(self, block: list[Rows]) -> Array:
        rate = self.model.optimizer.rate(self.step - self.uncounted)
        self.uncounted += len(block) - 1
        return self.take_with(block, learning_rate=rate, schedule=ConstantRate())


@mutant("train")
class StatisticsOfTheFirst(LongBlock):
    """Moves the running statistics in the first step of a long block, and in no other."""

    def long(self, block: list[Rows]) -> Array:
        first, kept = self.take(block[:1]), self.statistics()
        losses = np.append(first, self.take(block[1:]))
        self.go_on(weights=kept)
        return losses
