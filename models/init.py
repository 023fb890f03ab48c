"""Seeded randomness: every draw comes from a stream of its own, named by (seed, purpose, name).

The parent process draws; workers receive arrays. Adding a layer shifts no other layer's draw.
"""

from __future__ import annotations

import hashlib

import numpy as np

from .layers import Dropout
from .model import Model


def stream(seed: int, purpose: str, name: str = "") -> np.random.Generator:
    """Return the generator of one stream: Philox (Salmon et al. 2011), keyed by a SHA-256."""
    digest = hashlib.sha256(f"{seed}/{purpose}/{name}".encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))


def initial_weights(model: Model, seed: int, dtype: str) -> dict[str, np.ndarray]:
    """Draw every weight of a model, by canonical name and in canonical layout.

    Drawn in float64 and rounded to float32 whatever `dtype` is, so that a float32 and a float64
    job of one seed start from the same point.
    """
    return {
        name: spec.initializer.draw(stream(seed, "weights", name), spec)
        .astype(np.float32)
        .astype(dtype)
        for name, spec in model.weights.items()
    }


def batch_order(samples: int, *, batch_size: int, epochs: int, seed: int) -> np.ndarray:
    """Return which samples enter which batch: int64 [epochs, batches, batch_size].

    Each epoch is a fresh permutation cut into ⌊samples / batch_size⌋ full batches; the remainder
    sits out until a later epoch, so that every step does the same work in every framework.
    A batch size over `samples` stands for one batch of them all.
    """
    batch_size = min(batch_size, samples)
    batches = samples // batch_size
    rng = stream(seed, "order")
    epoch_orders = [rng.permutation(samples)[: batches * batch_size] for _ in range(epochs)]
    return np.stack(epoch_orders).reshape(epochs, batches, batch_size)


def dropout_masks(model: Model, batch_size: int, seed: int, step: int) -> dict[str, np.ndarray]:
    """Draw the keep-masks (bool, [batch_size, *shape]) of every dropout for one step."""
    return {
        node.key: stream(seed, f"dropout-{step}", node.key).random((batch_size, *node.output_shape))
        >= node.layer.rate
        for node in model.walk()
        if isinstance(node.layer, Dropout)
    }
