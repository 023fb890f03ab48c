"""Activations and dropout."""

from __future__ import annotations

import numpy as np

from ...models import Node, layers
from ..contract import Weights
from . import functions
from .passes import Array, Backprop, Pass


def relu(node: Node[layers.ReLU], x: Array, run: Pass) -> tuple[Array, Backprop]:
    y = np.maximum(x, 0)
    return y, lambda dy: (dy * (y > 0), {})


def leaky_relu(node: Node[layers.LeakyReLU], x: Array, run: Pass) -> tuple[Array, Backprop]:
    slope = np.where(x > 0, x.dtype.type(1), x.dtype.type(node.layer.negative_slope))
    return x * slope, lambda dy: (dy * slope, {})


def prelu(node: Node[layers.PReLU], x: Array, run: Pass) -> tuple[Array, Backprop]:
    alpha = run.weight(node, "alpha").reshape((-1, 1, 1) if x.ndim == 4 else (-1,))
    others = (0, 2, 3) if x.ndim == 4 else tuple(range(x.ndim - 1))
    slope = np.where(x > 0, x.dtype.type(1), alpha)

    def backprop(dy: Array) -> tuple[Array | None, Weights]:
        dalpha = (dy * np.minimum(x, 0)).sum(axis=others)
        return dy * slope, {f"{node.key}.alpha": dalpha}

    return x * slope, backprop


def elu(node: Node[layers.ELU], x: Array, run: Pass) -> tuple[Array, Backprop]:
    alpha = node.layer.alpha
    below = alpha * np.expm1(np.minimum(x, 0))
    return np.where(x > 0, x, below), lambda dy: (dy * np.where(x > 0, 1, below + alpha), {})


def gelu(node: Node[layers.GELU], x: Array, run: Pass) -> tuple[Array, Backprop]:
    if node.layer.approximation == "tanh":
        a, b = x.dtype.type(np.sqrt(2 / np.pi)), x.dtype.type(0.044715)
        t = np.tanh(a * (x + b * x * x * x))
        slope = (1 - t * t) * a * (1 + 3 * b * x * x)
        return x * (1 + t) / 2, lambda dy: (dy * (1 + t + x * slope) / 2, {})
    phi = (1 + functions.erf(x / x.dtype.type(np.sqrt(2)))) / 2
    density = np.exp(-x * x / 2) / x.dtype.type(np.sqrt(2 * np.pi))
    return x * phi, lambda dy: (dy * (phi + x * density), {})


def sigmoid(node: Node[layers.Sigmoid], x: Array, run: Pass) -> tuple[Array, Backprop]:
    y = functions.sigmoid(x)
    return y, lambda dy: (dy * y * (1 - y), {})


def hard_sigmoid(node: Node[layers.HardSigmoid], x: Array, run: Pass) -> tuple[Array, Backprop]:
    inside = (x > -3) & (x < 3)
    return np.clip(x / 6 + 0.5, 0, 1), lambda dy: (np.where(inside, dy / 6, 0), {})


def tanh(node: Node[layers.Tanh], x: Array, run: Pass) -> tuple[Array, Backprop]:
    y = np.tanh(x)
    return y, lambda dy: (dy * (1 - y * y), {})


def softplus(node: Node[layers.Softplus], x: Array, run: Pass) -> tuple[Array, Backprop]:
    return functions.softplus(x), lambda dy: (dy * functions.sigmoid(x), {})


def silu(node: Node[layers.SiLU], x: Array, run: Pass) -> tuple[Array, Backprop]:
    s = functions.sigmoid(x)
    return x * s, lambda dy: (dy * s * (1 + x * (1 - s)), {})


def softmax(node: Node[layers.Softmax], x: Array, run: Pass) -> tuple[Array, Backprop]:
    y = functions.softmax(x)
    return y, lambda dy: (y * (dy - (dy * y).sum(axis=-1, keepdims=True)), {})


def dropout(node: Node[layers.Dropout], x: Array, run: Pass) -> tuple[Array, Backprop]:
    if not run.training:
        return x, lambda dy: (dy, {})
    rate = node.layer.rate
    mask = run.rng.random(x.shape) >= rate if run.masks is None else run.masks[node.key]
    scale = mask.astype(x.dtype) / (1 - rate)
    return x * scale, lambda dy: (dy * scale, {})
