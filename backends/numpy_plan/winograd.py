"""Winograd's F(2×2, 3×3): four outputs of a 3 × 3 kernel with 16 products in place of 36.

Y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A for a kernel g, a tile d of 4 × 4 inputs and 2 × 2 outputs Y; the
products are summed over channels, so each of the 16 is a product of matrices (Lavin & Gray 2016).

    Bᵀ = 1  0 -1  0     G = 1   0   0      Aᵀ = 1  1  1  0
         0  1  1  0         1/2 1/2 1/2         0  1 -1 -1
         0 -1  1  0         1/2 -1/2 1/2
         0  1  0 -1         0   0   1
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ...models import Node
from ...models.layers import Conv2D
from ...models.shapes import pair
from .plan import Array, Plan
from .windows import Frame

_G = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
_LEAST_CHANNELS = 4  # with fewer, the transformations cost more than the products save


def suits_winograd(node: Node[Conv2D]) -> bool:
    layer = node.layer
    plain = pair(layer.stride) == pair(layer.dilation) == (1, 1) and layer.groups == 1
    enough = min(node.input_shape[0], layer.filters) >= _LEAST_CHANNELS
    return plain and enough and pair(layer.kernel_size) == (3, 3)


def winograd(
    node: Node[Conv2D], x: Array, slabs: Array, plan: Plan
) -> tuple[Callable[[], None], Callable[[Array], Array | None]]:
    """Plan the convolution that writes 2 × 2 `slabs`: see `convolution.py`."""
    weight, dweight = (of[f"{node.key}.weight"] for of in (plan.weights, plan.gradients))
    filters, channels = weight.shape[:2]
    rows, columns = slabs.shape[3:5]
    frame = Frame(x, node.layer.pads(node.input_shape), (2 * rows + 2, 2 * columns + 2))
    by_row = plan.empty(4, channels, rows, frame.image.shape[2])  # Bᵀ d
    tiles = plan.empty(4, 4, channels, rows, columns)  # Bᵀ d B
    products = plan.empty(4, 4, filters, rows, columns)
    halves = plan.empty(2, 4, filters, rows, columns)  # Aᵀ products
    kernels = np.empty((16, filters, channels), plan.dtype)  # G g Gᵀ
    dkernels = np.empty_like(kernels)
    transform = np.kron(_G, _G).astype(plan.dtype)  # [16, 9]: both ways at once
    flat_tiles, flat_products = (a.reshape(16, a.shape[2], -1) for a in (tiles, products))

    def compute() -> None:
        frame.fill()
        _input(_tile_rows(frame.image, rows), by_row)
        _input(_tile_columns(by_row, columns), tiles.swapaxes(0, 1))
        np.matmul(transform, weight.reshape(-1, 9).T, out=kernels.reshape(16, -1))
        np.matmul(kernels, flat_tiles, out=flat_products)
        _output(products, halves)
        _output(halves.swapaxes(0, 1), slabs.swapaxes(0, 1))

    def spread(dslabs: Array) -> Array | None:
        _spread_output(dslabs.swapaxes(0, 1), halves.swapaxes(0, 1))
        _spread_output(halves, products)
        np.matmul(flat_products, flat_tiles.swapaxes(1, 2), out=dkernels)
        np.matmul(dkernels.reshape(16, -1).T, transform, out=dweight.reshape(-1, 9))
        if not node.needs_input_gradient:
            return None
        np.matmul(kernels.swapaxes(1, 2), flat_products, out=flat_tiles)
        by_row[:, :, :, 2 * columns :].fill(0)
        _spread_input(tiles.swapaxes(0, 1), _tile_columns(by_row, columns))
        frame.gradient[:, 2 * rows :].fill(0)
        _spread_input(by_row, _tile_rows(frame.gradient, rows))
        return frame.inside_gradient

    return compute, spread


def _tile_rows(image: Array, rows: int) -> list[Array]:
    """Return the first, second, third and fourth row of all tiles: they overlap by two."""
    return [image[:, i : i + 2 * rows - 1 : 2] for i in range(4)]


def _tile_columns(by_row: Array, columns: int) -> list[Array]:
    return [by_row[:, :, :, j : j + 2 * columns - 1 : 2] for j in range(4)]


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
    """B t, added where tiles overlap: the third row of a tile is the first of the next."""
    np.copyto(out[0], t[0])
    np.subtract(t[1], t[2], out=out[1])
    np.add(out[1], t[3], out=out[1])
    np.add(out[2], t[1], out=out[2])
    np.add(out[2], t[2], out=out[2])
    np.subtract(out[2], t[0], out=out[2])
    np.subtract(out[3], t[3], out=out[3])
