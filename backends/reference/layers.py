"""Each layer by its formula: families have files of their own, all others are here.

A layer function computes its output and returns it with a closure for the way back: `backprop(dy)`
gives the gradient of the input (None where no weight lies before it) and of the layer's weights.
Images are [N, C, H, W].
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...models import Node, layers
from ..contract import Weights, lowering
from . import activation, attention, convolution, normalization, pooling, recurrent
from .passes import Array, Backprop, Pass

_FAMILIES = (activation, attention, convolution, normalization, pooling, recurrent)


def dense(node: Node[layers.Dense], x: Array, run: Pass) -> tuple[Array, Backprop]:
    weight = run.weight(node, "weight")
    y = x @ weight.T
    if node.layer.use_bias:
        y += run.weight(node, "bias")

    def backprop(dy: Array) -> tuple[Array | None, Weights]:
        dx = dy @ weight if node.needs_input_gradient else None
        rows = dy.reshape(-1, dy.shape[-1])
        gradients = {f"{node.key}.weight": rows.T @ x.reshape(-1, x.shape[-1])}
        if node.layer.use_bias:
            gradients[f"{node.key}.bias"] = rows.sum(axis=0)
        return dx, gradients

    return y, backprop


def flatten(node: Node[layers.Flatten], x: Array, run: Pass) -> tuple[Array, Backprop]:
    return x.reshape(len(x), -1), lambda dy: (dy.reshape(x.shape), {})


def reshape(node: Node[layers.Reshape], x: Array, run: Pass) -> tuple[Array, Backprop]:
    return x.reshape(len(x), *node.output_shape), lambda dy: (dy.reshape(x.shape), {})


def permute(node: Node[layers.Permute], x: Array, run: Pass) -> tuple[Array, Backprop]:
    axes = (0, *(axis + 1 for axis in node.layer.axes))
    return x.transpose(axes), lambda dy: (dy.transpose(np.argsort(axes)), {})


def embedding(node: Node[layers.Embedding], x: Array, run: Pass) -> tuple[Array, Backprop]:
    weight, ids = run.weight(node, "weight"), x.astype(np.int64)

    def backprop(dy: Array) -> tuple[Array | None, Weights]:
        gradient = np.zeros_like(weight)
        np.add.at(gradient, ids, dy)
        return None, {f"{node.key}.weight": gradient}

    return weight[ids], backprop


def residual(node: Node[layers.Residual], x: Array, run: Pass) -> tuple[Array, Backprop]:
    body, body_backprop = sequence(node.branches["body"], x, run)
    shortcut, shortcut_backprop = sequence(node.branches["shortcut"], x, run)

    def backprop(dy: Array) -> tuple[Array | None, Weights]:
        dbody, body_gradients = body_backprop(dy)
        dshortcut, shortcut_gradients = shortcut_backprop(dy)
        gradients = body_gradients | shortcut_gradients
        if dbody is None or dshortcut is None:
            return None, gradients
        return dbody + dshortcut, gradients

    return body + shortcut, backprop


def concat(node: Node[layers.Concat], x: Array, run: Pass) -> tuple[Array, Backprop]:
    outputs, backprops = zip(
        *(sequence(path, x, run) for path in node.branches.values()), strict=True
    )
    ends = np.cumsum([output.shape[1] for output in outputs])[:-1]

    def backprop(dy: Array) -> tuple[Array | None, Weights]:
        gradients: Weights = {}
        dx: Array | None = np.zeros_like(x)
        for back, part in zip(backprops, np.split(dy, ends, axis=1), strict=True):
            dpath, of_path = back(part)
            gradients |= of_path
            dx = None if dx is None or dpath is None else dx + dpath
        return dx, gradients

    return np.concatenate(outputs, axis=1), backprop


_FUNCTIONS = {name: f for family in _FAMILIES for name, f in vars(family).items()} | globals()
LAYERS = lowering(layers.Layer, _FUNCTIONS)


def sequence(nodes: Sequence[Node[layers.Layer]], x: Array, run: Pass) -> tuple[Array, Backprop]:
    """Compute layers that follow each other, and keep the output of each in `run`."""
    backprops = []
    for node in nodes:
        x, backprop = LAYERS[type(node.layer)](node, x, run)
        run.outputs[node.key] = x
        backprops.append(backprop)

    def backward(dy: Array) -> tuple[Array | None, Weights]:
        gradients: Weights = {}
        dx: Array | None = dy
        for backprop in reversed(backprops):
            if dx is None:
                break
            dx, of_layer = backprop(dx)
            gradients |= of_layer
        return dx, gradients

    return x, backward
