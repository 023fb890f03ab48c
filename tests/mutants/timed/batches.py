"""What is wrong with large batches alone: of more than 8 samples, at most of more than 32."""

from __future__ import annotations

import numpy as np

from bakeoff.backends.contract import Weights

from .wrapper import Array, LargeBatch, Rows, Wrapper, bfloat16, each, float16, mutant


class LargeStaged(Wrapper):
    """Stages something else for a batch of more than `over` samples."""

    over = 8

    def large(self, rows: Rows) -> Rows:
        raise NotImplementedError

    def batch(self, rows: Rows) -> Rows:
        return self.large(rows) if len(rows) > self.over else rows


class LargeGradients(LargeBatch):
    """Steps along other gradients on a batch of more than `over` samples."""

    def changed(self, gradients: Weights, rows: Rows) -> Weights:
        raise NotImplementedError

    def large(self, rows: Rows) -> Array:
        return self.take_along(rows, self.changed(self.gradients(rows)[1], rows))


@mutant("train")
class QuarterOfTheBatch(LargeStaged):
    """Trains on a quarter of any batch over 32."""

    over = 32

    def large(self, rows: Rows) -> Rows:
        return rows.pick(slice(len(rows) // 4))


@mutant("train")
class LastSampleDropped(LargeStaged):
    """Leaves out the last sample of a large batch."""

    def large(self, rows: Rows) -> Rows:
        return rows.pick(slice(len(rows) - 1))


@mutant("train")
class LastSampleTwice(LargeStaged):
    """Pads a large batch with its last sample, which counts twice."""

    def large(self, rows: Rows) -> Rows:
        return rows.pick([*range(len(rows)), len(rows) - 1])


@mutant("train")
class OneSampleTwiceOneNever(LargeStaged):
    """Gathers the first sample of a large batch in the place of the second, too."""

    def large(self, rows: Rows) -> Rows:
        return rows.pick([0, 0, *range(2, len(rows))])


@mutant("train")
class TwoLabelsSwapped(LargeStaged):
    """Exchanges the first target of a large batch with the next that differs."""

    def large(self, rows: Rows) -> Rows:
        other = int(np.argmax((rows.y != rows.y[0]).reshape(len(rows), -1).any(1)))
        y = rows.y.copy()
        y[0], y[other] = rows.y[other], rows.y[0]
        return rows.with_y(y)


@mutant("train")
class TargetsOffByOne(LargeStaged):
    """Gives every sample of a large batch the target of its neighbour."""

    def large(self, rows: Rows) -> Rows:
        return rows.with_y(np.roll(rows.y, 1, axis=0))


@mutant("train")
class InputsThroughFloat16(LargeStaged):
    """Passes inputs of more than 16 samples through float16."""

    over = 16

    def large(self, rows: Rows) -> Rows:
        return rows.with_x(float16(rows.x))


@mutant("train")
class InputsThroughBfloat16(LargeStaged):
    """Passes inputs of more than 16 samples through bfloat16."""

    over = 16

    def large(self, rows: Rows) -> Rows:
        return rows.with_x(bfloat16(rows.x))


@mutant("train")
class InputsInEightBits(LargeStaged):
    """Moves inputs of more than 16 samples as one byte per number."""

    over = 16

    def large(self, rows: Rows) -> Rows:
        unit = np.abs(rows.x).max() / 127 or 1
        return rows.with_x((np.round(rows.x / unit) * unit).astype(rows.x.dtype))


@mutant("train")
class ProductsInBfloat16(LargeBatch):
    """Multiplies in bfloat16 above 16 samples; what the products are added to is not rounded."""

    over = 16

    def large(self, rows: Rows) -> Array:
        names, before = self.model.trainable, self.real.weights()
        rounded = each(bfloat16, before, names)
        self.go_on(weights=rounded)
        losses = self.take([rows.with_x(bfloat16(rows.x))])
        after = self.real.weights()
        self.go_on(weights={n: before[n] + (after[n] - rounded[n]) for n in names})
        return losses


@mutant("train")
class WeightsThroughFloat16(LargeBatch):
    """Keeps its weights in float16 while batches have more than 16 samples."""

    over = 16

    def large(self, rows: Rows) -> Array:
        losses = self.take([rows])
        self.go_on(weights=each(float16, self.real.weights(), self.model.trainable))
        return losses


@mutant("train")
class GradientsThroughFloat16(LargeGradients):
    """Sums the gradients of more than 16 samples in float16."""

    over = 16

    def changed(self, gradients: Weights, rows: Rows) -> Weights:
        return each(float16, gradients, gradients)


@mutant("train")
class GradientsThroughBfloat16(LargeGradients):
    """Sends the gradients of more than 16 samples as bfloat16."""

    over = 16

    def changed(self, gradients: Weights, rows: Rows) -> Weights:
        return each(bfloat16, gradients, gradients)


@mutant("train")
class LossScalingForgotten(LargeGradients):
    """Scales the loss of more than 16 samples by 4, and does not divide the gradients again."""

    over = 16

    def changed(self, gradients: Weights, rows: Rows) -> Weights:
        return each(lambda g: 4 * g, gradients, gradients)


@mutant("train")
class MeanOverEight(LargeGradients):
    """Divides the sum of a large batch's gradients by 8, and not by its samples."""

    def changed(self, gradients: Weights, rows: Rows) -> Weights:
        return each(lambda g: g * (len(rows) / 8), gradients, gradients)


@mutant("train")
class NormalizedByHalves(LargeGradients):
    """Derives a large batch in two halves, each with the statistics of its own."""

    def changed(self, gradients: Weights, rows: Rows) -> Weights:
        middle, total = len(rows) // 2, len(rows)
        first = self.gradients(rows.pick(slice(middle)))[1]
        second = self.gradients(rows.pick(slice(middle, total)))[1]
        return {
            name: first[name] * (middle / total) + second[name] * ((total - middle) / total)
            for name in gradients
        }


@mutant("train")
class StatisticsOfHalfTheBatch(LargeBatch):
    """Takes the running statistics from the first half of a large batch."""

    def large(self, rows: Rows) -> Array:
        other = self.fresh()
        other.train([self.native(rows.pick(slice(len(rows) // 2)))])
        losses, moved = self.take([rows]), other.weights()
        self.go_on(weights={name: moved[name] for name in self.statistics()})
        return losses


@mutant("train")
class RateDoubled(LargeBatch):
    """Doubles the learning rate for batches over 32, unasked."""

    over = 32

    def large(self, rows: Rows) -> Array:
        return self.take_with([rows], learning_rate=2 * self.model.optimizer.learning_rate)


@mutant("train")
class LossThroughFloat16(LargeBatch):
    """Reports the loss of a large batch in float16."""

    def large(self, rows: Rows) -> Array:
        return float16(self.take([rows]))


@mutant("train")
class LossOfAQuarter(LargeBatch):
    """Reports the loss of a quarter of a large batch; it trains on all of it."""

    def large(self, rows: Rows) -> Array:
        losses = self.losses([rows.pick(slice(len(rows) // 4))])
        self.take([rows])
        return losses
