"""Pooling: maxima and means over windows, and over all of space."""

from __future__ import annotations

import numpy as np

from ...models import Node, layers
from ...models.layers.convolution import Pads
from ...models.shapes import pair
from ..contract import Weights
from .passes import Array, Backprop, Pass
from .windows import crop, pad, sum_windows, windows


def max_pool2d(node: Node[layers.MaxPool2D], x: Array, run: Pass) -> tuple[Array, Backprop]:
    kernel, stride, pads = _pooling(node.layer)
    padded = pad(x, pads, -np.inf)
    y = np.full_like(x, -np.inf, shape=(len(x), *node.output_shape))
    for _, window in windows(padded, kernel, stride):
        np.maximum(y, window, out=y)

    def backprop(dy: Array) -> tuple[Array | None, Weights]:
        dx = np.zeros_like(padded)
        unclaimed = np.ones(y.shape, bool)  # the first maximum of a window takes its gradient
        for (_, window), (_, dwindow) in zip(
            windows(padded, kernel, stride), windows(dx, kernel, stride), strict=True
        ):
            first = (window == y) & unclaimed
            unclaimed &= ~first
            dwindow += dy * first
        return crop(dx, pads), {}

    return y, backprop


def avg_pool2d(node: Node[layers.AvgPool2D], x: Array, run: Pass) -> tuple[Array, Backprop]:
    kernel, stride, pads = _pooling(node.layer)
    padded = pad(x, pads, 0)
    area: Array | int = kernel[0] * kernel[1]
    if not node.layer.count_include_pad:
        inside = pad(np.ones((1, 1, *x.shape[2:]), x.dtype), pads, 0)
        area = sum_windows(inside, kernel, stride)
    y = sum_windows(padded, kernel, stride) / area

    def backprop(dy: Array) -> tuple[Array | None, Weights]:
        dx, share = np.zeros_like(padded), dy / area
        for _, dwindow in windows(dx, kernel, stride):
            dwindow += share
        return crop(dx, pads), {}

    return y, backprop


def global_avg_pool1d(
    node: Node[layers.GlobalAvgPool1D], x: Array, run: Pass
) -> tuple[Array, Backprop]:
    return x.mean(axis=1), lambda dy: (
        np.broadcast_to(dy[:, None, :] / x.shape[1], x.shape),
        {},
    )


def global_avg_pool2d(
    node: Node[layers.GlobalAvgPool2D], x: Array, run: Pass
) -> tuple[Array, Backprop]:
    def backprop(dy: Array) -> tuple[Array | None, Weights]:
        dx = dy[:, :, None, None] / (x.shape[2] * x.shape[3])
        return np.broadcast_to(dx, x.shape), {}

    return x.mean(axis=(2, 3)), backprop


def _pooling(
    layer: layers.MaxPool2D | layers.AvgPool2D,
) -> tuple[tuple[int, ...], tuple[int, ...], Pads]:
    pads = tuple((p, p) for p in pair(layer.padding))
    return pair(layer.kernel_size), pair(layer.stride or layer.kernel_size), pads
