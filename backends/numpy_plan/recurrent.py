"""LSTM: one product of matrices per step forwards, one backwards, and the weights' at the end."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np

from ...models import Node
from ...models.layers import LSTM
from .plan import Array, Pass, Plan, Step

_ORDER = (3, 0, 1, 2)  # gates lie in the order o, i, f, g here; in the weights in i, f, g, o
_AT_ONCE = 4  # steps whose slopes are computed together: what the cache holds

_Scan = tuple[Array, Callable[[], None], Callable[[Array], Array | None]]


def lstm(node: Node[LSTM], x: Array, plan: Plan) -> Step:
    """x [T, I, N] -> [H, N], or with `return_sequences` [T, H, N]; twice H if bidirectional."""
    layer = node.layer
    scans = [_scan(node, p, x[::-1] if p else x, plan) for p in layer.directions]
    y, dx = plan.empty(*node.output_shape), plan.empty(*node.input_shape)
    parts = [slice(i * layer.units, (i + 1) * layer.units) for i in range(len(scans))]
    turn = [slice(None, None, -1 if prefix else 1) for prefix in layer.directions]

    def forward(run: Pass) -> None:
        for (states, scan, _), part, turned in zip(scans, parts, turn, strict=True):
            scan()
            if layer.return_sequences:
                np.copyto(y[:, part], states[turned])
            else:
                np.copyto(y[part], states[-1])

    def backward(dy: Array) -> Array | None:
        dx.fill(0)
        for (_, _, back), part, turned in zip(scans, parts, turn, strict=True):
            found = back(dy[turned, part] if layer.return_sequences else dy[part])
            if found is not None:
                np.add(dx, found[turned], out=dx)
        return dx if node.needs_input_gradient else None

    return Step(y, forward, backward)


def _scan(node: Node[LSTM], prefix: str, x: Array, plan: Plan) -> _Scan:
    """Plan one direction: its states [T, H, N], the way there, and the way back.

    A step is one product: [U W b] of (h, x, 1). σ(z) = (1 + tanh(z / 2)) / 2, so with the rows of
    o, i, f halved, one tanh does all gates. Behind them lies c, so that (i, f) ⊙ (g, c) is one too.
    """
    steps, inputs, _ = x.shape
    units = node.layer.units
    roles = ("recurrent_weight", "weight", "bias")
    ends = np.cumsum([0, units, inputs, 1])
    columns = [slice(a, b) for a, b in itertools.pairwise(ends)]
    own, found = (
        [of[f"{node.key}.{prefix}{role}"].reshape(4, units, -1) for role in roles]
        for of in (plan.weights, plan.gradients)
    )
    stacked = np.empty((4, units, ends[-1]), plan.dtype)
    halved, dstacked = np.empty_like(stacked), np.empty_like(stacked)
    flat, flat_halved, flat_d = (w.reshape(4 * units, -1) for w in (stacked, halved, dstacked))
    scale = np.array([0.5, 0.5, 0.5, 1], plan.dtype)[:, None, None]

    met = plan.empty(steps + 1, ends[-1])  # (h, x, 1)
    met[:, -1] = 1
    gates = plan.empty(steps + 1, 5, units)  # o, i, f, g, and the c before
    squashed = plan.empty(steps, units)  # tanh of the c behind
    # Of h by c and by o's sum, and of c by those of i, f, g; for a few steps at a time.
    slopes = plan.empty(_AT_ONCE, 5, units)
    moved = plan.empty(2, units)
    dz = plan.empty(5, units)  # behind a row that is used on the way
    dh_parts, dc_part, dz_c, dz_all = dz[:2], dz[0], dz[2:], dz[1:].reshape(4 * units, -1)
    dh, dc = plan.empty(units), plan.empty(units)
    gathered = plan.empty(4 * units, steps)
    met_gathered = plan.empty(int(ends[-1]), steps)
    dx = plan.empty(inputs, steps)
    flat_gathered, flat_met, flat_dx = (a.reshape(len(a), -1) for a in (gathered, met_gathered, dx))

    chunks = [slice(t, min(t + _AT_ONCE, steps)) for t in range(0, steps, _AT_ONCE)]
    way = [
        (met[t], gates[t, :4].reshape(4 * units, -1), gates[t, :4], gates[t, :3],
         gates[t, 1:3], gates[t, 3:], gates[t + 1, 4], squashed[t], gates[t, 0], met[t + 1, :units])
        for t in range(steps)
    ]  # fmt: skip
    way_back = [
        [
            (t, slopes[k, :2], slopes[k, 2:], gates[t, 2], gathered[:, t])
            for k, t in reversed(list(enumerate(range(steps)[chunk])))
        ]
        for chunk in chunks
    ]  # fmt: skip

    def scan() -> None:
        for part, weight in zip(columns, own, strict=True):
            for gate, source in enumerate(_ORDER):
                np.copyto(stacked[gate, :, part], weight[source])
        np.multiply(stacked, scale, out=halved)
        np.copyto(met[:-1, columns[1]], x)
        met[0, :units], gates[0, 4] = 0, 0
        for seen, z, all_gates, sigmoids, i_f, g_c, c, tanh_c, o, h in way:
            np.matmul(flat_halved, seen, out=z)
            np.tanh(all_gates, out=all_gates)
            np.add(sigmoids, 1, out=sigmoids)
            np.multiply(sigmoids, 0.5, out=sigmoids)
            np.multiply(i_f, g_c, out=moved)
            np.add(moved[0], moved[1], out=c)
            np.tanh(c, out=tanh_c)
            np.multiply(o, tanh_c, out=h)

    def find_slopes(t: slice) -> None:
        """For h = o tanh c and c = i g + f c₋₁: σ' = σ (1 - σ), tanh' = 1 - tanh²."""
        slope, sigmoids, squash, g = (
            slopes[: t.stop - t.start],
            gates[t, :3],
            squashed[t],
            gates[t, 3],
        )
        np.multiply(squash, squash, out=slope[:, 0])
        np.multiply(g, g, out=slope[:, 4])
        np.subtract(1, slope[:, ::4], out=slope[:, ::4])
        np.multiply(slope[:, ::4], sigmoids[:, :2], out=slope[:, ::4])  # by o and i
        np.subtract(1, sigmoids, out=slope[:, 1:4])
        np.multiply(slope[:, 1:4], sigmoids, out=slope[:, 1:4])
        np.multiply(slope[:, 1], squash, out=slope[:, 1])
        np.multiply(slope[:, 2:4], gates[t, 3:], out=slope[:, 2:4])  # by g and c₋₁

    def back(dy: Array) -> Array | None:
        sequences = node.layer.return_sequences
        np.copyto(dh, 0 if sequences else dy)
        dc.fill(0)
        recurrent = flat[:, :units].T
        for chunk, chunk_back in zip(reversed(chunks), reversed(way_back), strict=True):
            find_slopes(chunk)
            for t, by_h, by_c, f, dz_kept in chunk_back:
                if sequences:
                    np.add(dh, dy[t], out=dh)
                np.multiply(dh, by_h, out=dh_parts)
                np.add(dc, dc_part, out=dc)
                np.multiply(dc, by_c, out=dz_c)
                np.multiply(dc, f, out=dc)
                np.matmul(recurrent, dz_all, out=dh)
                np.copyto(dz_kept, dz_all)
        np.copyto(met_gathered, met[:-1].swapaxes(0, 1))
        np.matmul(flat_gathered, flat_met.T, out=flat_d)
        for part, gradient in zip(columns, found, strict=True):
            for gate, source in enumerate(_ORDER):
                np.copyto(gradient[source], dstacked[gate, :, part])
        if not node.needs_input_gradient:
            return None
        np.matmul(flat[:, columns[1]].T, flat_gathered, out=flat_dx)
        return dx.swapaxes(0, 1)

    return met[1:, :units], scan, back
