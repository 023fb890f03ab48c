"""Dense layers: three products of matrices."""

from __future__ import annotations

import numpy as np

from ...models import Node, layers
from ..reference import layers as reference
from .plan import Array, Pass, Plan, Step, canonical


def dense(node: Node[layers.Dense], x: Array, plan: Plan) -> Step:
    """y = W x + b. x [I, N], y [O, N], W [O, I]."""
    if x.ndim > 2:
        return canonical(reference.dense)(node, x, plan)
    weight, dweight = (of[f"{node.key}.weight"] for of in (plan.weights, plan.gradients))
    bias, dbias = (of.get(f"{node.key}.bias") for of in (plan.weights, plan.gradients))
    y, dx = plan.empty(len(weight)), plan.empty(len(x))

    def forward(run: Pass) -> None:
        np.matmul(weight, x, out=y)
        if bias is not None:
            np.add(y, bias[:, None], out=y)

    def backward(dy: Array) -> Array | None:
        np.matmul(dy, x.T, out=dweight)
        if dbias is not None:
            np.sum(dy, axis=1, out=dbias)
        return np.matmul(weight.T, dy, out=dx) if node.needs_input_gradient else None

    return Step(y, forward, backward)
