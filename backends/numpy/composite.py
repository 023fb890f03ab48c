"""Layers made of layers."""

from __future__ import annotations

import itertools

import numpy as np

from ...models import Node, layers
from .plan import Array, Pass, Plan, Step


def residual(node: Node[layers.Residual], x: Array, plan: Plan) -> Step:
    branches = [plan.sequence(inner, x) for inner in node.branches.values()]
    body, shortcut = branches
    y, dx = plan.empty(*node.output_shape), plan.empty(*node.input_shape)

    def forward(run: Pass) -> None:
        for branch in branches:
            branch.forward(run)
        np.add(body.y, shortcut.y, out=y)

    def backward(dy: Array) -> Array | None:
        dbody, dshortcut = (branch.backward(dy) for branch in branches)
        if dbody is None or dshortcut is None:
            return None
        return np.add(dbody, dshortcut, out=dx)

    return Step(y, forward, backward)


def concat(node: Node[layers.Concat], x: Array, plan: Plan) -> Step:
    paths = [plan.sequence(inner, x) for inner in node.branches.values()]
    y, dx = plan.empty(*node.output_shape), plan.empty(*node.input_shape)
    ends = np.cumsum([0, *(len(path.y) for path in paths)])
    parts = [slice(a, b) for a, b in itertools.pairwise(ends)]

    def forward(run: Pass) -> None:
        for path, part in zip(paths, parts, strict=True):
            path.forward(run)
            np.copyto(y[part], path.y)

    def backward(dy: Array) -> Array | None:
        dpaths = [path.backward(dy[part]) for path, part in zip(paths, parts, strict=True)]
        dx.fill(0)
        for dpath in dpaths:
            if dpath is None:
                return None
            np.add(dx, dpath, out=dx)
        return dx

    return Step(y, forward, backward)
