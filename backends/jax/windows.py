"""Depthwise convolution and max pooling over slices of an image, one for each place in the kernel.

They replace XLA's own (`feature_group_count`, `reduce_window`), which are slow on the CPU, in both
precisions; `avg_pool2d` is made of the same slices.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp

from .arrays import Array


def slide(
    x: Array,
    kernel: tuple[int, ...],
    space: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
) -> Iterator[Array]:
    """Yield, for each place in the kernel, the part of x that it meets, [N, *space, C]."""
    lengths = [(n - 1) * s + 1 for n, s in zip(space, stride, strict=True)]
    for place in np.ndindex(*kernel):
        starts = [i * d for i, d in zip(place, dilation, strict=True)]
        stops = [start + length for start, length in zip(starts, lengths, strict=True)]
        ends = (len(x), *stops, x.shape[-1])
        yield lax.slice(x, (0, *starts, 0), ends, (1, *stride, 1))


def depthwise(
    x: Array,
    weight: Array,
    space: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
) -> Array:
    """Sum over the kernel's places: XLA's own (0.10) is 7 times slower on the CPU."""
    filters = weight.shape[-1]
    x = jnp.repeat(x, filters // x.shape[-1], axis=-1)
    windows = slide(x, weight.shape[:-2], space, stride, dilation)
    products = [w * x for w, x in zip(weight.reshape(-1, filters), windows, strict=True)]
    return sum(products[1:], start=products[0])


# Both jitted, as JAX's own functions are: ten operations would be a fifth of an eager LeNet's step.
# The gradient of `reduce_window` halves the speed of a whole step (0.10), that of `max` shares a
# tie among its equals; of these it goes to the first. Asking who equals the maximum would not do:
# XLA computes a window's numbers again where they are compared, and rounds them differently.


@partial(jax.jit, static_argnames=("kernel", "space", "stride"))
def max_of_windows(
    x: Array, kernel: tuple[int, ...], space: tuple[int, ...], stride: tuple[int, ...]
) -> Array:
    first, *others = slide(x, kernel, space, stride, (1, 1))
    for window in others:
        first = jnp.where(window > first, window, first)
    return first


@partial(jax.jit, static_argnames=("kernel", "space"))
def max_of_blocks(x: Array, kernel: tuple[int, ...], space: tuple[int, ...]) -> Array:
    """Where windows do not overlap, x is cut into them, which is faster with two threads."""
    (height, width), (rows, columns) = kernel, space
    inside = x[:, : rows * height, : columns * width]
    return _max_of_each(inside.reshape(len(x), rows, height, columns, width, -1))


@jax.custom_vjp  # type: ignore[untyped-decorator]
def _max_of_each(blocks: Array) -> Array:
    """[N, rows, height, columns, width, C] -> [N, rows, columns, C]."""
    return blocks.max(axis=(2, 4))


def _remember_blocks(blocks: Array) -> tuple[Array, Array]:
    return _max_of_each(blocks), blocks


def _give_to_the_first(blocks: Array, dy: Array) -> tuple[Array]:
    height, width = blocks.shape[2], blocks.shape[4]
    best, *others = (blocks[:, :, i, :, j] for i, j in np.ndindex(height, width))
    leads = [jnp.ones(dy.shape, bool)]  # larger than all before it
    for window in others:
        leads.append(window > best)
        best = jnp.maximum(best, window)
    shares: list[Array] = []
    led_later = jnp.zeros(dy.shape, bool)
    for lead in reversed(leads):  # the last to take the lead keeps it
        shares.insert(0, jnp.where(lead & ~led_later, dy, 0))
        led_later |= lead
    lines = [jnp.stack(shares[i : i + width], axis=3) for i in range(0, len(shares), width)]
    return (jnp.stack(lines, axis=2),)


_max_of_each.defvjp(_remember_blocks, _give_to_the_first)
