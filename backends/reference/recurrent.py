"""Recurrent layers: a scan over the steps in each direction, and one back."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...models import Node, layers
from ..contract import Weights
from . import functions
from .passes import Array, Backprop, Pass

_Recurrent = Node[layers.SimpleRNN] | Node[layers.LSTM] | Node[layers.GRU]
_Scan = Callable[[Array], tuple[Array, Weights]]  # d(states) -> dx, gradients by role


def simple_rnn(node: Node[layers.SimpleRNN], x: Array, run: Pass) -> tuple[Array, Backprop]:
    return _recurrent(node, x, run, _simple_rnn_pass)


def lstm(node: Node[layers.LSTM], x: Array, run: Pass) -> tuple[Array, Backprop]:
    return _recurrent(node, x, run, _lstm_pass)


def gru(node: Node[layers.GRU], x: Array, run: Pass) -> tuple[Array, Backprop]:
    return _recurrent(node, x, run, _gru_pass)


def _recurrent(
    node: _Recurrent, x: Array, run: Pass, scan: Callable[..., tuple[Array, _Scan]]
) -> tuple[Array, Backprop]:
    """Scan once for each direction; the backward one reads, and writes, from the end."""
    layer = node.layer
    passes = []
    for prefix in layer.directions:
        weights = {
            role.removeprefix(prefix): run.weight(node, role)
            for role in layer.weights(node.input_shape)
            if role.startswith("backward_") == bool(prefix)
        }
        passes.append((prefix, *scan(layer, x[:, ::-1] if prefix else x, weights)))
    if layer.return_sequences:
        y = [states[:, ::-1] if prefix else states for prefix, states, _ in passes]
    else:
        y = [states[:, -1] for _, states, _ in passes]

    def backprop(dy: Array) -> tuple[Array | None, Weights]:
        dx, gradients = np.zeros_like(x), dict[str, Array]()
        for (prefix, states, back), part in zip(
            passes, np.split(dy, len(passes), axis=-1), strict=True
        ):
            dstates = np.zeros_like(states)
            if layer.return_sequences:
                dstates += part[:, ::-1] if prefix else part
            else:
                dstates[:, -1] = part
            dinput, by_role = back(dstates)
            dx += dinput[:, ::-1] if prefix else dinput
            gradients |= {f"{node.key}.{prefix}{role}": g for role, g in by_role.items()}
        return dx, gradients

    return np.concatenate(y, axis=-1), backprop


def _simple_rnn_pass(layer: layers.SimpleRNN, x: Array, weights: Weights) -> tuple[Array, _Scan]:
    weight, recurrent = weights["weight"], weights["recurrent_weight"]
    inputs = x @ weight.T + weights["bias"]
    h = np.zeros_like(x, shape=(len(x), x.shape[1] + 1, layer.units))  # h[:, t + 1] follows x[:, t]
    for t in range(x.shape[1]):
        z = inputs[:, t] + h[:, t] @ recurrent.T
        h[:, t + 1] = np.tanh(z) if layer.activation == "tanh" else np.maximum(z, 0)

    def back(dstates: Array) -> tuple[Array, Weights]:
        dz, carried = np.empty_like(inputs), np.zeros_like(h[:, 0])
        for t in reversed(range(x.shape[1])):
            state, dh = h[:, t + 1], dstates[:, t] + carried
            dz[:, t] = dh * (1 - state * state if layer.activation == "tanh" else state > 0)
            carried = dz[:, t] @ recurrent
        return dz @ weight, _scan_gradients(dz, dz, x, h) | {"bias": dz.sum(axis=(0, 1))}

    return h[:, 1:], back


def _lstm_pass(layer: layers.LSTM, x: Array, weights: Weights) -> tuple[Array, _Scan]:
    weight, recurrent, steps = weights["weight"], weights["recurrent_weight"], x.shape[1]
    inputs = x @ weight.T + weights["bias"]
    h = np.zeros_like(x, shape=(len(x), steps + 1, layer.units))
    c = np.zeros_like(h)
    gates = np.empty_like(x, shape=(len(x), steps, 4, layer.units))
    for t in range(steps):
        z = (inputs[:, t] + h[:, t] @ recurrent.T).reshape(len(x), 4, -1)
        gates[:, t] = functions.sigmoid(z)
        gates[:, t, 2] = np.tanh(z[:, 2])
        i, f, g, o = gates[:, t].swapaxes(0, 1)
        c[:, t + 1] = f * c[:, t] + i * g
        h[:, t + 1] = o * np.tanh(c[:, t + 1])

    def back(dstates: Array) -> tuple[Array, Weights]:
        dz = np.empty_like(gates)
        dh, dc = np.zeros_like(h[:, 0]), np.zeros_like(c[:, 0])
        for t in reversed(range(steps)):
            i, f, g, o = gates[:, t].swapaxes(0, 1)
            squashed = np.tanh(c[:, t + 1])
            dh = dh + dstates[:, t]
            dc = dc + dh * o * (1 - squashed * squashed)
            dz[:, t, 0] = dc * g * i * (1 - i)
            dz[:, t, 1] = dc * c[:, t] * f * (1 - f)
            dz[:, t, 2] = dc * i * (1 - g * g)
            dz[:, t, 3] = dh * squashed * o * (1 - o)
            dh = dz[:, t].reshape(len(x), -1) @ recurrent
            dc = dc * f
        flat = dz.reshape(len(x), steps, -1)
        return flat @ weight, _scan_gradients(flat, flat, x, h) | {"bias": flat.sum(axis=(0, 1))}

    return h[:, 1:], back


def _gru_pass(layer: layers.GRU, x: Array, weights: Weights) -> tuple[Array, _Scan]:
    weight, recurrent, steps = weights["weight"], weights["recurrent_weight"], x.shape[1]
    inputs = (x @ weight.T + weights["bias"]).reshape(len(x), steps, 3, -1)
    h = np.zeros_like(x, shape=(len(x), steps + 1, layer.units))
    gates, recalled = np.empty_like(inputs), np.empty_like(h[:, 1:])
    for t in range(steps):
        a = (h[:, t] @ recurrent.T + weights["recurrent_bias"]).reshape(len(x), 3, -1)
        gates[:, t, :2] = functions.sigmoid(inputs[:, t, :2] + a[:, :2])
        r, z = gates[:, t, 0], gates[:, t, 1]
        recalled[:, t] = a[:, 2]
        gates[:, t, 2] = np.tanh(inputs[:, t, 2] + r * a[:, 2])
        h[:, t + 1] = (1 - z) * gates[:, t, 2] + z * h[:, t]

    def back(dstates: Array) -> tuple[Array, Weights]:
        dinputs, drecurrent = np.empty_like(gates), np.empty_like(gates)
        dh = np.zeros_like(h[:, 0])
        for t in reversed(range(steps)):
            r, z, n = gates[:, t].swapaxes(0, 1)
            dh = dh + dstates[:, t]
            dn = dh * (1 - z) * (1 - n * n)
            dinputs[:, t, 0] = dn * recalled[:, t] * r * (1 - r)
            dinputs[:, t, 1] = dh * (h[:, t] - n) * z * (1 - z)
            dinputs[:, t, 2] = dn
            drecurrent[:, t] = dinputs[:, t]
            drecurrent[:, t, 2] *= r
            dh = dh * z + drecurrent[:, t].reshape(len(x), -1) @ recurrent
        flat, flat_recurrent = (d.reshape(len(x), steps, -1) for d in (dinputs, drecurrent))
        gradients = _scan_gradients(flat, flat_recurrent, x, h)
        gradients["bias"] = flat.sum(axis=(0, 1))
        gradients["recurrent_bias"] = flat_recurrent.sum(axis=(0, 1))
        return flat @ weight, gradients

    return h[:, 1:], back


def _scan_gradients(dz: Array, drecurrent: Array, x: Array, h: Array) -> Weights:
    """Sum over all steps what x[t] and h[t-1] were multiplied with."""
    rows, rows_recurrent = (d.reshape(-1, d.shape[-1]) for d in (dz, drecurrent))
    return {
        "weight": rows.T @ x.reshape(-1, x.shape[-1]),
        "recurrent_weight": rows_recurrent.T @ h[:, :-1].reshape(-1, h.shape[-1]),
    }
