"""How the NumPy backend computes: a plan per batch size, whose memory is allocated once.

A layer function gets the array that it will read and returns a `Step`: the array that it will
write, and two closures over them, `forward` and `backward`. Arrays are batch-last, [C, H, W, N] and
[D, N], so that what is done to each number runs over long rows, and a convolution is one product of
matrices; in which order the axes lie in memory is the business of the step that makes the array.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, NamedTuple

import numpy as np

from ...models import Model, Node, layers
from .. import aligned
from ..contract import Masks, Weights
from ..reference import passes

Array = np.ndarray
Evaluate = Callable[[Array], tuple[Any, Array]]  # targets -> the mean loss, d(logits)


class Pass(NamedTuple):
    """What differs from one forward pass to the next, beside the input."""

    training: bool
    masks: Masks | None = None


class Step(NamedTuple):
    """A layer in a plan. `forward` reads its input and writes `y`.

    `backward` takes the gradient of `y` and returns that of the input, in memory of its own, or
    None where no weight lies before it; it writes the gradients of the layer's weights.
    """

    y: Array
    forward: Callable[[Pass], None]
    backward: Callable[[Array], Array | None]


class Parameters:
    """The weights by name; those that are trained lie one behind the other in `flat`, and their
    gradients in the same order in `flat_gradient`.

    `statistics` are running statistics as they will be, if a step is taken.
    """

    def __init__(self, model: Model, weights: Weights, dtype: np.dtype) -> None:
        size = sum(weights[name].size for name in model.trainable)
        self.flat, self.flat_gradient = aligned.zeros(size, dtype), aligned.zeros(size, dtype)
        self.gradients = views(self.flat_gradient, model)
        trained = views(self.flat, model)
        self.weights = {
            name: trained.get(name, aligned.empty_like(weights[name], dtype))
            for name in model.weights
        }
        for name, weight in self.weights.items():
            np.copyto(weight, weights[name])
        self.statistics: Weights = {
            name: aligned.empty_like(weight)
            for name, weight in self.weights.items()
            if name not in trained
        }

    def take_statistics(self) -> None:
        """Let the running statistics be what the last forward pass made of them."""
        for name, moved in self.statistics.items():
            np.copyto(self.weights[name], moved)


def views(flat: Array, model: Model) -> Weights:
    """Return every trainable weight's part of a flat array, in the weight's shape."""
    parts, start = {}, 0
    for name in model.trainable:
        shape = model.weights[name].shape
        end = start + int(np.prod(shape))
        parts[name] = flat[start:end].reshape(shape)
        start = end
    return parts


class Tables(NamedTuple):
    """What a plan is made with: the function of each type of layer and of loss.

    `fusions` maps some layers in a row to one function for them all; it gives None where it does
    not apply.
    """

    layers: Mapping[type, Callable[..., Step]]
    fusions: Mapping[tuple[type, ...], Callable[..., Step | None]]
    losses: Mapping[type, Callable[..., Evaluate]]


class Plan:
    """A network for `batch` samples at a time.

    Write `x`, [N, ...]; call `network.forward`; then `loss` with the targets. `outputs` has the
    output of each step by the key of its last layer.
    """

    def __init__(
        self,
        model: Model,
        batch: int,
        parameters: Parameters,
        rng: np.random.Generator,
        tables: Tables,
    ) -> None:
        self.batch, self.dtype, self.rng = batch, parameters.flat.dtype, rng
        self.weights, self.gradients = parameters.weights, parameters.gradients
        self.statistics = parameters.statistics
        self.outputs: dict[str, Array] = {}
        self._tables = tables
        self.x = aligned.empty((batch, *model.input), self.dtype)
        self.network = self.sequence(model.nodes, np.moveaxis(self.x, 0, -1))
        self.loss = tables.losses[type(model.loss)](model.loss, self.network.y)

    def empty(self, *shape: int) -> Array:
        """Return memory for `shape`, and the batch as the last axis."""
        return aligned.empty((*shape, self.batch), self.dtype)

    def zeros(self, *shape: int) -> Array:
        """Return zeros, likewise."""
        return aligned.zeros((*shape, self.batch), self.dtype)

    def sequence(self, nodes: Sequence[Node[layers.Layer]], x: Array) -> Step:
        """Plan layers that follow each other as one step."""
        steps, y = [], x
        while nodes:
            step, taken = self._next(nodes, y)
            steps.append(step)
            y, nodes = step.y, nodes[taken:]

        def forward(run: Pass) -> None:
            for step in steps:
                step.forward(run)

        def backward(dy: Array) -> Array | None:
            dx: Array | None = dy
            for step in reversed(steps):
                if dx is None:
                    break
                dx = step.backward(dx)
            return dx

        return Step(y, forward, backward)

    def _next(self, nodes: Sequence[Node[layers.Layer]], x: Array) -> tuple[Step, int]:
        """Plan the first layer, or as many as are fused; return how many these are."""
        step: Step | None
        for types, function in self._tables.fusions.items():
            taken = nodes[: len(types)]
            fits = tuple(type(node.layer) for node in taken) == types
            if fits and (step := function(taken, x, self)) is not None:
                break
        else:
            taken = nodes[:1]
            step = self._tables.layers[type(taken[0].layer)](taken[0], x, self)
        self.outputs[taken[-1].key] = step.y
        return step, len(taken)


def canonical(function: Callable[..., Any]) -> Callable[..., Step]:
    """Make a layer function of one of the reference's; its arrays lie batch-first in memory."""

    @wraps(function)
    def planned(node: Node[layers.Layer], x: Array, plan: Plan) -> Step:
        y = aligned.empty((plan.batch, *node.output_shape), plan.dtype)
        backprop: passes.Backprop

        def forward(run: Pass) -> None:
            nonlocal backprop
            plain = passes.Pass(plan.weights, run.training, run.masks, plan.rng, {}, {})
            output, backprop = function(node, _batch_first(x), plain)
            np.copyto(y, output)

        def backward(dy: Array) -> Array | None:
            dx, gradients = backprop(_batch_first(dy))
            for name, gradient in gradients.items():
                np.copyto(plan.gradients[name], gradient)
            return None if dx is None else np.moveaxis(dx, 0, -1)

        return Step(np.moveaxis(y, 0, -1), forward, backward)

    return planned


def _batch_first(x: Array) -> Array:
    return np.ascontiguousarray(np.moveaxis(x, -1, 0))
