"""Pooling by itself: maxima and means over windows, tap by tap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...models import Node, layers
from ...models.shapes import pair
from .. import aligned
from .elementwise import relu
from .plan import Array, Pass, Plan, Step
from .windows import Frame, tap


def max_pool2d(node: Node[layers.MaxPool2D], x: Array, plan: Plan) -> Step:
    if pools_blocks(node.layer):
        return _max_of_blocks(node, x, plan)
    frame, read, written = _windows(node, x, -np.inf)
    y = plan.empty(*node.output_shape)
    share = aligned.empty_like(y)
    first, unclaimed = aligned.empty(y.shape, bool), aligned.empty(y.shape, bool)

    def forward(run: Pass) -> None:
        frame.fill()
        np.copyto(y, read[0])
        for window in read[1:]:
            np.maximum(y, window, out=y)

    def backward(dy: Array) -> Array:
        frame.gradient.fill(0)
        unclaimed.fill(True)  # the first maximum of a window takes its gradient
        for window, dwindow in zip(read, written, strict=True):
            np.equal(window, y, out=first)
            np.logical_and(first, unclaimed, out=first)
            np.logical_xor(unclaimed, first, out=unclaimed)
            np.multiply(dy, first, out=share)
            np.add(dwindow, share, out=dwindow)
        return frame.inside_gradient

    return Step(y, forward, backward)


def pools_blocks(layer: layers.MaxPool2D) -> bool:
    """Return whether the windows are of 2 × 2 and side by side."""
    window, stride = pair(layer.kernel_size), pair(layer.stride or layer.kernel_size)
    return window == stride == (2, 2) and pair(layer.padding) == (0, 0)


def _max_of_blocks(node: Node[layers.MaxPool2D], x: Array, plan: Plan) -> Step:
    channels, rows, columns = node.output_shape
    y, dx = plan.empty(*node.output_shape), plan.zeros(*node.input_shape)

    def slabs(image: Array) -> Array:
        """Return each place of the blocks for itself: [2, 2, C, rows, columns, N]."""
        blocks = image[:, : 2 * rows, : 2 * columns].reshape(channels, rows, 2, columns, 2, -1)
        return blocks.transpose(2, 4, 0, 1, 3, 5)

    tournament = Tournament(slabs(x), slabs(dx), games=1)

    def forward(run: Pass) -> None:
        tournament.play(0, y, remember=run.training)

    def backward(dy: Array) -> Array:
        tournament.spread(0, dy)
        return dx

    return Step(y, forward, backward)


class Tournament:
    """The maximum of four arrays, slab[0:2, 0:2], and whom it came from: two rounds of pairs.

    The later of a pair wins only if it is greater, so ties go to the first in row-major order.
    `slab` holds the four, and `dslab` will hold their gradients, of one game at a time.
    """

    def __init__(self, slab: Array, dslab: Array, games: int) -> None:
        self._left, self._right = slab[:, 0], slab[:, 1]
        self._dleft, self._dright = dslab[:, 0], dslab[:, 1]
        shape = slab.shape[2:]
        # Of the upper pair, of the lower pair.
        self._maxima = aligned.empty((2, *shape), slab.dtype)
        self._upper, self._lower = self._maxima
        # Of either pair, whether the right one won; then whether the lower pair did.
        self._won = [aligned.empty((3, *shape), bool) for _ in range(games)]
        # As 1 or 0, which NumPy multiplies with: a bool it would convert every time.
        self._factors = aligned.empty((3, *shape), slab.dtype)

    def play(self, game: int, y: Array, *, remember: bool) -> None:
        np.maximum(self._left, self._right, out=self._maxima)
        np.maximum(self._upper, self._lower, out=y)
        if remember:
            won = self._won[game]
            np.greater(self._right, self._left, out=won[:2])
            np.greater(self._lower, self._upper, out=won[2])

    def spread(self, game: int, dy: Array) -> None:
        """Give dy to the winners, and zero to all others."""
        np.copyto(self._factors, self._won[game])
        np.multiply(dy, self._factors[2], out=self._lower)
        np.subtract(dy, self._lower, out=self._upper)
        np.multiply(self._maxima, self._factors[:2], out=self._dright)
        np.subtract(self._maxima, self._dright, out=self._dleft)


def pooled_relu(nodes: Sequence[Node[Any]], x: Array, plan: Plan) -> Step:
    """max_pool2d(relu(x)) with the relu behind the maximum, where less is left of x."""
    pool = max_pool2d(nodes[1], x, plan)
    behind = relu(nodes[0], pool.y, plan)

    def forward(run: Pass) -> None:
        pool.forward(run)
        behind.forward(run)

    def backward(dy: Array) -> Array | None:
        dpool = behind.backward(dy)
        return None if dpool is None else pool.backward(dpool)

    return Step(behind.y, forward, backward)


def avg_pool2d(node: Node[layers.AvgPool2D], x: Array, plan: Plan) -> Step:
    frame, read, written = _windows(node, x, 0)
    y = plan.empty(*node.output_shape)
    share, area = aligned.empty_like(y), _area(node).astype(plan.dtype)

    def forward(run: Pass) -> None:
        frame.fill()
        y.fill(0)
        for window in read:
            np.add(y, window, out=y)
        np.divide(y, area, out=y)

    def backward(dy: Array) -> Array:
        frame.gradient.fill(0)
        np.divide(dy, area, out=share)
        for dwindow in written:
            np.add(dwindow, share, out=dwindow)
        return frame.inside_gradient

    return Step(y, forward, backward)


def _windows(
    node: Node[layers.MaxPool2D] | Node[layers.AvgPool2D], x: Array, border: float
) -> tuple[Frame, list[Array], list[Array]]:
    """Return x in its border, and what each tap meets there and in the gradient."""
    layer, space = node.layer, node.output_shape[1:]
    kernel, stride = pair(layer.kernel_size), pair(layer.stride or layer.kernel_size)
    frame = Frame(x, tuple((p, p) for p in pair(layer.padding)), border=border)
    places = [(u, v) for u in range(kernel[0]) for v in range(kernel[1])]
    read, written = (
        [tap(image, place, stride, space) for place in places]
        for image in (frame.image, frame.gradient)
    )
    return frame, read, written


def _area(node: Node[layers.AvgPool2D]) -> Array:
    """Return by how many numbers each window's sum is divided, [1, OH, OW, 1] or a scalar."""
    kernel = pair(node.layer.kernel_size)
    if node.layer.count_include_pad:
        return np.array(kernel[0] * kernel[1])
    frame, ones, _ = _windows(node, np.ones((1, *node.input_shape[1:], 1)), 0)
    frame.fill()
    return np.sum(ones, axis=0)


def global_avg_pool1d(node: Node[layers.GlobalAvgPool1D], x: Array, plan: Plan) -> Step:
    """[T, D, N] -> [D, N]."""
    y, dx = plan.empty(*node.output_shape), plan.empty(*node.input_shape)

    def forward(run: Pass) -> None:
        np.mean(x, axis=0, out=y)

    def backward(dy: Array) -> Array:
        return np.divide(dy, len(x), out=dx)

    return Step(y, forward, backward)


def global_avg_pool2d(node: Node[layers.GlobalAvgPool2D], x: Array, plan: Plan) -> Step:
    """[C, H, W, N] -> [C, N]."""
    y, dx = plan.empty(*node.output_shape), plan.empty(*node.input_shape)

    def forward(run: Pass) -> None:
        np.mean(x, axis=(1, 2), out=y)

    def backward(dy: Array) -> Array:
        return np.divide(dy[:, None, None], x.shape[1] * x.shape[2], out=dx)

    return Step(y, forward, backward)
