"""What replaces JAX's own in float64, by formula: attention alone.

`jax.nn.dot_product_attention` (0.10) takes its softmax in float32, whatever its inputs are.
"""

from __future__ import annotations

import jax
import numpy as np
from jax import numpy as jnp

from .arrays import Array


def attend(q: Array, k: Array, v: Array, *, is_causal: bool) -> Array:
    """softmax(q kᵀ / √d) v of [N, T, heads, d]."""
    scores = jnp.einsum("nthd,nshd->nhts", q, k) * q.shape[-1] ** -0.5
    if is_causal:
        scores = jnp.where(np.tri(q.shape[1], dtype=bool), scores, -np.inf)
    return jnp.einsum("nhts,nshd->nthd", jax.nn.softmax(scores), v)
