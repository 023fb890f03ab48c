"""Winograd's F(2×2, 3×3): four outputs of a 3 × 3 kernel with 16 products in place of 36.

Y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A for a kernel g, a tile d of 4 × 4 inputs and 2 × 2 outputs Y; the
products are summed over channels, so each of the 16 is a product of matrices (Lavin & Gray 2016).

    Bᵀ = 1  0 -1  0     G = 1   0   0      Aᵀ = 1  1  1  0
         0  1  1  0         1/2 1/2 1/2         0  1 -1 -1
         0 -1  1  0         1/2 -1/2 1/2
         0  1  0 -1         0   0   1
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...models import Node, layers
from ...models.shapes import pair
from .. import aligned
from .plan import Array, Plan
from .windows import Frame

_G = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
_LEAST_CHANNELS = 8  # with fewer, the transformations cost more than the products save


def suits_winograd(node: Node[layers.Conv2D]) -> bool:
    """Return whether Winograd's way can be taken, and pays."""
    enough = min(node.input_shape[0], node.layer.filters) >= _LEAST_CHANNELS
    return slides_plainly(node.layer) and pair(node.layer.kernel_size) == (3, 3) and enough


def slides_plainly(layer: layers.Conv2D) -> bool:
    """Return whether neighbouring outputs meet neighbouring inputs, of all channels."""
    return pair(layer.stride) == pair(layer.dilation) == (1, 1) and layer.groups == 1


class Winograd:
    """The convolution in 2 × 2 blocks: see `convolution.py`, and `WideKernel` there."""

    def __init__(
        self, node: Node[layers.Conv2D], x: Array, block: int, space: tuple[int, ...], plan: Plan
    ) -> None:
        name, (rows, columns) = f"{node.key}.weight", space
        self._weight, self._dweight = plan.weights[name], plan.gradients[name]
        filters, channels = self._weight.shape[:2]
        reach = (block * rows + 2, block * columns + 2)
        self._frame = Frame(x, node.layer.pads(node.input_shape), reach)
        self._columns, self._needs_input_gradient = columns, node.needs_input_gradient
        self._by_row = plan.empty(4, channels, self._frame.image.shape[2])  # Bᵀ d
        self._tiles = plan.empty(rows, 4, 4, channels, columns)  # Bᵀ d B
        self._products = plan.empty(4, 4, filters, columns)
        self._halves = plan.empty(2, 4, filters, columns)  # Aᵀ products
        self._transform = np.kron(_G, _G).astype(plan.dtype)  # [16, 9]: both ways at once
        self._kernels, self._dkernels, self._added = (  # G g Gᵀ, its gradient, a row's part of it
            aligned.empty((16, filters, channels), plan.dtype) for _ in range(3)
        )
        self._flat_tiles = self._tiles.reshape(rows, 16, channels, -1)
        self._flat_products = self._products.reshape(16, filters, -1)

    def start(self) -> None:
        self._frame.fill()
        flat = self._weight.reshape(-1, 9).T
        np.matmul(self._transform, flat, out=self._kernels.reshape(16, -1))

    def view(self, slab: Array) -> Any:
        """Return a slab as it is."""
        return slab

    def forward(self, row: int, slab: Array) -> None:
        _input(self._tile_rows(self._frame.image, row), self._by_row)
        _input(self._tile_columns(), self._tiles[row].swapaxes(0, 1))
        np.matmul(self._kernels, self._flat_tiles[row], out=self._flat_products)
        _output(self._products, self._halves)
        _output(self._halves.swapaxes(0, 1), slab.swapaxes(0, 1))

    def start_back(self) -> None:
        self._dkernels.fill(0)
        self._frame.gradient.fill(0)

    def backward(self, row: int, dslab: Array) -> None:
        _spread_output(dslab.swapaxes(0, 1), self._halves.swapaxes(0, 1))
        _spread_output(self._halves, self._products)
        products, tiles = self._flat_products, self._flat_tiles[row]
        np.matmul(products, tiles.swapaxes(1, 2), out=self._added)
        np.add(self._dkernels, self._added, out=self._dkernels)
        if self._needs_input_gradient:
            np.matmul(self._kernels.swapaxes(1, 2), products, out=tiles)
            self._by_row.fill(0)
            _spread_input(self._tiles[row].swapaxes(0, 1), self._tile_columns())
            _spread_input(self._by_row, self._tile_rows(self._frame.gradient, row))

    def finish_back(self) -> Array | None:
        flat = self._dkernels.reshape(16, -1).T
        np.matmul(flat, self._transform, out=self._dweight.reshape(-1, 9))
        return self._frame.inside_gradient if self._needs_input_gradient else None

    def _tile_rows(self, image: Array, row: int) -> list[Array]:
        """Return the four rows of the image that the tiles of a row are made of."""
        return [image[:, 2 * row + i] for i in range(4)]

    def _tile_columns(self) -> list[Array]:
        """Return the first, second, third and fourth column of all tiles: they overlap by two."""
        return [self._by_row[:, :, j : j + 2 * self._columns - 1 : 2] for j in range(4)]


# One side of each transformation, along the first axis of what it is given


def _input(d: Sequence[Array], out: Array) -> None:
    """Bᵀ d."""
    np.subtract(d[0], d[2], out=out[0])
    np.add(d[1], d[2], out=out[1])
    np.subtract(d[2], d[1], out=out[2])
    np.subtract(d[1], d[3], out=out[3])


def _output(m: Array, out: Array) -> None:
    """Aᵀ m."""
    np.add(m[0], m[1], out=out[0])
    np.add(out[0], m[2], out=out[0])
    np.subtract(m[1], m[2], out=out[1])
    np.subtract(out[1], m[3], out=out[1])


def _spread_output(dy: Array, out: Array) -> None:
    """A dy."""
    np.copyto(out[0], dy[0])
    np.add(dy[0], dy[1], out=out[1])
    np.subtract(dy[0], dy[1], out=out[2])
    np.negative(dy[1], out=out[3])


def _spread_input(t: Array, out: Sequence[Array]) -> None:
    """Add B t: tiles overlap, and the third row of one is the first of the next."""
    np.add(out[0], t[0], out=out[0])
    np.add(out[1], t[1], out=out[1])
    np.subtract(out[1], t[2], out=out[1])
    np.add(out[1], t[3], out=out[1])
    np.subtract(out[2], t[0], out=out[2])
    np.add(out[2], t[1], out=out[2])
    np.add(out[2], t[2], out=out[2])
    np.subtract(out[3], t[3], out=out[3])
