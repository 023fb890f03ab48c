"""Layers made of layers, and the union of all layers."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from ..shapes import Shape, show
from . import (
    activation,
    attention,
    convolution,
    dense,
    normalization,
    pooling,
    recurrent,
    shape,
)
from .base import BaseLayer


class Residual(BaseLayer, frozen=True, kw_only=True, tag="residual"):
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


class Concat(BaseLayer, frozen=True, kw_only=True, tag="concat"):
    """The outputs of all paths, one after the other on the first axis: channels or features.

    [C, H, W] -> [C₁ + C₂ + ..., H, W], or [D] -> [D₁ + D₂ + ...]; an empty path is the identity.
    """

    paths: Annotated[tuple[tuple[Layer, ...], ...], Meta(min_length=2)]

    def branches(self) -> dict[str, tuple[Layer, ...]]:
        return {f"paths[{i}]": path for i, path in enumerate(self.paths)}

    def output_shape(self, *shapes: Shape) -> Shape:
        if len({shape[1:] for shape in shapes}) > 1 or len(shapes[0]) not in (1, 3):
            listed = ", ".join(map(show, shapes))
            raise ValueError(f"concat joins [D] or [C, H, W] of one height and width, got {listed}")
        return (sum(shape[0] for shape in shapes), *shapes[0][1:])


Layer = (
    dense.Dense
    | convolution.Conv1D
    | convolution.Conv2D
    | convolution.ConvTranspose2D
    | pooling.MaxPool2D
    | pooling.AvgPool2D
    | pooling.GlobalAvgPool1D
    | pooling.GlobalAvgPool2D
    | shape.Flatten
    | shape.Reshape
    | shape.Permute
    | normalization.BatchNorm
    | normalization.LayerNorm
    | dense.Embedding
    | recurrent.SimpleRNN
    | recurrent.LSTM
    | recurrent.GRU
    | attention.MultiHeadAttention
    | activation.ReLU
    | activation.LeakyReLU
    | activation.PReLU
    | activation.ELU
    | activation.GELU
    | activation.Sigmoid
    | activation.HardSigmoid
    | activation.Tanh
    | activation.Softplus
    | activation.SiLU
    | activation.Softmax
    | activation.Dropout
    | Residual
    | Concat
)
