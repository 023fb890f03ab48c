"""What a layer becomes here: a call of Keras's layers, and the places where its weights lie.

Images are channels-last in Keras and channels-first in the spec: their shapes are turned here too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import keras

from ...models import Node
from ...models.layers.convolution import Pads
from ...models.shapes import Shape

Tensor = Any
NativeMasks = dict[str, Tensor]
Call = Callable[[Tensor, "Pass"], Tensor]
MeanLoss = Callable[[Tensor, Tensor], Tensor]  # of targets and logits
Lowered = tuple[Call, dict[str, "Place"]]  # the native layers, their weights by role

CHANNELS_LAST, CHANNELS_FIRST = (2, 3, 1), (3, 1, 2)  # for Permute, which counts axes from 1


class Pass(NamedTuple):
    """One forward pass: what the layers need beside their input, and every layer's output."""

    training: bool
    masks: NativeMasks
    outputs: dict[str, Tensor]


class Place(NamedTuple):
    """Where a weight lies: all of a variable or one row of it, in Keras' order of gates or not."""

    variable: keras.Variable
    part: Any = ...
    swapped: bool = False  # a GRU's gates: Keras has z, r, n
    image: Shape | None = None  # what a dense layer flattens, its features being channels-last


def chain(*modules: keras.Layer) -> Call:
    def call(x: Tensor, run: Pass) -> Tensor:
        for module in modules:
            x = module(x)
        return x

    return call


def composed(first: Call, second: Call) -> Call:
    return lambda x, run: second(first(x, run), run)


def borders(pads: Pads) -> list[tuple[int, int]]:
    return [(0, 0), *pads, (0, 0)]


def places(module: keras.Layer, node: Node[Any], shape: Shape | None = None) -> dict[str, Place]:
    """Build a layer for its input, of the native `shape`; return where its weights lie, by role."""
    module.build((None, *(shape or native_shape(node.input_shape))))
    roles = node.layer.weights(node.input_shape)
    return dict(zip(roles, map(Place, module.weights), strict=True))


def has_channels(shape: Shape) -> bool:
    return len(shape) == 3 and shape[0] > 1


def native_shape(shape: Shape) -> Shape:
    return tuple(shape[axis - 1] for axis in CHANNELS_LAST) if len(shape) == 3 else shape
