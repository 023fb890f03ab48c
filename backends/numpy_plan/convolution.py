"""Convolutions as products of matrices, and the pooling that is fused with them.

Outputs are computed in blocks of b × b neighbours, one row of blocks after the other, so that what
is passed on is still in the cache. A row of blocks is a `slab`, [b, b, filters, columns, N], where
slab[p, q, :, j] is the output at (b row + p, b j + q): every place of the block for itself, so that
the maximum of a block of 2 × 2 is the maximum of four arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np

from ...models import Node
from ...models.layers import Conv2D
from ...models.shapes import pair
from .plan import Array, Pass, Plan, Step
from .pooling import Tournament, pools_blocks
from .windows import Frame, tap
from .winograd import Winograd, slides_plainly, suits_winograd

_View = Any  # of a slab: what its kernel computes with
# OpenBLAS multiplies up to so many products without packing: often faster, if not too narrow.
_UNPACKED = 100**3
_LEAST_WIDTH = 32


def conv2d(node: Node[Conv2D], x: Array, plan: Plan) -> Step:
    filters, height, width = node.output_shape
    fast = suits_winograd(node)
    block = 2 if fast else 1
    rows, columns = -(-height // block), -(-width // block)
    kernel = (Winograd if fast else Columns)(node, x, block, (rows, columns), plan)
    blocks = plan.empty(filters, rows, block, columns, block)
    slabs, y = _slabs(blocks), _image(blocks)[:, :height, :width]
    dblocks = np.zeros_like(blocks)
    dslabs, dy_copy = _slabs(dblocks), _image(dblocks)[:, :height, :width]
    views, dviews = ([kernel.view(slab) for slab in of] for of in (slabs, dslabs))
    bias, dbias = (of.get(f"{node.key}.bias") for of in (plan.weights, plan.gradients))

    def forward(run: Pass) -> None:
        kernel.start()
        for row, view in enumerate(views):
            kernel.forward(row, view)
        if bias is not None:
            np.add(y, bias[:, None, None, None], out=y)

    def backward(dy: Array) -> Array | None:
        if dbias is not None:
            np.sum(dy, axis=(1, 2, 3), out=dbias)
        np.copyto(dy_copy, dy)
        kernel.start_back()
        for row, dview in enumerate(dviews):
            kernel.backward(row, dview)
        return kernel.finish_back()

    return Step(y, forward, backward)


def _slabs(blocks: Array) -> Array:
    """[filters, rows, b, columns, b, N] -> [rows, b, b, filters, columns, N]."""
    return blocks.transpose(1, 2, 4, 0, 3, 5)


def _image(blocks: Array) -> Array:
    filters, rows, block, columns, _, batch = blocks.shape
    return blocks.reshape(filters, rows * block, columns * block, batch)


def pooled_conv2d(nodes: Sequence[Node[Any]], x: Array, plan: Plan) -> Step | None:
    """max_pool2d(relu(conv2d(x))), or without the relu, for windows of 2 × 2 that do not overlap.

    Bias and relu come behind the maximum: they are monotone, so the result is the same.
    """
    node, pool = nodes[0], nodes[-1]
    if not (slides_plainly(node.layer) and pools_blocks(pool.layer)):
        return None
    filters, rows, columns = pool.output_shape
    kernel = (Winograd if suits_winograd(node) else Columns)(node, x, 2, (rows, columns), plan)
    bias, dbias = (of.get(f"{node.key}.bias") for of in (plan.weights, plan.gradients))
    has_relu = len(nodes) == 3
    y, dsum = plan.empty(*pool.output_shape), plan.empty(*pool.output_shape)
    positive = np.empty(y.shape, bool)
    slab = plan.empty(2, 2, filters, columns)
    view, tournament = kernel.view(slab), Tournament(slab, slab, games=rows)

    def forward(run: Pass) -> None:
        kernel.start()
        for row in range(rows):
            kernel.forward(row, view)
            tournament.play(row, y[:, row], remember=run.training)
        if bias is not None:
            np.add(y, bias[:, None, None, None], out=y)
        if has_relu:
            np.maximum(y, 0, out=y)

    def backward(dy: Array) -> Array | None:
        if has_relu:
            np.greater(y, 0, out=positive)
            dy = np.multiply(dy, positive, out=dsum)
        if dbias is not None:
            np.sum(dy, axis=(1, 2, 3), out=dbias)
        kernel.start_back()
        for row in range(rows):
            tournament.spread(row, dy[:, row])
            kernel.backward(row, view)
        return kernel.finish_back()

    return Step(y, forward, backward)


def _product_like(flat: Array) -> Array:
    """Return memory in which OpenBLAS is fast to sum a long product: its longer axis lies outside.

    The difference is between a fifth and a half.
    """
    is_deep = flat.shape[2] > flat.shape[1]
    return (
        np.empty_like(flat.swapaxes(1, 2), order="C").swapaxes(1, 2)
        if is_deep
        else np.empty_like(flat)
    )


class Columns:
    """What each block of outputs meets is written as a column; then a slab is one product.

    A block of b × b outputs meets k + b - 1 inputs each way. Its b² rows of the wide weight hold
    the kernel, each moved to where its output looks, and zeros. A block of 1 is plain im2col.

    Call `start`, then `forward` for every row, which writes its slab; `start_back`, then `backward`
    for every row, then `finish_back`, which writes the weight's gradient and gives that of x. They
    take a slab's `view`.
    """

    def __init__(
        self, node: Node[Conv2D], x: Array, block: int, space: tuple[int, ...], plan: Plan
    ) -> None:
        layer, name = node.layer, f"{node.key}.weight"
        self._weight, self._dweight = plan.weights[name], plan.gradients[name]
        self._kernel, self._dilation = pair(layer.kernel_size), pair(layer.dilation)
        self._taps = tuple(k + block - 1 for k in self._kernel)
        self._steps = tuple(s * block for s in pair(layer.stride))
        self._block = block
        self._needs_input_gradient = node.needs_input_gradient
        sizes = zip(self._steps, space, self._dilation, self._taps, strict=True)
        reach = tuple(s * (n - 1) + d * (t - 1) + 1 for s, n, d, t in sizes)
        self._frame = Frame(x, layer.pads(node.input_shape), reach)
        self._met = plan.empty(space[0], len(x), *self._taps, space[1])
        wide_shape = (block, block, layer.filters, self._weight.shape[1], *self._taps)
        wide = np.zeros(wide_shape, plan.dtype)
        dwide = np.empty_like(wide)
        groups = layer.groups
        depth = len(x) // groups * self._taps[0] * self._taps[1]
        self._flat_met = self._met.reshape(space[0], groups, depth, -1)
        self._flat_wide, self._flat_dwide = (of.reshape(groups, -1, depth) for of in (wide, dwide))
        self._sum, self._added = (_product_like(self._flat_wide) for _ in range(2))
        size = self._flat_wide[0].size * plan.batch
        splits = plan.batch >= _LEAST_WIDTH and size <= _UNPACKED < size * space[1]
        self._columns = space[1] if splits else 1
        self._met_by_column = [self._by_column(met) for met in self._flat_met]
        self._turned_met = self._flat_met.swapaxes(2, 3)
        # A weight that lies transposed is multiplied faster.
        self._turned = np.empty_like(self._flat_wide.swapaxes(1, 2), order="C")
        self._places, self._dplaces = self._in_blocks(wide), self._in_blocks(dwide)
        self._read = self._windows(self._frame.image, space)
        self._written = self._windows(self._frame.gradient, space)

    def start(self) -> None:
        self._frame.fill()
        for place in self._places:
            np.copyto(place, self._weight)
        np.copyto(self._turned, self._flat_wide.swapaxes(1, 2))
        for column, window in self._read:
            np.copyto(column, window)

    def view(self, slab: Array) -> _View:
        """Return [b, b, filters, columns, N] as [groups, b·b·filters / groups, columns·N], and by
        columns.
        """
        flat = slab.reshape(*self._flat_wide.shape[:2], -1)
        return flat, self._by_column(flat)

    def forward(self, row: int, view: _View) -> None:
        weight = self._turned.swapaxes(1, 2)[:, None]
        np.matmul(weight, self._met_by_column[row], out=view[1])

    def start_back(self) -> None:
        self._sum.fill(0)

    def backward(self, row: int, view: _View) -> None:
        flat, by_column = view
        np.matmul(flat, self._turned_met[row], out=self._added)
        np.add(self._sum, self._added, out=self._sum)
        if self._needs_input_gradient:
            weight = self._flat_wide.swapaxes(1, 2)
            np.matmul(weight[:, None], by_column, out=self._met_by_column[row])

    def finish_back(self) -> Array | None:
        np.copyto(self._flat_dwide, self._sum)
        self._dweight.fill(0)
        for place in self._dplaces:
            np.add(self._dweight, place, out=self._dweight)
        if not self._needs_input_gradient:
            return None
        self._frame.gradient.fill(0)
        for column, window in self._written:
            np.add(window, column, out=window)
        return self._frame.inside_gradient

    def _by_column(self, flat: Array) -> Array:
        """[groups, rows, columns·N] -> [groups, columns, rows, N], or all columns in one."""
        groups, rows, _ = flat.shape
        return flat.reshape(groups, rows, self._columns, -1).swapaxes(1, 2)

    def _in_blocks(self, wide: Array) -> list[Array]:
        """Return where the weight lies in the rows of each place of the block."""
        height, width = self._kernel
        places = product(range(self._block), repeat=2)
        return [wide[p, q, :, :, p : p + height, q : q + width] for p, q in places]

    def _windows(self, image: Array, space: tuple[int, ...]) -> list[tuple[Array, Array]]:
        """Return each tap's row of the columns, and what it meets: [C, rows, columns, N]."""
        return [
            (
                self._met[:, :, u, v].swapaxes(0, 1),
                tap(image, (u * self._dilation[0], v * self._dilation[1]), self._steps, space),
            )
            for u in range(self._taps[0])
            for v in range(self._taps[1])
        ]
