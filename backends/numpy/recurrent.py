"""LSTM: one product of matrices per step forwards, one backwards, and the weights' at the end."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from ...models import Node, layers
from .. import aligned
from .plan import Array, Pass, Plan, Step

_ORDER = (3, 0, 1, 2)  # gates lie in the order o, i, f, g here; in the weights in i, f, g, o
_AT_ONCE = 4  # steps whose slopes are computed together: what the cache holds


def lstm(node: Node[layers.LSTM], x: Array, plan: Plan) -> Step:
    """x [T, I, N] -> [H, N], or with `return_sequences` [T, H, N]; twice H if bidirectional."""
    layer = node.layer
    scans = [_Scan(node, prefix, x[::-1] if prefix else x, plan) for prefix in layer.directions]
    y, dx = plan.empty(*node.output_shape), plan.empty(*node.input_shape)
    parts = [slice(i * layer.units, (i + 1) * layer.units) for i in range(len(scans))]
    turn = [slice(None, None, -1 if prefix else 1) for prefix in layer.directions]

    def forward(run: Pass) -> None:
        for scan, part, turned in zip(scans, parts, turn, strict=True):
            scan.forward()
            if layer.return_sequences:
                np.copyto(y[:, part], scan.states[turned])
            else:
                np.copyto(y[part], scan.states[-1])

    def backward(dy: Array) -> Array | None:
        dx.fill(0)
        for scan, part, turned in zip(scans, parts, turn, strict=True):
            dinput = scan.backward(dy[turned, part] if layer.return_sequences else dy[part])
            if dinput is not None:
                np.add(dx, dinput[turned], out=dx)
        return dx if node.needs_input_gradient else None

    return Step(y, forward, backward)


class _Scan:
    """One direction of an LSTM. `states` are its h, [T, H, N].

    A step is one product: [U W b] of (h, x, 1). σ(z) = (1 + tanh(z / 2)) / 2, so with the rows of
    o, i, f halved, one tanh does all gates. Behind them lies c, so that (i, f) ⊙ (g, c) is one too.
    """

    def __init__(self, node: Node[layers.LSTM], prefix: str, x: Array, plan: Plan) -> None:
        (steps, inputs, _), units = x.shape, node.layer.units
        self._node, self._x, self._units = node, x, units
        ends = (0, units, units + inputs, units + inputs + 1)
        self._parts = [slice(start, end) for start, end in itertools.pairwise(ends)]
        self._weights, self._gradients = (
            [
                of[f"{node.key}.{prefix}{role}"].reshape(4, units, -1)
                for role in ("recurrent_weight", "weight", "bias")
            ]
            for of in (plan.weights, plan.gradients)
        )
        # [U W b], gates as in _ORDER; with the rows of o, i, f halved; its gradient
        self._stacked, self._halved, self._dstacked = (
            aligned.empty((4, units, ends[-1]), plan.dtype) for _ in range(3)
        )
        self._halves = np.array([0.5, 0.5, 0.5, 1], plan.dtype)[:, None, None]

        self._met = plan.empty(steps + 1, ends[-1])  # (h, x, 1)
        self._met[:, -1] = 1
        self.states = self._met[1:, :units]
        self._gates = plan.empty(steps + 1, 5, units)  # o, i, f, g, and c of the step before
        self._squashed = plan.empty(steps, units)  # tanh c
        self._both = plan.empty(2, units)  # i g and f c
        self._way = list(self._views())

        # The slopes of h for c and for o's sum, and of c for those of i, f and g.
        self._slopes = plan.empty(_AT_ONCE, 5, units)
        self._dz = plan.empty(5, units)  # of all four sums, behind what h adds to dc
        self._dh, self._dc = plan.empty(units), plan.empty(units)
        self._all_dz, self._all_met = plan.empty(4 * units, steps), plan.empty(ends[-1], steps)
        self._dx = plan.empty(inputs, steps)

    def _views(self) -> Iterator[tuple[Array, ...]]:
        """Yield what `forward` reads and writes at each step."""
        for t, (gates, squashed) in enumerate(zip(self._gates, self._squashed, strict=False)):
            sums, c = _flat(gates[:4]), self._gates[t + 1, 4]
            yield self._met[t], sums, gates[:3], gates[1:3], gates[3:], c, squashed, gates[0]

    def forward(self) -> None:
        for part, weight in zip(self._parts, self._weights, strict=True):
            for gate, place in enumerate(_ORDER):
                np.copyto(self._stacked[gate, :, part], weight[place])
        np.multiply(self._stacked, self._halves, out=self._halved)
        np.copyto(self._met[:-1, self._parts[1]], self._x)
        self._met[0, : self._units], self._gates[0, 4] = 0, 0
        weight, both = _flat(self._halved), self._both
        for (met, sums, o_i_f, i_f, g_c, c, squashed, o), h in zip(
            self._way, self.states, strict=True
        ):
            np.matmul(weight, met, out=sums)
            np.tanh(sums, out=sums)
            np.add(o_i_f, 1, out=o_i_f)
            np.multiply(o_i_f, 0.5, out=o_i_f)
            np.multiply(i_f, g_c, out=both)
            np.add(both[0], both[1], out=c)
            np.tanh(c, out=squashed)
            np.multiply(o, squashed, out=h)

    def _find_slopes(self, at: slice) -> None:
        """For h = o tanh c and c = i g + f c₋₁: σ' = σ (1 - σ), tanh' = 1 - tanh²."""
        slopes = self._slopes[: at.stop - at.start]
        gates, squashed = self._gates[at], self._squashed[at]
        o_i_f, o_i, g, g_c = gates[:, :3], gates[:, :2], gates[:, 3], gates[:, 3:]
        of_tanh, of_sigmoid = slopes[:, ::4], slopes[:, 1:4]  # h for c, c for g; o, i, f
        np.multiply(squashed, squashed, out=slopes[:, 0])
        np.multiply(g, g, out=slopes[:, 4])
        np.subtract(1, of_tanh, out=of_tanh)
        np.multiply(of_tanh, o_i, out=of_tanh)
        np.subtract(1, o_i_f, out=of_sigmoid)
        np.multiply(of_sigmoid, o_i_f, out=of_sigmoid)
        np.multiply(slopes[:, 1], squashed, out=slopes[:, 1])
        np.multiply(slopes[:, 2:4], g_c, out=slopes[:, 2:4])

    def backward(self, dy: Array) -> Array | None:
        """Take the gradient of all states, or without `return_sequences` of the last."""
        steps, sequences = len(self._x), self._node.layer.return_sequences
        dh, dc, dz, flat_dz = self._dh, self._dc, self._dz, _flat(self._dz[1:])
        recurrent = _flat(self._stacked)[:, : self._units].T
        np.copyto(dh, 0 if sequences else dy)
        dc.fill(0)
        for start in reversed(range(0, steps, _AT_ONCE)):
            at = slice(start, min(start + _AT_ONCE, steps))
            self._find_slopes(at)
            for t in reversed(range(at.start, at.stop)):
                slopes = self._slopes[t - start]
                if sequences:
                    np.add(dh, dy[t], out=dh)
                np.multiply(dh, slopes[:2], out=dz[:2])
                np.add(dc, dz[0], out=dc)
                np.multiply(dc, slopes[2:], out=dz[2:])
                np.multiply(dc, self._gates[t, 2], out=dc)
                np.matmul(recurrent, flat_dz, out=dh)
                np.copyto(self._all_dz[:, t], flat_dz)
        return self._finish_back()

    def _finish_back(self) -> Array | None:
        """Write the weights' gradients and return that of x, all steps in one product."""
        all_dz, all_met = _rows(self._all_dz), _rows(self._all_met)
        np.copyto(self._all_met, self._met[:-1].swapaxes(0, 1))
        np.matmul(all_dz, all_met.T, out=_flat(self._dstacked))
        for part, gradient in zip(self._parts, self._gradients, strict=True):
            for gate, place in enumerate(_ORDER):
                np.copyto(gradient[place], self._dstacked[gate, :, part])
        if not self._node.needs_input_gradient:
            return None
        weight = _flat(self._stacked)[:, self._parts[1]]
        np.matmul(weight.T, all_dz, out=_rows(self._dx))
        return self._dx.swapaxes(0, 1)


def _flat(gates: Array) -> Array:
    """[4, H, K] -> [4 H, K]: a view."""
    return gates.reshape(-1, gates.shape[-1])


def _rows(a: Array) -> Array:
    """[D, T, N] -> [D, T N]: a view."""
    return a.reshape(len(a), -1)
