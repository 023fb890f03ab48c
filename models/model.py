"""The neutral model: input shape, layers, loss, optimizer; its shapes, weights and FLOPs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Generic, TypeVar

from msgspec import Meta, Struct

from .building import settle, to_toml
from .endings import ending_warning
from .errors import InputError
from .initializers import WeightSpec
from .layers import Embedding, Layer, Name
from .losses import Loss
from .optimizers import Optimizer
from .shapes import PositiveInt, Shape, show
from .synonyms import closest
from .toml import decode

AnyLayer = TypeVar("AnyLayer", bound=Layer, covariant=True)

_ZOO = files(__package__) / "zoo"
_DEEPEST = 32  # what every framework and every reader of JSON can follow


class Node(Struct, Generic[AnyLayer], frozen=True):
    """A layer in its place: what an adapter lowers.

    `key` is the layer's name, or its position in the spec when it has none (`layers[2]`).
    `needs_input_gradient` is false when no weight lies before it. A residual's layers are in
    `branches`, by field name.
    """

    key: str
    layer: AnyLayer
    input_shape: Shape
    output_shape: Shape
    needs_input_gradient: bool
    branches: dict[str, tuple[Node[Layer], ...]]

    @property
    def type(self) -> str:
        """The layer's type as it is written in TOML."""
        return str(self.layer.__struct_config__.tag)

    @property
    def weights(self) -> dict[str, WeightSpec]:
        """The weights of this layer itself (not of its branches), as `<layer>.<role>`."""
        specs = self.layer.weights(self.input_shape)
        return {f"{self.key}.{role}": spec for role, spec in specs.items()}

    def walk(self) -> Iterator[Node[Layer]]:
        """Yield the nodes inside this one, then itself: the order in which they are computed."""
        for nodes in self.branches.values():
            for node in nodes:
                yield from node.walk()
        yield self


class Cost(Struct, frozen=True):
    """Parameters of a layer and FLOPs per sample (a multiply-add counts two).

    `training_flops` is the forward pass, the gradient of the weights and, where a weight lies
    before the layer, the gradient of its input: each of the three costs one forward pass.
    """

    parameters: int
    forward_flops: int
    training_flops: int

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.parameters + other.parameters,
            self.forward_flops + other.forward_flops,
            self.training_flops + other.training_flops,
        )


class Model(Struct, frozen=True, kw_only=True, dict=True, forbid_unknown_fields=True):
    """What all backends must agree on. InputError if a value, a name or a shape is wrong.

    >>> from bakeoff import Model, layers, losses, optimizers
    >>> model = Model(
    ...     name="line",
    ...     input=(1,),
    ...     layers=(layers.Dense(name="output", units=1),),
    ...     loss=losses.MSE(),
    ...     optimizer=optimizers.SGD(learning_rate=0.1),
    ... )
    >>> model.cost.parameters
    2
    """

    name: Name
    description: str = ""
    input: Annotated[tuple[PositiveInt, ...], Meta(min_length=1)]
    layers: Annotated[tuple[Layer, ...], Meta(min_length=1)]
    loss: Loss
    optimizer: Optimizer

    def __post_init__(self) -> None:
        settle(self)
        try:
            self._check()
        except ValueError as error:
            raise InputError(str(error)) from None

    def _check(self) -> None:
        if (depth := _depth(self.layers)) > _DEEPEST:
            raise ValueError(f"layers are nested {depth} deep, expected {_DEEPEST} at most")
        keys = [node.key for node in self.walk()]
        if twice := {key for key in keys if keys.count(key) > 1}:
            raise ValueError(f'two layers are named "{min(twice)}"; names must be unique')
        self.loss.check_output(self.output_shape)

    def to_toml(self) -> str:
        """Return the model as the text of a TOML file, which reads as this very model.

        >>> from bakeoff import read_model
        >>> print(read_model("linear").to_toml())
        name = "linear"
        description = "One weight and one bias: the first lesson, y ≈ 2x."
        input = [
            1,
        ]
        layers = [
            { type = "dense", name = "output", units = 1, weight_initializer = { type = "zeros" } },
        ]
        <BLANKLINE>
        [loss]
        type = "mse"
        <BLANKLINE>
        [optimizer]
        type = "sgd"
        learning_rate = 0.0625
        <BLANKLINE>
        """
        return to_toml(self)

    @cached_property
    def nodes(self) -> tuple[Node[Layer], ...]:
        """The layers in order, each with its key and shapes."""
        try:
            return _resolve(self.layers, self.input, "layers", needs_input_gradient=False)
        except ValueError as error:
            if not (remark := _channels_last(self.input)):
                raise
            raise ValueError(f"{error}; {remark}") from None

    @cached_property
    def trainable(self) -> list[str]:
        """The names of the weights that an optimizer moves: all but running statistics."""
        return [name for name, spec in self.weights.items() if spec.trainable]

    @property
    def output_shape(self) -> Shape:
        """The shape of one sample's logits."""
        return self.nodes[-1].output_shape

    @cached_property
    def weights(self) -> dict[str, WeightSpec]:
        """Every weight by canonical name, in the order of the layers."""
        return {name: spec for node in self.walk() for name, spec in node.weights.items()}

    def walk(self) -> Iterator[Node[Layer]]:
        """Yield every node in the order in which they are computed."""
        for node in self.nodes:
            yield from node.walk()

    @property
    def vocabulary(self) -> int:
        """How many ids its input may hold: those of the embedding that it feeds; 0 without one."""
        first = [node.layer for node in self.walk() if not node.needs_input_gradient]
        fed = [layer.vocabulary_size for layer in first if isinstance(layer, Embedding)]
        return min(fed, default=0)

    @property
    def warnings(self) -> list[str]:
        """What the model can do and hardly means, a line each: what is computed, what to write."""
        found = ending_warning([(node.key, node.layer) for node in self.nodes], self.loss)
        return [line for line in (_channels_last(self.input), found) if line]

    @property
    def cost(self) -> Cost:
        """The sum of all layers' costs."""
        return sum((cost(node) for node in self.walk()), start=Cost(0, 0, 0))


