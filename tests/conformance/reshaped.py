"""Cases made of the table: every layer right behind every one that reshapes.

What reshapes may hand on a view of its input, in another layout than its shape says, and a layer
may take that for what it is not. One case has many layers, each on a path of its own from the
input, so that they are compiled at once; a tensor that is wrong has the path in its name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from bakeoff.models import Node
from bakeoff.models.initializers import Normal
from bakeoff.models.layers import (
    GRU,
    LSTM,
    Concat,
    Dense,
    Flatten,
    Layer,
    Permute,
    Reshape,
    SimpleRNN,
)
from conformance.cases import LAYERS, VECTOR, Case, model_of

_RECURRENT = (SimpleRNN, LSTM, GRU)  # a compiler may refuse them, and with them their case
_RANDOM = Normal(std=0.5)
Reshaping = Callable[[tuple[int, ...]], tuple[Layer, ...]]


def _flatten(shape: tuple[int, ...]) -> tuple[Layer, ...]:
    """To a vector of six, from an image whose channels are not last."""
    return Reshape(shape=(3, 1, 2)), Flatten()


def _reshape(shape: tuple[int, ...]) -> tuple[Layer, ...]:
    return (Reshape(shape=shape),)


def _permute(shape: tuple[int, ...]) -> tuple[Layer, ...]:
    """The last axis of what is permuted becomes the first: [H, W, C] -> [C, H, W]."""
    axes = (len(shape) - 1, *range(len(shape) - 1))
    return Reshape(shape=(*shape[1:], shape[0])), Permute(axes=axes)


_RESHAPING: dict[str, Reshaping] = {"flatten": _flatten, "reshape": _reshape, "permute": _permute}


def _nodes() -> Iterator[Node[Layer]]:
    """Yield one place of each type of layer for each number of axes, as the table has it first."""
    seen = set()
    for case in LAYERS:
        for node in case.model.nodes[1:-1]:  # behind the first layer, before the head
            what = (type(node.layer), len(node.input_shape))
            if what not in seen:
                seen.add(what)
                yield node


def _path(node: Node[Layer], before: str, reshaping: tuple[Layer, ...]) -> tuple[Layer, ...]:
    name = f"{node.type}-{len(node.input_shape)}d-behind-{before}"
    source = Dense(
        name=name,
        units=math.prod(node.input_shape),
        use_bias=False,  # its gradient would be nothing but rounding before a batch_norm
        weight_initializer=_RANDOM,
    )
    layer = msgspec.convert(_renamed(msgspec.to_builtins(node.layer), name), Layer)
    return source, *reshaping, layer, Flatten()


def _renamed(value: Any, suffix: str) -> Any:
    """Return plain data of layers with a suffix to every name in it."""
    if isinstance(value, list | tuple):
        return [_renamed(item, suffix) for item in value]
    if not isinstance(value, dict):
        return value
    renamed = {key: _renamed(item, suffix) for key, item in value.items()}
    return renamed | {"name": f"{value['name']}-{suffix}"} if value.get("name") else renamed


def _case(before: str, *, recurrent: bool) -> Case:
    paths = [
        _path(node, before, _RESHAPING[before](node.input_shape))
        for node in _nodes()
        if isinstance(node.layer, _RECURRENT) == recurrent
        and (before != "flatten" or node.input_shape == (6,))
    ]
    head = Dense(name="head", units=2, weight_initializer=Normal(std=0.125))
    what = "recurrent" if recurrent else "everything"
    return Case(f"{what}-behind-{before}", model_of([Concat(paths=tuple(paths)), head], VECTOR))


RESHAPED = [
    *(_case(before, recurrent=False) for before in _RESHAPING),
    *(_case(before, recurrent=True) for before in ("reshape", "permute")),
]
