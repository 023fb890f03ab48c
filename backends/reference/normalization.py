"""Batch and layer normalisation: the same way back, over other axes."""

from __future__ import annotations

import numpy as np

from ...models import Node, layers
from ..contract import Weights
from .passes import Array, Backprop, Pass


def batch_norm(node: Node[layers.BatchNorm], x: Array, run: Pass) -> tuple[Array, Backprop]:
    layer, axes = node.layer, (0, 2, 3) if x.ndim == 4 else (0,)
    shape = (1, -1, 1, 1) if x.ndim == 4 else (1, -1)
    mean, var = run.weight(node, "running_mean"), run.weight(node, "running_var")
    if run.training:
        mean, var = x.mean(axis=axes), x.var(axis=axes)
        for role, new in (("running_mean", mean), ("running_var", var)):
            moved = (1 - layer.momentum) * run.weight(node, role) + layer.momentum * new
            run.statistics[f"{node.key}.{role}"] = moved
    inverse = 1 / np.sqrt(var + layer.epsilon)
    normal = (x - mean.reshape(shape)) * inverse.reshape(shape)
    return _scale_and_shift(node, normal, inverse.reshape(shape), axes, run)


def layer_norm(node: Node[layers.LayerNorm], x: Array, run: Pass) -> tuple[Array, Backprop]:
    var = x.var(axis=-1, keepdims=True)
    inverse = 1 / np.sqrt(var + node.layer.epsilon)
    normal = (x - x.mean(axis=-1, keepdims=True)) * inverse
    return _scale_and_shift(node, normal, inverse, (-1,), run)


def _scale_and_shift(
    node: Node[layers.BatchNorm] | Node[layers.LayerNorm],
    normal: Array,
    inverse: Array,
    axes: tuple[int, ...],
    run: Pass,
) -> tuple[Array, Backprop]:
    """gamma·normal + beta; `normal` was centred and scaled by `inverse` over `axes`."""
    shape = (1, -1, 1, 1) if normal.ndim == 4 else (-1,)
    gamma, beta = run.weight(node, "gamma").reshape(shape), run.weight(node, "beta").reshape(shape)
    others = axes if axes != (-1,) else tuple(range(normal.ndim - 1))

    def backprop(dy: Array) -> tuple[Array | None, Weights]:
        gradients = {
            f"{node.key}.gamma": (dy * normal).sum(axis=others),
            f"{node.key}.beta": dy.sum(axis=others),
        }
        d = dy * gamma
        centred = d - d.mean(axis=axes, keepdims=True)
        along = normal * (d * normal).mean(axis=axes, keepdims=True)
        return inverse * (centred - along), gradients

    return gamma * normal + beta, backprop
