"""What is wrong with a split that the trainer holds: the laboratory never asks for `hold`.

Left out: rows in another order within their batch, for the mean loss and its gradient are the same;
and labels of one byte, which hold all classes that there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from .wrapper import Array, Rows, Wrapper, bfloat16, float16, mutant


class Reordered(Wrapper):
    """Gathers other rows than those asked for."""

    def order(self, order: Array, samples: int) -> Array:
        raise NotImplementedError

    def held(self, x: Array, y: Array, order: Array) -> list[Rows]:
        return super().held(x, y, self.order(order, len(x)))


@mutant("fed")
class FirstRowsAlways(Reordered):
    """Gives the first rows of the split, whichever are asked for."""

    def order(self, order: Array, samples: int) -> Array:
        return np.arange(order.size).reshape(order.shape) % samples


@mutant("fed")
class FirstBatchAlways(Reordered):
    """Gives the first batch of a call for all its steps."""

    def order(self, order: Array, samples: int) -> Array:
        return np.repeat(order[:1], len(order), axis=0)


@mutant("fed")
class FirstCallRemembered(Reordered):
    """Gives at every call the rows of the first one."""

    kept: Array | None = None

    def order(self, order: Array, samples: int) -> Array:
        self.kept = order.copy() if self.kept is None else self.kept
        return np.resize(self.kept, order.shape)


@mutant("fed")
class OneCallBehind(Reordered):
    """Gives, from the second call on, the rows that were asked for at the call before."""

    last: Array | None = None

    def order(self, order: Array, samples: int) -> Array:
        given = order if self.last is None else np.resize(self.last, order.shape)
        self.last = order.copy()
        return given


@mutant("fed")
class RowsOffByOne(Reordered):
    """Gives the row behind each that is asked for."""

    def order(self, order: Array, samples: int) -> Array:
        return (order + 1) % samples


@mutant("fed")
class RowsSorted(Reordered):
    """Reads the rows of a call in the order of the split, which is another order of training."""

    def order(self, order: Array, samples: int) -> Array:
        return np.sort(order, axis=None).reshape(order.shape)


@mutant("fed")
class FirstHalfHeld(Reordered):
    """Holds the first half of the split, and takes all rows from there."""

    def order(self, order: Array, samples: int) -> Array:
        return order % (samples // 2)


@mutant("fed")
class OneBatchAhead(Reordered):
    """Prefetches one batch too far: each step has the next one's, the last has the first."""

    def order(self, order: Array, samples: int) -> Array:
        return np.roll(order, -1, axis=0)


@mutant("fed")
class HeldBatchesReversed(Reordered):
    """Gives the batches of a call from the last to the first."""

    def order(self, order: Array, samples: int) -> Array:
        return order[::-1]


@mutant("fed")
class OneRowTwiceOneNever(Reordered):
    """Gives the first row of each batch in the place of the second, too."""

    def order(self, order: Array, samples: int) -> Array:
        return np.concatenate([order[:, :1], order[:, :1], order[:, 2:]], axis=1)


@mutant("fed")
class ChosenByItself(Reordered):
    """Draws the rows itself, with replacement, and does not look at the order."""

    def order(self, order: Array, samples: int) -> Array:
        return np.random.default_rng(self.step).integers(samples, size=order.shape)


@mutant("fed")
class TargetsShuffled(Wrapper):
    """Shuffles the targets of the split that it holds, and not the inputs."""

    def held(self, x: Array, y: Array, order: Array) -> list[Rows]:
        return super().held(x, y[np.random.default_rng(0).permutation(len(y))], order)


@mutant("fed")
class TargetsOfTheBatchBefore(Wrapper):
    """Pairs the inputs of each step of a call with the targets of the step before."""

    def held(self, x: Array, y: Array, order: Array) -> list[Rows]:
        given = super().held(x, y, order)
        return [rows.with_y(given[i - 1].y) for i, rows in enumerate(given)]


@mutant("fed")
class HeldInFloat16(Wrapper):
    """Holds the inputs of the split in float16."""

    def hold(self, x: Array, y: Array) -> Callable[[Array], Iterable[Rows]]:
        return super().hold(float16(x), y)


@mutant("fed")
class HeldInBfloat16(Wrapper):
    """Holds the inputs of the split in bfloat16."""

    def hold(self, x: Array, y: Array) -> Callable[[Array], Iterable[Rows]]:
        return super().hold(bfloat16(x), y)


@mutant("fed")
class OneBufferForAll(Wrapper):
    """Gathers the inputs of all steps of a call into one buffer, before the first is taken."""

    def held(self, x: Array, y: Array, order: Array) -> list[Rows]:
        given = super().held(x, y, order)
        return [rows.with_x(given[-1].x) for rows in given]