def cost(node: Node[Layer]) -> Cost:
    """Return the cost of one layer, without the layers inside it."""
    forward = node.layer.flops(node.input_shape, node.output_shape)
    parameters = sum(math.prod(s.shape) for s in node.weights.values() if s.trainable)
    return Cost(parameters, forward, forward * (3 if node.needs_input_gradient else 2))


def read(name: str) -> Model:
    """Read a model: a name of the zoo, or a path to a TOML file. InputError if wrong or unknown."""
    if name in zoo():
        return decode(_ZOO / f"{name}.toml", Model)
    if name.endswith(".toml"):
        return decode(Path(name), Model)
    raise InputError(f'no model "{name}": {closest(name, zoo())}, or a path to a .toml file')


def zoo() -> list[str]:
    """Return the names of the models that come with bakeoff."""
    return sorted(file.name.removesuffix(".toml") for file in _ZOO.iterdir())


def _channels_last(shape: Shape) -> str:
    """Say of a shape like [28, 28, 1] how it is read; nothing of another."""
    if len(shape) != 3 or shape[2] not in (1, 3) or min(shape[:2]) < 8:
        return ""
    height, width, channels = shape
    return (
        f"input {show(shape)} is read as {height} channels of {width} by {channels}: channels come "
        f"first; write {show((channels, height, width))}"
    )


def _depth(layers: tuple[Layer, ...]) -> int:
    inner = [branch for layer in layers for branch in layer.branches().values()]
    return 1 + max(map(_depth, inner), default=0)


def _resolve(
    layers: tuple[Layer, ...], shape: Shape, path: str, *, needs_input_gradient: bool
) -> tuple[Node[Layer], ...]:
    nodes = []
    for position, layer in enumerate(layers):
        place = f"{path}[{position}]"
        key = layer.name or place
        branches = {
            field: _resolve(
                inner, shape, f"{place}.{field}", needs_input_gradient=needs_input_gradient
            )
            for field, inner in layer.branches().items()
        }
        ends = [inner[-1].output_shape if inner else shape for inner in branches.values()]
        try:
            output_shape = layer.output_shape(*(ends or [shape]))
        except ValueError as error:
            raise ValueError(f'"{key}": {error}') from None
        node = Node(key, layer, shape, output_shape, needs_input_gradient, branches)
        nodes.append(node)
        shape = output_shape
        needs_input_gradient |= any(inner.weights for inner in node.walk())
    return tuple(nodes)
