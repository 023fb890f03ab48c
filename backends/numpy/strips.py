"""What the kernel of a convolution meets, so that a row of its outputs is one product."""

from __future__ import annotations

import numpy as np

from ...models import Node, layers
from ...models.shapes import pair
from .. import aligned
from .plan import Array, Plan
from .windows import Frame, tap


class Strips:
    """Of each row of x in its frame a strip: what each column of the kernel meets in that row,
    [C, taps, columns, N], for the kernel's places side by side.

    What a row of outputs meets is the strips of as many rows as the kernel is `tall`, one behind
    the other, as they lie: `met[row]`, [groups, tall · C · taps, columns · N], which shares strips
    with its neighbours. `dmet` is its gradient, likewise.
    """

    def __init__(
        self,
        node: Node[layers.Conv2D],
        x: Array,
        size: tuple[int, int],
        stride: tuple[int, int],
        space: tuple[int, ...],
        plan: Plan,
    ) -> None:
        (tall, taps), (down, right), (rows, columns) = size, stride, space
        across, groups = pair(node.layer.dilation)[1], node.layer.groups
        reach = down * (rows - 1) + tall, right * (columns - 1) + across * (taps - 1) + 1
        self._frame = Frame(x, node.layer.pads(node.input_shape), reach)
        strips = plan.empty(groups, reach[0], len(x) // groups, taps, columns)
        self._dstrips = aligned.empty_like(strips) if node.needs_input_gradient else strips
        self.met, self.dmet = (
            [
                of[:, top : top + tall].reshape(groups, -1, columns * plan.batch)
                for top in range(0, down * rows, down)
            ]
            for of in (strips, self._dstrips)
        )
        self._read, self._written = (
            _windows(image, of, across, right)
            for image, of in ((self._frame.image, strips), (self._frame.gradient, self._dstrips))
        )

    def fill(self) -> None:
        """Read x as it is now."""
        self._frame.fill()
        for taken, window in self._read:
            np.copyto(taken, window)

    def start_back(self) -> None:
        self._dstrips.fill(0)

    def finish_back(self) -> Array:
        """Return the gradient of x, after that of all rows was added to `dmet`."""
        self._frame.gradient.fill(0)
        for taken, window in self._written:
            np.add(window, taken, out=window)
        return self._frame.inside_gradient


def _windows(image: Array, strips: Array, across: int, right: int) -> list[tuple[Array, Array]]:
    """Return each column of the kernel's part of the strips, and what it meets in the image:
    [groups, C, H, columns, N].
    """
    groups, height, channels, taps, columns, _ = strips.shape
    grouped = image.reshape(groups, channels, *image.shape[1:])
    return [
        (
            strips[:, :, :, v].swapaxes(1, 2),
            tap(grouped, (0, v * across), (1, right), (height, columns)),
        )
        for v in range(taps)
    ]
