"""Backends wrapped as the mutants are, and right: what an audit says of them is a false alarm."""

from __future__ import annotations

import numpy as np

from .batches import LargeStaged
from .dropout import Drawing
from .wrapper import CONTROLS, Array, LargeBatch, LongBlock, Rows, Wrapper, mutant


@mutant("train", CONTROLS)
class OnlyWrapped(Wrapper):
    """Does everything right."""


@mutant("train", CONTROLS)
class GradientsByHand(LargeBatch):
    """Takes its gradients along to an optimizer of its own, for large batches."""

    def large(self, rows: Rows) -> Array:
        return self.take_along(rows, self.gradients(rows)[1])


@mutant("train", CONTROLS)
class BuiltAnew(LongBlock):
    """Builds another trainer within a long block, which goes on where the last one was."""

    def long(self, block: list[Rows]) -> Array:
        losses = self.take(block[:1])
        self.go_on()
        return np.concatenate([losses, self.take(block[1:])])


@mutant("train", CONTROLS)
class RowsInAnotherOrder(LargeStaged):
    """Turns a large batch round, inputs and targets together: another order of summation."""

    def large(self, rows: Rows) -> Rows:
        return rows.pick(slice(None, None, -1))


@mutant("dropout", CONTROLS)
class DrawsItsOwn(Drawing):
    """Draws its masks by itself, as they should be."""
