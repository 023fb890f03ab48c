"""Pooling: a window, or all of space, in one number."""

from __future__ import annotations

from ..shapes import Padding, Shape, Size, pair
from .base import BaseLayer, expect_rank
from .convolution import slide


class _Pooling(BaseLayer, frozen=True, kw_only=True):
    kernel_size: Size
    stride: Size | None = None
    padding: Padding = 0

    def output_shape(self, input_shape: Shape) -> Shape:
        expect_rank(self, input_shape, "[C, H, W]")
        kernel, padding = pair(self.kernel_size), pair(self.padding)
        if any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
            raise ValueError(
                f"padding {self.padding} is over half of the window {self.kernel_size}"
            )
        stride = pair(self.stride or self.kernel_size)
        pads = tuple((p, p) for p in padding)
        return (input_shape[0], *slide(input_shape, kernel, stride, pads, (1, 1)))


class MaxPool2D(_Pooling, frozen=True, kw_only=True, tag="max_pool2d"):
    """y[c, i, j] = max over the window at (s i, s j); the border is padded with -∞.

    [C, H, W] -> [C, ⌊(H + 2p - kH) / s⌋ + 1, likewise W]; `stride` is `kernel_size` if not given.
    The gradient goes to the first maximum of the window in row-major order.
    """


class AvgPool2D(_Pooling, frozen=True, kw_only=True, tag="avg_pool2d"):
    """y[c, i, j] = sum over the window at (s i, s j), divided by kH·kW, or, without
    `count_include_pad`, by how many of them lie inside the image.

    [C, H, W] -> [C, ⌊(H + 2p - kH) / s⌋ + 1, likewise W]; `stride` is `kernel_size` if not given.
    """

    count_include_pad: bool = True


class GlobalAvgPool2D(BaseLayer, frozen=True, kw_only=True, tag="global_avg_pool2d"):
    """y[c] = mean over H and W of x[c]. [C, H, W] -> [C]."""

    def output_shape(self, input_shape: Shape) -> Shape:
        return (expect_rank(self, input_shape, "[C, H, W]")[0],)


class GlobalAvgPool1D(BaseLayer, frozen=True, kw_only=True, tag="global_avg_pool1d"):
    """y[d] = mean over time of x[:, d]. [T, D] -> [D]."""

    def output_shape(self, input_shape: Shape) -> Shape:
        return (expect_rank(self, input_shape, "[T, D]")[1],)
