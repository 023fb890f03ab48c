"""The layers: one frozen Struct each, whose docstring is the normative formula and shapes.

Shapes leave out the batch axis N. Images are [C, H, W]. A layer with weights, and a dropout, has a
name. Every Struct says three things of itself: `output_shape(input shape)` (a ValueError when the
input does not fit), `weights(input shape)` by role in canonical layout, and `flops(input shape,
output shape)` of the forward pass for one sample, where a multiply-add counts two and only
contractions count (biases, activations and pooling are bound by memory, not by arithmetic).
"""

from __future__ import annotations

import math
from typing import Annotated

from msgspec import Meta, Struct

from .initializers import GlorotUniform, Initializer, WeightSpec, Zeros
from .shapes import Fraction, NonNegativeFloat, Padding, PositiveInt, Shape, Size, pair, show

Name = Annotated[str, Meta(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$", max_length=64)]


class _Layer(Struct, frozen=True, kw_only=True, tag_field="type", forbid_unknown_fields=True):
    name: Name | None = None

    def weights(self, input_shape: Shape) -> dict[str, WeightSpec]:
        return {}

    def flops(self, input_shape: Shape, output_shape: Shape) -> int:
        return 0

    def branches(self) -> dict[str, tuple[Layer, ...]]:
        """The lists of layers inside this one, by field name."""
        return {}


class _Elementwise(_Layer, frozen=True):
    def output_shape(self, input_shape: Shape) -> Shape:
        return input_shape


class Dense(_Layer, frozen=True, tag="dense"):
    """y = x Wᵀ + b, on the last axis. [I] -> [units], weight [units, I], bias [units].

    Keras, Paddle and JAX keep the weight as [I, units]; Gluon flattens its input by default.
    """

    name: Name
    units: PositiveInt
    use_bias: bool = True
    weight_initializer: Initializer = GlorotUniform()
    bias_initializer: Initializer = Zeros()

    def output_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) != 1:
            raise ValueError(f"dense needs an input [I], got {show(input_shape)}; flatten first")
        return (self.units,)

    def weights(self, input_shape: Shape) -> dict[str, WeightSpec]:
        fans = (input_shape[0], self.units)
        return _weight_and_bias(self, (self.units, input_shape[0]), fans)

    def flops(self, input_shape: Shape, output_shape: Shape) -> int:
        return 2 * input_shape[0] * self.units


class Conv2D(_Layer, frozen=True, tag="conv2d"):
    """Cross-correlation: y[o, i, j] = b[o] + Σ_{c,u,v} W[o, c, u, v] x̂[c, s i + u, s j + v].

    x̂ is x with `padding` zeros on both sides of H and W; s is `stride`.
    [C, H, W] -> [filters, ⌊(H + 2p - kH) / s⌋ + 1, likewise W], weight [filters, C, kH, kW].
    Keras and JAX keep the weight as [kH, kW, C, filters] and compute fastest in [H, W, C].
    """

    name: Name
    filters: PositiveInt
    kernel_size: Size
    stride: Size = 1
    padding: Padding = 0
    use_bias: bool = True
    weight_initializer: Initializer = GlorotUniform()
    bias_initializer: Initializer = Zeros()

    def output_shape(self, input_shape: Shape) -> Shape:
        space = _slide(self, input_shape, self.kernel_size, self.stride, self.padding)
        return (self.filters, *space)

    def weights(self, input_shape: Shape) -> dict[str, WeightSpec]:
        kernel = pair(self.kernel_size)
        window = math.prod(kernel)
        fans = (input_shape[0] * window, self.filters * window)
        return _weight_and_bias(self, (self.filters, input_shape[0], *kernel), fans)

    def flops(self, input_shape: Shape, output_shape: Shape) -> int:
        return 2 * math.prod(output_shape) * input_shape[0] * math.prod(pair(self.kernel_size))


class MaxPool2D(_Layer, frozen=True, tag="max_pool2d"):
    """y[c, i, j] = max over the window at (s i, s j); the border is padded with -∞.

    [C, H, W] -> [C, ⌊(H + 2p - kH) / s⌋ + 1, likewise W]; `stride` is `kernel_size` if not given.
    The gradient goes to the first maximum of the window in row-major order.
    """

    kernel_size: Size
    stride: Size | None = None
    padding: Padding = 0

    def output_shape(self, input_shape: Shape) -> Shape:
        kernel, padding = pair(self.kernel_size), pair(self.padding)
        if any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
            raise ValueError(
                f"padding {self.padding} is over half of the window {self.kernel_size}"
            )
        stride = self.stride or self.kernel_size
        return (input_shape[0], *_slide(self, input_shape, kernel, stride, padding))


class AvgPool2D(_Layer, frozen=True, tag="avg_pool2d"):
    """y[c, i, j] = mean over the window at (s i, s j).

    [C, H, W] -> [C, ⌊(H - kH) / s⌋ + 1, likewise W]; `stride` is `kernel_size` if not given.
    """

    kernel_size: Size
    stride: Size | None = None

    def output_shape(self, input_shape: Shape) -> Shape:
        stride = self.stride or self.kernel_size
        return (input_shape[0], *_slide(self, input_shape, self.kernel_size, stride, 0))


class GlobalAvgPool2D(_Layer, frozen=True, tag="global_avg_pool2d"):
    """y[c] = mean over H and W of x[c]. [C, H, W] -> [C]."""

    def output_shape(self, input_shape: Shape) -> Shape:
        return (_image(self, input_shape)[0],)


class Flatten(_Layer, frozen=True, tag="flatten"):
    """All axes in one, in the order C, H, W. [C, H, W] -> [C·H·W]."""

    def output_shape(self, input_shape: Shape) -> Shape:
        return (math.prod(input_shape),)


class Reshape(_Layer, frozen=True, tag="reshape"):
    """The same numbers in row-major order under another shape. [...] -> [*shape]."""

    shape: tuple[PositiveInt, ...]

    def output_shape(self, input_shape: Shape) -> Shape:
        if math.prod(self.shape) != math.prod(input_shape):
            raise ValueError(
                f"reshape of {show(input_shape)} ({math.prod(input_shape)} numbers) "
                f"to {show(self.shape)} ({math.prod(self.shape)} numbers)"
            )
        return self.shape


class ReLU(_Elementwise, frozen=True, tag="relu"):
    """y = max(x, 0), dy/dx = 0 at 0. `maximum(x, 0)` gives 1/2 or 1 there in most frameworks."""


class LeakyReLU(_Elementwise, frozen=True, tag="leaky_relu"):
    """y = x if x > 0 else negative_slope·x; at 0 the derivative is negative_slope.

    Defaults elsewhere: PyTorch, Paddle, JAX 0.01, Keras layer 0.3, Gluon 0.25; Paddle's and JAX's
    own function has the derivative 1 at 0.
    """

    negative_slope: NonNegativeFloat = 0.01


class Sigmoid(_Elementwise, frozen=True, tag="sigmoid"):
    """y = 1 / (1 + e⁻ˣ)."""


class Tanh(_Elementwise, frozen=True, tag="tanh"):
    """y = tanh x."""


class Dropout(_Elementwise, frozen=True, tag="dropout"):
    """Training: y = x·mask / (1 - rate), mask ~ Bernoulli(1 - rate). Evaluation: y = x.

    Srivastava et al. 2014, in the inverted form. No two frameworks share a generator: parity jobs
    supply the mask, plain jobs let the framework draw.
    """

    name: Name
    rate: Fraction = 0.5


class Residual(_Layer, frozen=True, tag="residual"):
    """y = body(x) + shortcut(x); an empty shortcut is the identity (He et al. 2016)."""

    body: Annotated[tuple[Layer, ...], Meta(min_length=1)]
    shortcut: tuple[Layer, ...] = ()

    def branches(self) -> dict[str, tuple[Layer, ...]]:
        return {"body": self.body, "shortcut": self.shortcut}

    def output_shape(self, body_shape: Shape, shortcut_shape: Shape) -> Shape:
        if body_shape != shortcut_shape:
            raise ValueError(
                f"residual adds a body {show(body_shape)} to a shortcut {show(shortcut_shape)}; "
                "make them equal, for example with a 1x1 conv2d in the shortcut"
            )
        return body_shape


Layer = (
    Dense
    | Conv2D
    | MaxPool2D
    | AvgPool2D
    | GlobalAvgPool2D
    | Flatten
    | Reshape
    | ReLU
    | LeakyReLU
    | Sigmoid
    | Tanh
    | Dropout
    | Residual
)


def _weight_and_bias(
    layer: Dense | Conv2D, shape: Shape, fans: tuple[int, int]
) -> dict[str, WeightSpec]:
    specs = {"weight": WeightSpec(shape, *fans, layer.weight_initializer)}
    if layer.use_bias:
        specs["bias"] = WeightSpec((shape[0],), *fans, layer.bias_initializer)
    return specs


def _image(layer: _Layer, input_shape: Shape) -> Shape:
    if len(input_shape) != 3:
        tag = layer.__struct_config__.tag
        raise ValueError(f"{tag} needs an input [C, H, W], got {show(input_shape)}; reshape first")
    return input_shape


def _slide(
    layer: _Layer,
    input_shape: Shape,
    kernel_size: int | tuple[int, ...],
    stride: int | tuple[int, ...],
    padding: int | tuple[int, ...],
) -> Shape:
    """Return the [H, W] that a window gives when it slides over an image."""
    space = _image(layer, input_shape)[1:]
    sizes = zip(space, pair(kernel_size), pair(stride), pair(padding), strict=True)
    out = tuple((n + 2 * p - k) // s + 1 for n, k, s, p in sizes)
    if min(out) < 1:
        raise ValueError(
            f"a window of {show(pair(kernel_size))} does not fit into {show(space)} "
            f"with padding {show(pair(padding))}"
        )
    return out
