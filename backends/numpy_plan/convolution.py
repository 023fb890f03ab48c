"""Convolutions as products of matrices, and the pooling that is fused with them.

Outputs are computed in blocks of b × b neighbours, each place of the block for itself: `slabs`,
[b, b, filters, rows, columns, N], where slabs[p, q, :, i, j] is the output at (b i + p, b j + q).
The maximum of a block is then the maximum of four arrays that lie each in one piece.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...models import Node
from ...models.layers import Conv2D, MaxPool2D
from ...models.shapes import pair
from .plan import Array, Pass, Plan, Step
from .windows import Frame, tap
from .winograd import suits_winograd, winograd

_Kernel = tuple[Callable[[], None], Callable[[Array], Array | None]]


def conv2d(node: Node[Conv2D], x: Array, plan: Plan) -> Step:
    filters, height, width = node.output_shape
    fast = suits_winograd(node)
    block = 2 if fast else 1
    rows, columns = -(-height // block), -(-width // block)
    blocks = plan.empty(filters, rows, block, columns, block)
    y = blocks.reshape(filters, rows * block, columns * block, -1)[:, :height, :width]
    dblocks = np.zeros_like(blocks)
    dy_inside = dblocks.reshape(filters, rows * block, columns * block, -1)[:, :height, :width]
    compute, spread = (winograd if fast else _by_columns)(node, x, _slabs(blocks), plan)
    bias, dbias = (of.get(f"{node.key}.bias") for of in (plan.weights, plan.gradients))

    def forward(run: Pass) -> None:
        compute()
        if bias is not None:
            np.add(y, bias[:, None, None, None], out=y)

    def backward(dy: Array) -> Array | None:
        if dbias is not None:
            np.sum(dy, axis=(1, 2, 3), out=dbias)
        if dy.flags.c_contiguous and y.flags.c_contiguous:
            return spread(_slabs(dy.reshape(blocks.shape)))
        np.copyto(dy_inside, dy)
        return spread(_slabs(dblocks))

    return Step(y, forward, backward)


def _slabs(blocks: Array) -> Array:
    """[filters, rows, b, columns, b, N] -> [b, b, filters, rows, columns, N]."""
    return blocks.transpose(2, 4, 0, 1, 3, 5)


def pooled_conv2d(nodes: Sequence[Node[Any]], x: Array, plan: Plan) -> Step | None:
    """max_pool2d(relu(conv2d(x))), or without the relu, for windows of 2 × 2 that do not overlap.

    Bias and relu come behind the maximum: they are monotone, so the result is the same.
    """
    node, pool = nodes[0], nodes[-1]
    if not _pools_blocks(node.layer, pool.layer):
        return None
    slabs = plan.empty(2, 2, *pool.output_shape)
    kernel = winograd if suits_winograd(node) else _by_columns
    compute, spread = kernel(node, x, slabs, plan)
    bias, dbias = (of.get(f"{node.key}.bias") for of in (plan.weights, plan.gradients))
    y, dy_relu = plan.empty(*pool.output_shape), plan.empty(*pool.output_shape)
    maxima = plan.empty(2, *pool.output_shape)  # of the upper pair, of the lower pair
    right, lower = np.empty(maxima.shape, bool), np.empty(y.shape, bool)
    positive = np.empty(y.shape, bool)

    def forward(run: Pass) -> None:
        compute()
        np.maximum(slabs[:, 0], slabs[:, 1], out=maxima)
        np.maximum(maxima[0], maxima[1], out=y)
        if bias is not None:
            np.add(y, bias[:, None, None, None], out=y)
        if len(nodes) == 3:
            np.maximum(y, 0, out=y)

    def backward(dy: Array) -> Array | None:
        if len(nodes) == 3:
            np.greater(y, 0, out=positive)
            dy = np.multiply(dy, positive, out=dy_relu)
        if dbias is not None:
            np.sum(dy, axis=(1, 2, 3), out=dbias)
        # The later of two wins only if it is greater: ties go to the first in row-major order.
        np.greater(slabs[:, 1], slabs[:, 0], out=right)
        np.greater(maxima[1], maxima[0], out=lower)
        np.multiply(dy, lower, out=maxima[1])
        np.subtract(dy, maxima[1], out=maxima[0])
        np.multiply(maxima, right, out=slabs[:, 1])
        np.subtract(maxima, slabs[:, 1], out=slabs[:, 0])
        return spread(slabs)

    return Step(y, forward, backward)


def _pools_blocks(layer: Conv2D, pool: MaxPool2D) -> bool:
    plain = pair(layer.stride) == pair(layer.dilation) == (1, 1) and layer.groups == 1
    window, stride = pair(pool.kernel_size), pair(pool.stride or pool.kernel_size)
    return plain and window == stride == (2, 2) and pair(pool.padding) == (0, 0)


def _by_columns(node: Node[Conv2D], x: Array, slabs: Array, plan: Plan) -> _Kernel:
    """Write what each block of outputs meets as a column; then the block is one product.

    A block of b × b outputs meets k + b - 1 inputs each way. Its b² rows of the wide weight hold
    the kernel, each moved to where its output looks, and zeros. A block of 1 is plain im2col.
    """
    layer, block = node.layer, len(slabs)
    filters, (rows, columns), groups = layer.filters, slabs.shape[3:5], layer.groups
    weight, dweight = (of[f"{node.key}.weight"] for of in (plan.weights, plan.gradients))
    kernel, stride, dilation = pair(layer.kernel_size), pair(layer.stride), pair(layer.dilation)
    taps = (kernel[0] + block - 1, kernel[1] + block - 1)
    steps = (stride[0] * block, stride[1] * block)
    reach = tuple(
        s * (n - 1) + d * (t - 1) + 1
        for s, n, d, t in zip(steps, (rows, columns), dilation, taps, strict=True)
    )
    frame = Frame(x, layer.pads(node.input_shape), reach)
    met = plan.empty(len(x), *taps, rows, columns)
    flat_met = met.reshape(groups, -1, rows * columns * plan.batch)
    wide = np.zeros((block, block, filters, *weight.shape[1:2], *taps), plan.dtype)
    dwide = np.empty_like(wide)
    flat_wide, flat_dwide = (w.reshape(groups, -1, flat_met.shape[1]) for w in (wide, dwide))
    rows_of_output = (groups, flat_wide.shape[1], -1)
    places = [(p, q) for p in range(block) for q in range(block)]

    def windows(image: Array) -> list[tuple[Array, Array]]:
        """Return what each tap meets in the image, beside its row of the columns."""
        return [
            (tap(image, (u * dilation[0], v * dilation[1]), steps, (rows, columns)), met[:, u, v])
            for u in range(taps[0])
            for v in range(taps[1])
        ]

    def inside(wide: Array, p: int, q: int) -> Array:
        """Return where the weight lies in the rows of place (p, q)."""
        return wide[p, q, :, :, p : p + kernel[0], q : q + kernel[1]]

    read, written = windows(frame.image), windows(frame.gradient)

    def compute() -> None:
        frame.fill()
        for window, column in read:
            np.copyto(column, window)
        for p, q in places:
            np.copyto(inside(wide, p, q), weight)
        np.matmul(flat_wide, flat_met, out=slabs.reshape(rows_of_output))

    def spread(dslabs: Array) -> Array | None:
        flat_dslabs = dslabs.reshape(rows_of_output)
        np.matmul(flat_dslabs, flat_met.swapaxes(1, 2), out=flat_dwide)
        dweight.fill(0)
        for p, q in places:
            np.add(dweight, inside(dwide, p, q), out=dweight)
        if not node.needs_input_gradient:
            return None
        np.matmul(flat_wide.swapaxes(1, 2), flat_dslabs, out=flat_met)
        frame.gradient.fill(0)
        for window, column in written:
            np.add(window, column, out=window)
        return frame.inside_gradient

    return compute, spread
