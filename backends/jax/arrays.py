"""What the layers and the trainer call an array, and the two orders of an image's axes."""

from __future__ import annotations

from typing import Any

Array = Any  # a jax.Array, or a NumPy one that JAX will take over
Arrays = dict[str, Array]


def channels_last(x: Array) -> Array:
    return x.transpose(0, 2, 3, 1) if x.ndim == 4 else x


def channels_first(x: Array) -> Array:
    return x.transpose(0, 3, 1, 2) if x.ndim == 4 else x
