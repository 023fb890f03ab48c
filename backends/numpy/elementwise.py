"""Activations and dropout, each number for itself, and the layers that only look anew."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...models import Node, layers
from .. import aligned
from .plan import Array, Pass, Plan, Step


def relu(node: Node[layers.ReLU], x: Array, plan: Plan) -> Step:
    y, dx, positive = aligned.empty_like(x), aligned.empty_like(x), aligned.empty_like(x, bool)

    def forward(run: Pass) -> None:
        np.maximum(x, 0, out=y)

    def backward(dy: Array) -> Array:
        np.greater(y, 0, out=positive)
        return np.multiply(dy, positive, out=dx)

    return Step(y, forward, backward)


def sigmoid(node: Node[layers.Sigmoid], x: Array, plan: Plan) -> Step:
    """σ(x) = 1 / (1 + e⁻ˣ), which is 0 where e⁻ˣ overflows, as it should be.

    (1 + tanh(x / 2)) / 2 takes two thirds of the time, and loses σ's digits where it is small.
    """
    y, dx = aligned.empty_like(x), aligned.empty_like(x)

    def forward(run: Pass) -> None:
        np.negative(x, out=y)
        with np.errstate(over="ignore"):
            np.exp(y, out=y)
        np.add(y, 1, out=y)
        np.reciprocal(y, out=y)

    def backward(dy: Array) -> Array:
        np.subtract(1, y, out=dx)
        np.multiply(dx, y, out=dx)
        return np.multiply(dx, dy, out=dx)

    return Step(y, forward, backward)


def tanh(node: Node[layers.Tanh], x: Array, plan: Plan) -> Step:
    y, dx = aligned.empty_like(x), aligned.empty_like(x)

    def forward(run: Pass) -> None:
        np.tanh(x, out=y)

    def backward(dy: Array) -> Array:
        np.multiply(y, y, out=dx)
        np.subtract(1, dx, out=dx)
        return np.multiply(dx, dy, out=dx)

    return Step(y, forward, backward)


def dropout(node: Node[layers.Dropout], x: Array, plan: Plan) -> Step:
    y, dx, scale = aligned.empty_like(x), aligned.empty_like(x), aligned.empty_like(x)
    keep, drawn = aligned.empty_like(x, bool), plan.empty(*node.input_shape)

    def forward(run: Pass) -> None:
        if not run.training:
            np.copyto(y, x)
            return
        if run.masks is None:
            plan.rng.random(out=drawn, dtype=plan.dtype)
            np.greater_equal(drawn, node.layer.rate, out=keep)
        else:
            np.copyto(keep, np.moveaxis(run.masks[node.key], 0, -1))
        np.multiply(keep, plan.dtype.type(1 / (1 - node.layer.rate)), out=scale)
        np.multiply(x, scale, out=y)

    def backward(dy: Array) -> Array:
        return np.multiply(dy, scale, out=dx)

    return Step(y, forward, backward)


def flatten(node: Node[layers.Flatten], x: Array, plan: Plan) -> Step:
    return _reshaped(node, x, plan)


def reshape(node: Node[layers.Reshape], x: Array, plan: Plan) -> Step:
    return _reshaped(node, x, plan)


def _reshaped(node: Node[Any], x: Array, plan: Plan) -> Step:
    """A view of x, or where its memory has gaps, of a copy."""
    y = x.reshape(*node.output_shape, plan.batch)
    is_view = np.shares_memory(x, y)

    def forward(run: Pass) -> None:
        if not is_view:
            np.copyto(y.reshape(x.shape), x)

    return Step(y, forward, lambda dy: dy.reshape(x.shape))


def permute(node: Node[layers.Permute], x: Array, plan: Plan) -> Step:
    axes = (*node.layer.axes, x.ndim - 1)
    back = np.argsort(axes)
    return Step(x.transpose(axes), lambda run: None, lambda dy: dy.transpose(back))
