"""Layers made of layers, and the union of all layers."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from ..shapes import Shape, show
from .activation import (
    ELU,
    GELU,
    Dropout,
    HardSigmoid,
    LeakyReLU,
    PReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from .attention import MultiHeadAttention
from .base import BaseLayer
from .convolution import Conv1D, Conv2D, ConvTranspose2D
from .dense import Dense, Embedding
from .normalization import BatchNorm, LayerNorm
from .pooling import AvgPool2D, GlobalAvgPool1D, GlobalAvgPool2D, MaxPool2D
from .recurrent import GRU, LSTM, SimpleRNN
from .shape import Flatten, Permute, Reshape


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
    Dense
    | Conv1D
    | Conv2D
    | ConvTranspose2D
    | MaxPool2D
    | AvgPool2D
    | GlobalAvgPool1D
    | GlobalAvgPool2D
    | Flatten
    | Reshape
    | Permute
    | BatchNorm
    | LayerNorm
    | Embedding
    | SimpleRNN
    | LSTM
    | GRU
    | MultiHeadAttention
    | ReLU
    | LeakyReLU
    | PReLU
    | ELU
    | GELU
    | Sigmoid
    | HardSigmoid
    | Tanh
    | Softplus
    | SiLU
    | Softmax
    | Dropout
    | Residual
    | Concat
)
