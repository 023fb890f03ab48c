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

from ...models import Node, layers
from ...models.shapes import pair
from .. import aligned
from .plan import Array, Pass, Plan, Step
from .pooling import Tournament, pools_blocks
from .strips import Strips
from .winograd import Winograd, slides_plainly, suits_winograd

_View = Any  # of a slab: what its kernel computes with
# OpenBLAS multiplies up to so many products without packing: often faster, if not too narrow.
_UNPACKED = 100**3
_LEAST_WIDTH = 32


def conv2d(node: Node[layers.Conv2D], x: Array, plan: Plan) -> Step:
    filters, height, width = node.output_shape
    fast = suits_winograd(node)
    block = 2 if fast else 1
    rows, columns = -(-height // block), -(-width // block)
    kernel = (Winograd if fast else WideKernel)(node, x, block, (rows, columns), plan)
    blocks = plan.empty(filters, rows, block, columns, block)
    slabs, y = _slabs(blocks), _image(blocks)[:, :height, :width]
    dblocks = plan.zeros(*blocks.shape[:-1])
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
    kernel = (Winograd if suits_winograd(node) else WideKernel)(node, x, 2, (rows, columns), plan)
    bias, dbias = (of.get(f"{node.key}.bias") for of in (plan.weights, plan.gradients))
    has_relu = len(nodes) == 3
    y, dsum = plan.empty(*pool.output_shape), plan.empty(*pool.output_shape)
    positive = aligned.empty(y.shape, bool)
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
    groups, rows, depth = flat.shape
    if depth > rows:
        return aligned.empty((groups, depth, rows), flat.dtype).swapaxes(1, 2)
    return aligned.empty_like(flat)


class WideKernel:
    """A row of blocks is one product, of a wide weight and the strips that it meets.

    A block of b × b outputs meets k + b - 1 inputs each way. Its b² rows of the wide weight hold
    the kernel, each moved to where its output looks, and zeros. (Where the kernel is dilated, the
    rows that it leaves out are zeros, too.)

    Call `start`, then `forward` for every row, which writes its slab; `start_back`, then `backward`
    for every row, then `finish_back`, which writes the weight's gradient and gives that of x. They
    take a slab's `view`.
    """

    def __init__(
        self, node: Node[layers.Conv2D], x: Array, block: int, space: tuple[int, ...], plan: Plan
    ) -> None:
        layer, name = node.layer, f"{node.key}.weight"
        self._weight, self._dweight = plan.weights[name], plan.gradients[name]
        self._needs_input_gradient = node.needs_input_gradient
        filters, channels, height, width = self._weight.shape
        down, right = pair(layer.stride)
        extent = (height - 1) * pair(layer.dilation)[0] + 1
        size = tall, taps = extent + block - 1, width + block - 1
        self._strips = Strips(node, x, size, (down * block, right * block), space, plan)

        groups, depth = layer.groups, tall * channels * taps
        wide = aligned.zeros((block, block, filters, tall, channels, taps), plan.dtype)
        dwide = aligned.empty_like(wide)
        self._flat_wide, self._flat_dwide = (of.reshape(groups, -1, depth) for of in (wide, dwide))
        # A weight that lies transposed is multiplied faster.
        self._turned = aligned.empty((groups, depth, self._flat_wide.shape[1]), plan.dtype)
        self._places, self._dplaces = (_in_blocks(of, node) for of in (wide, dwide))
        self._sum, self._added = (_product_like(self._flat_wide) for _ in range(2))

        work = self._flat_wide[0].size * plan.batch
        splits = plan.batch >= _LEAST_WIDTH and work <= _UNPACKED < work * space[1]
        self._columns = space[1] if splits else 1
        self._met_by_column = [self._by_column(met) for met in self._strips.met]
        self._turned_met = [met.swapaxes(1, 2) for met in self._strips.met]
        self._row_dmet = aligned.empty_like(self._strips.met[0])
        self._row_dmet_by_column = self._by_column(self._row_dmet)

    def start(self) -> None:
        self._strips.fill()
        for place in self._places:
            np.copyto(place, self._weight)
        np.copyto(self._turned, self._flat_wide.swapaxes(1, 2))

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
        if self._needs_input_gradient:
            self._strips.start_back()

    def backward(self, row: int, view: _View) -> None:
        flat, by_column = view
        np.matmul(flat, self._turned_met[row], out=self._added)
        np.add(self._sum, self._added, out=self._sum)
        if self._needs_input_gradient:
            weight = self._flat_wide.swapaxes(1, 2)
            np.matmul(weight[:, None], by_column, out=self._row_dmet_by_column)
            dmet = self._strips.dmet[row]
            np.add(dmet, self._row_dmet, out=dmet)

    def finish_back(self) -> Array | None:
        np.copyto(self._flat_dwide, self._sum)
        self._dweight.fill(0)
        for place in self._dplaces:
            np.add(self._dweight, place, out=self._dweight)
        return self._strips.finish_back() if self._needs_input_gradient else None

    def _by_column(self, flat: Array) -> Array:
        """[groups, rows, columns·N] -> [groups, columns, rows, N], or all columns in one."""
        groups, rows, _ = flat.shape
        return flat.reshape(groups, rows, self._columns, -1).swapaxes(1, 2)


def _in_blocks(wide: Array, node: Node[layers.Conv2D]) -> list[Array]:
    """Return where the weight lies in the rows of each place of the block."""
    block, _, _, tall, _, taps = wide.shape
    extent, width, down = tall - block + 1, taps - block + 1, pair(node.layer.dilation)[0]
    return [
        wide[p, q, :, p : p + extent : down, :, q : q + width].swapaxes(1, 2)
        for p, q in product(range(block), repeat=2)
    ]
