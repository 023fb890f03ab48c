"""Multi-head self-attention."""

from __future__ import annotations

import numpy as np

from ...models import Node, layers
from ..contract import Weights
from . import functions
from .passes import Array, Backprop, Pass


def multi_head_attention(
    node: Node[layers.MultiHeadAttention], x: Array, run: Pass
) -> tuple[Array, Backprop]:
    heads = node.layer.num_heads
    wq, wk, wv, wo = (run.weight(node, role) for role in node.layer.weights(node.input_shape))
    q, k, v = (_to_heads(x @ w.T, heads) for w in (wq, wk, wv))
    scale = x.dtype.type(q.shape[-1] ** -0.5)
    scores = q @ k.swapaxes(2, 3) * scale
    if node.layer.causal:
        scores[:, :, ~np.tri(x.shape[1], dtype=bool)] = -np.inf
    p = functions.softmax(scores)
    joined = _from_heads(p @ v)

    def backprop(dy: Array) -> tuple[Array | None, Weights]:
        dheads = _to_heads(dy @ wo, heads)
        dp = dheads @ v.swapaxes(2, 3)
        dscores = p * (dp - (dp * p).sum(axis=-1, keepdims=True)) * scale
        dq, dk, dv = dscores @ k, dscores.swapaxes(2, 3) @ q, p.swapaxes(2, 3) @ dheads
        parts = [_from_heads(d) for d in (dq, dk, dv)]
        pairs = zip([*parts, dy], [x, x, x, joined], strict=True)
        gradients = {
            name: d.reshape(-1, d.shape[-1]).T @ a.reshape(-1, a.shape[-1])
            for name, (d, a) in zip(node.weights, pairs, strict=True)
        }
        dx = sum((d @ w for d, w in zip(parts, (wq, wk, wv), strict=True)), np.zeros_like(x))
        return dx, gradients

    return joined @ wo.T, backprop


def _to_heads(x: Array, heads: int) -> Array:
    """[N, T, D] -> [N, heads, T, D / heads]"""
    return x.reshape(*x.shape[:2], heads, -1).swapaxes(1, 2)


def _from_heads(x: Array) -> Array:
    """[N, heads, T, d] -> [N, T, heads·d]"""
    x = x.swapaxes(1, 2)
    return x.reshape(*x.shape[:2], -1)
