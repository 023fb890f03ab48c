"""Convolutions, as products of a flat kernel and the columns that it meets."""

from __future__ import annotations

from ...models import Node, layers
from ...models.layers.convolution import Pads
from ...models.shapes import pair
from ..contract import Weights
from .passes import Array, Backprop, Pass
from .windows import col2im, crop, im2col, pad


def conv1d(node: Node[layers.Conv1D], x: Array, run: Pass) -> tuple[Array, Backprop]:
    """The conv2d of an image one pixel high."""
    layer = node.layer
    weight = run.weight(node, "weight")[:, :, None, :]
    pads = ((0, 0), *layer.pads(node.input_shape))
    y, backprop_image = _convolve(
        node, x[:, :, None, :], weight, run, pads, (1, layer.stride), (1, layer.dilation)
    )

    def backprop(dy: Array) -> tuple[Array | None, Weights]:
        dx, gradients = backprop_image(dy[:, :, None, :])
        gradients[f"{node.key}.weight"] = gradients[f"{node.key}.weight"][:, :, 0]
        return None if dx is None else dx[:, :, 0], gradients

    return y[:, :, 0], backprop


def conv2d(node: Node[layers.Conv2D], x: Array, run: Pass) -> tuple[Array, Backprop]:
    layer = node.layer
    pads = layer.pads(node.input_shape)
    weight = run.weight(node, "weight")
    return _convolve(node, x, weight, run, pads, pair(layer.stride), pair(layer.dilation))


def _convolve(
    node: Node[layers.Conv1D] | Node[layers.Conv2D],
    x: Array,
    weight: Array,
    run: Pass,
    pads: Pads,
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
) -> tuple[Array, Backprop]:
    groups, kernel, count = node.layer.groups, weight.shape[2:], len(x)
    padded = pad(x, pads, 0)
    # [N, groups, (C / groups)·kH·kW, OH·OW] and [groups, O / groups, (C / groups)·kH·kW]
    columns = im2col(padded, kernel, stride, dilation)
    space = columns.shape[-2:]
    columns = columns.reshape(count, groups, -1, space[0] * space[1])
    flat_weight = weight.reshape(groups, len(weight) // groups, -1)
    y = (flat_weight @ columns).reshape(count, len(weight), *space)
    if node.layer.use_bias:
        y += run.weight(node, "bias")[:, None, None]

    def backprop(dy: Array) -> tuple[Array | None, Weights]:
        flat_dy = dy.reshape(count, groups, len(weight) // groups, -1)
        dweight = _over_batch(flat_dy) @ _over_batch(columns).swapaxes(1, 2)
        gradients = {f"{node.key}.weight": dweight.reshape(weight.shape)}
        if node.layer.use_bias:
            gradients[f"{node.key}.bias"] = dy.sum(axis=(0, 2, 3))
        if not node.needs_input_gradient:
            return None, gradients
        dcolumns = flat_weight.swapaxes(1, 2) @ flat_dy
        dcolumns = dcolumns.reshape(count, x.shape[1], *kernel, *space)
        dx = col2im(dcolumns, padded.shape, kernel, stride, dilation)
        return crop(dx, pads), gradients

    return y, backprop


def conv_transpose2d(
    node: Node[layers.ConvTranspose2D], x: Array, run: Pass
) -> tuple[Array, Backprop]:
    layer, weight = node.layer, run.weight(node, "weight")
    kernel, stride, padding = pair(layer.kernel_size), pair(layer.stride), pair(layer.padding)
    pads = tuple((p, p) for p in padding)
    padded = [n + 2 * p for n, p in zip(node.output_shape[1:], padding, strict=True)]
    flat_weight, flat_x = weight.reshape(len(weight), -1), x.reshape(*x.shape[:2], -1)
    columns = (flat_weight.T @ flat_x).reshape(len(x), layer.filters, *kernel, *x.shape[2:])
    y = col2im(columns, (len(x), layer.filters, *padded), kernel, stride, (1, 1))
    y = crop(y, pads)
    if layer.use_bias:
        y = y + run.weight(node, "bias")[:, None, None]

    def backprop(dy: Array) -> tuple[Array | None, Weights]:
        dcolumns = im2col(pad(dy, pads, 0), kernel, stride, (1, 1))
        dcolumns = dcolumns.reshape(len(x), flat_weight.shape[1], -1)
        dweight = _over_batch(flat_x[:, None]) @ _over_batch(dcolumns[:, None]).swapaxes(1, 2)
        gradients = {f"{node.key}.weight": dweight.reshape(weight.shape)}
        if layer.use_bias:
            gradients[f"{node.key}.bias"] = dy.sum(axis=(0, 2, 3))
        return (flat_weight @ dcolumns).reshape(x.shape), gradients

    return y, backprop


def _over_batch(columns: Array) -> Array:
    """Return [groups, rows, N·space] of [N, groups, rows, space].

    A gradient is one sum over batch and space: that is how many terms the oracle measures its
    rounding by, and frameworks may add them up one by one.
    """
    count, groups, rows, space = columns.shape
    return columns.transpose(1, 2, 0, 3).reshape(groups, rows, count * space)
