"""The cells of the recurrent layers, and the scans that take them through the time steps."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
from jax import lax
from jax import numpy as jnp

from .arrays import Array, Arrays

Carry = tuple[Array, Array]  # h, and an LSTM's c
Cell = Callable[[Carry, Array, Arrays], Carry]


# Both jitted: a scan outside of jit (0.10) is compiled anew on every call, 200 ms. Two, because XLA
# keeps all states even where nobody asks for them: two per cent of an LSTM's step.


@partial(jax.jit, static_argnames=("cell", "reverse"))
def all_states(cell: Cell, x: Array, weights: Arrays, *, reverse: bool) -> Array:
    """Return the state after every step, [N, T, units]."""

    def step(carry: Carry, z: Array) -> tuple[Carry, Array]:
        carry = cell(carry, z, weights)
        return carry, carry[0]

    _, states = lax.scan(step, *_start(x, weights), reverse=reverse)
    return states.swapaxes(0, 1)


@partial(jax.jit, static_argnames=("cell", "reverse"))
def last_state(cell: Cell, x: Array, weights: Arrays, *, reverse: bool) -> Array:
    """Return the state after the last step, [N, units]."""
    (last, _), _ = lax.scan(
        lambda c, z: (cell(c, z, weights), None), *_start(x, weights), reverse=reverse
    )
    return last


def _start(x: Array, weights: Arrays) -> tuple[Carry, Array]:
    """Return the carry of zeros, and what x gives to every step, [T, N, gates]."""
    zeros = jnp.zeros((len(x), len(weights["recurrent_weight"])), x.dtype)
    return (zeros, zeros), (x @ weights["weight"] + weights["bias"]).swapaxes(0, 1)


def tanh_cell(carry: Carry, z: Array, weights: Arrays) -> Carry:
    h, c = carry
    return jnp.tanh(z + h @ weights["recurrent_weight"]), c


def relu_cell(carry: Carry, z: Array, weights: Arrays) -> Carry:
    h, c = carry
    return jax.nn.relu(z + h @ weights["recurrent_weight"]), c


def lstm_cell(carry: Carry, z: Array, weights: Arrays) -> Carry:
    h, c = carry
    i, f, g, o = jnp.split(z + h @ weights["recurrent_weight"], 4, axis=-1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def gru_cell(carry: Carry, z: Array, weights: Arrays) -> Carry:
    h, c = carry
    again = h @ weights["recurrent_weight"] + weights["recurrent_bias"]
    (reset, update, new), (r, u, n) = (jnp.split(gates, 3, axis=-1) for gates in (z, again))
    keep = jax.nn.sigmoid(update + u)
    new = jnp.tanh(new + jax.nn.sigmoid(reset + r) * n)
    return (1 - keep) * new + keep * h, c
