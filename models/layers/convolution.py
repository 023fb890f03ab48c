"""Convolutions, and how their borders are padded."""

from __future__ import annotations

import math
from typing import Literal

from ..initializers import GlorotUniform, Initializer, WeightSpec, Zeros
from ..shapes import Natural, Padding, PositiveInt, Shape, Size, pair, show
from .base import BaseLayer, Name, expect_rank, weight_and_bias

Same = Literal["same"]
Pads = tuple[tuple[int, int], ...]  # (before, after) of each spatial axis


class _Convolution(BaseLayer, frozen=True, kw_only=True):
    name: Name
    filters: PositiveInt
    groups: PositiveInt = 1
    use_bias: bool = True
    weight_initializer: Initializer = GlorotUniform()
    bias_initializer: Initializer = Zeros()

    def pads(self, input_shape: Shape) -> Pads:
        """Return the zeros before and after each spatial axis.

        `same`: max((⌈n / s⌉ - 1) s + d (k - 1) + 1 - n, 0) in all, the smaller half before; so that
        the output is ⌈n / s⌉ long.
        """
        space, (kernel, stride, dilation) = input_shape[1:], self._window()
        padding: int | tuple[int, ...] | str = self.padding  # type: ignore[attr-defined]
        if padding != "same":
            amounts = (padding,) * len(space) if isinstance(padding, int) else padding
            return tuple((int(p), int(p)) for p in amounts)
        totals = [
            max((math.ceil(n / s) - 1) * s + d * (k - 1) + 1 - n, 0)
            for n, k, s, d in zip(space, kernel, stride, dilation, strict=True)
        ]
        return tuple((total // 2, total - total // 2) for total in totals)

    def _window(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        raise NotImplementedError

    def output_shape(self, input_shape: Shape) -> Shape:
        kernel, stride, dilation = self._window()
        expect_rank(self, input_shape, "[C, L]" if len(kernel) == 1 else "[C, H, W]")
        channels = input_shape[0]
        if channels % self.groups or self.filters % self.groups:
            raise ValueError(
                f"groups {self.groups} divides not both the {channels} channels and the "
                f"{self.filters} filters"
            )
        return (self.filters, *slide(input_shape, kernel, stride, self.pads(input_shape), dilation))

    def weights(self, input_shape: Shape) -> dict[str, WeightSpec]:
        kernel, channels = self._window()[0], input_shape[0] // self.groups
        window = math.prod(kernel)
        return weight_and_bias(
            (self.filters, channels, *kernel),
            (channels * window, self.filters // self.groups * window),
            weight=self.weight_initializer,
            bias=self.bias_initializer if self.use_bias else None,
        )

    def flops(self, input_shape: Shape, output_shape: Shape) -> int:
        channels = input_shape[0] // self.groups
        return 2 * math.prod(output_shape) * channels * math.prod(self._window()[0])


class Conv1D(_Convolution, frozen=True, kw_only=True, tag="conv1d"):
    """Cross-correlation: y[o, i] = b[o] + Σ_{c,u} W[o, c, u] x̂[c, s i + d u].

    [C, L] -> [filters, ⌊(L + pads - d (k - 1) - 1) / s⌋ + 1], weight [filters, C / groups, k].
    x̂, s, d and groups as in conv2d, and so are the frameworks' defaults.
    """

    kernel_size: PositiveInt
    stride: PositiveInt = 1
    padding: Natural | Same = 0
    dilation: PositiveInt = 1

    def _window(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        return (self.kernel_size,), (self.stride,), (self.dilation,)


class Conv2D(_Convolution, frozen=True, kw_only=True, tag="conv2d"):
    """Cross-correlation: y[o, i, j] = b[o] + Σ_{c,u,v} W[o, c, u, v] x̂[c, s i + d u, s j + d v].

    x̂ is x with `padding` zeros on both sides of H and W (or `same`, see `pads`), s the stride, d
    the dilation. With groups, filters and channels are cut into as many blocks, each its own layer.
    [C, H, W] -> [filters, ⌊(H + pads - d (kH - 1) - 1) / s⌋ + 1, likewise W],
    weight [filters, C / groups, kH, kW].
    """

    kernel_size: Size
    stride: Size = 1
    padding: Padding | Same = 0
    dilation: Size = 1

    def _window(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        return pair(self.kernel_size), pair(self.stride), pair(self.dilation)


class ConvTranspose2D(BaseLayer, frozen=True, kw_only=True, tag="conv_transpose2d"):
    """What conv2d does to gradients: y[o, s i + u - p, s j + v - p] += x[c, i, j] W[c, o, u, v].

    Over all c, i, j, u, v; then b[o] is added (Dumoulin & Visin 2016). [C, H, W] -> [filters,
    (H - 1) s - 2 p + kH + output_padding, likewise W], weight [C, filters, kH, kW].
    """

    name: Name
    filters: PositiveInt
    kernel_size: Size
    stride: Size = 1
    padding: Padding = 0
    output_padding: Natural = 0
    use_bias: bool = True
    weight_initializer: Initializer = GlorotUniform()
    bias_initializer: Initializer = Zeros()

    def output_shape(self, input_shape: Shape) -> Shape:
        expect_rank(self, input_shape, "[C, H, W]")
        kernel, stride, padding = pair(self.kernel_size), pair(self.stride), pair(self.padding)
        if self.output_padding >= min(stride):
            raise ValueError(
                f"output_padding {self.output_padding} is not below the stride {min(stride)}"
            )
        sizes = zip(input_shape[1:], kernel, stride, padding, strict=True)
        space = [(n - 1) * s - 2 * p + k + self.output_padding for n, k, s, p in sizes]
        if min(space) < 1:
            raise ValueError(f"padding {show(padding)} leaves nothing of {show(input_shape)}")
        return (self.filters, *space)

    def weights(self, input_shape: Shape) -> dict[str, WeightSpec]:
        kernel = pair(self.kernel_size)
        window = math.prod(kernel)
        return weight_and_bias(
            (input_shape[0], self.filters, *kernel),
            (input_shape[0] * window, self.filters * window),
            weight=self.weight_initializer,
            bias=self.bias_initializer if self.use_bias else None,
            units=self.filters,
        )

    def flops(self, input_shape: Shape, output_shape: Shape) -> int:
        return 2 * math.prod(input_shape) * self.filters * math.prod(pair(self.kernel_size))


def slide(
    input_shape: Shape,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    pads: Pads,
    dilation: tuple[int, ...],
) -> Shape:
    """Return the space that a window gives when it slides over [C, *space]."""
    space = input_shape[1:]
    sizes = zip(space, kernel, stride, pads, dilation, strict=True)
    out = tuple((n + sum(p) - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in sizes)
    if min(out) < 1:
        raise ValueError(
            f"a window of {show(kernel)} does not fit into {show(space)} "
            f"with padding {show(tuple(p[0] for p in pads))}"
        )
    return out
