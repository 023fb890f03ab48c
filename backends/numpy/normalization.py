"""Batch normalisation."""

from __future__ import annotations

import numpy as np

from ...models import Node, layers
from .. import aligned
from .plan import Array, Pass, Plan, Step


def batch_norm(node: Node[layers.BatchNorm], x: Array, plan: Plan) -> Step:
    """y = gamma normal + beta, normal = (x - μ) / √(σ² + ε). x [C, H, W, N] or [C, N].

    dx = gamma / √(σ² + ε) · (dy - mean(dy) - normal · mean(dy normal)).
    """
    layer, axes = node.layer, tuple(range(1, x.ndim))
    roles = ("gamma", "beta", "running_mean", "running_var")
    gamma, beta, running_mean, running_var = (plan.weights[f"{node.key}.{r}"] for r in roles)
    dgamma, dbeta = (plan.gradients[f"{node.key}.{role}"] for role in roles[:2])
    moved_mean, moved_var = (plan.statistics[f"{node.key}.{role}"] for role in roles[2:])
    y, dx, normal = (plan.empty(*node.input_shape) for _ in range(3))
    mean, var, inverse = (aligned.empty_like(gamma) for _ in range(3))
    count = y.size // len(y)

    def each(values: Array) -> Array:
        """Give each channel its value."""
        return values.reshape(-1, *(1 for _ in axes))

    def forward(run: Pass) -> None:
        if run.training:
            np.mean(x, axis=axes, out=mean)
            np.subtract(x, each(mean), out=normal)
            np.multiply(normal, normal, out=y)
            np.mean(y, axis=axes, out=var)
            for running, moved, new in (
                (running_mean, moved_mean, mean),
                (running_var, moved_var, var),
            ):
                np.copyto(moved, (1 - layer.momentum) * running + layer.momentum * new)
        else:
            np.subtract(x, each(running_mean), out=normal)
            np.copyto(var, running_var)
        np.divide(1, np.sqrt(var + layer.epsilon), out=inverse)
        np.multiply(normal, each(inverse), out=normal)
        np.multiply(normal, each(gamma), out=y)
        np.add(y, each(beta), out=y)

    def backward(dy: Array) -> Array:
        np.multiply(dy, normal, out=dx)
        np.sum(dx, axis=axes, out=dgamma)
        np.sum(dy, axis=axes, out=dbeta)
        np.multiply(normal, each(dgamma / count), out=dx)
        np.subtract(dy, dx, out=dx)
        np.subtract(dx, each(dbeta / count), out=dx)
        return np.multiply(dx, each(gamma * inverse), out=dx)

    return Step(y, forward, backward)
