"""Images with a border of zeros, and what a tap of a sliding window meets in them."""

from __future__ import annotations

import numpy as np

from ...models.layers.convolution import Pads
from .. import aligned
from .plan import Array


class Frame:
    """A copy of x, [C, H, W, N], inside zeros (or `border`): `pads` of them, and as many more at
    the ends as make it `least` high and wide; and the memory for its gradient.

    Where x is in one piece and needs no border, it is no copy but x itself.
    """

    def __init__(
        self, x: Array, pads: Pads, least: tuple[int, ...] = (0, 0), border: float = 0
    ) -> None:
        (top, bottom), (left, right) = pads
        channels, height, width, batch = x.shape
        size = max(top + height + bottom, least[0]), max(left + width + right, least[1])
        self._x, self._is_x = x, size == (height, width) and x.flags.c_contiguous
        shape = (channels, *size, batch)
        self.image = x if self._is_x else aligned.empty(shape, x.dtype)
        if not self._is_x:
            self.image.fill(border)
        self.gradient = aligned.empty(shape, x.dtype)
        where = np.s_[:, top : top + height, left : left + width]
        self._inside, self.inside_gradient = self.image[where], self.gradient[where]

    def fill(self) -> None:
        """Copy x as it is now."""
        if not self._is_x:
            np.copyto(self._inside, self._x)


def tap(
    image: Array, at: tuple[int, int], stride: tuple[int, ...], space: tuple[int, ...]
) -> Array:
    """Return the view of the image, [..., H, W, N], that the tap `at` meets while its window takes
    all places.
    """
    (top, left), (height, width) = at, space
    rows = slice(top, top + stride[0] * (height - 1) + 1, stride[0])
    columns = slice(left, left + stride[1] * (width - 1) + 1, stride[1])
    return image[..., rows, columns, :]
