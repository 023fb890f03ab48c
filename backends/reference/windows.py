"""What a kernel meets as it slides over an image, and the image's border."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...models.layers.convolution import Pads
from .passes import Array


def pad(x: Array, pads: Pads, value: float) -> Array:
    if all(p == (0, 0) for p in pads):
        return x
    return np.pad(x, ((0, 0), (0, 0), *pads), constant_values=value)


def crop(x: Array, pads: Pads) -> Array:
    (top, bottom), (left, right) = pads
    return x[:, :, top : x.shape[2] - bottom, left : x.shape[3] - right]


def windows(
    x: Array,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...] = (1, 1),
) -> Iterator[tuple[tuple[int, int], Array]]:
    """Yield, for each place (u, v) in the kernel, the view of x that it meets, [N, C, OH, OW]."""
    sizes = zip(x.shape[2:], kernel, stride, dilation, strict=True)
    height, width = ((n - d * (k - 1) - 1) // s + 1 for n, k, s, d in sizes)
    for u in range(kernel[0]):
        for v in range(kernel[1]):
            top, left = u * dilation[0], v * dilation[1]
            rows = slice(top, top + stride[0] * (height - 1) + 1, stride[0])
            columns = slice(left, left + stride[1] * (width - 1) + 1, stride[1])
            yield (u, v), x[:, :, rows, columns]


def sum_windows(x: Array, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Array:
    views = (window for _, window in windows(x, kernel, stride))
    total = next(views).copy()
    for window in views:
        total += window
    return total


def im2col(
    x: Array, kernel: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]
) -> Array:
    """Return what every place of the kernel meets, [N, C, kH·kW, OH, OW]."""
    return np.stack([window for _, window in windows(x, kernel, stride, dilation)], axis=2)


def col2im(
    columns: Array,
    shape: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
) -> Array:
    """Add columns, [N, C, kH, kW, OH, OW], to where `im2col` takes them from."""
    x = np.zeros_like(columns, shape=shape)
    for (u, v), window in windows(x, kernel, stride, dilation):
        window += columns[:, :, u, v]
    return x
