"""JAX by hand, with optax: op by op, or jitted. Images are channels-last, [N, H, W, C].

Compiled, a net without convolutions takes all its steps in one `scan` over data that stay on the
device; with convolutions, which XLA slows down inside a loop on the CPU, it is one call per step.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
import optax
from jax import Array, lax
from jax import numpy as jnp

Weights = dict[str, tuple[Array, Array]]  # of a layer: weight and bias
Network = tuple[Weights, Callable[[Weights, Array], Array], optax.GradientTransformation]

MODES: tuple[str, ...] = ("eager", "compiled")


def initial(**shapes: tuple[int, ...]) -> Weights:
    """Draw a weight of each shape, [*space, inputs, units], by He; biases are zero."""
    draw = jax.nn.initializers.he_normal()
    keys = jax.random.split(jax.random.key(0), len(shapes))
    return {
        name: (draw(key, shape, np.float32), jnp.zeros(shape[-1], np.float32))
        for (name, shape), key in zip(shapes.items(), keys, strict=True)
    }


def dense(x: Array, weight: Array, bias: Array) -> Array:
    return x @ weight + bias


def convolve(x: Array, weight: Array, bias: Array, padding: str) -> Array:
    axes = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, weight, (1, 1), padding, dimension_numbers=axes) + bias


def max_pool(x: Array) -> Array:
    """The maximum of each 2 × 2 window; `reduce_window` has a slow gradient on the CPU."""
    n, height, width, channels = x.shape
    height, width = height // 2, width // 2
    x = x[:, : 2 * height, : 2 * width]
    return x.reshape(n, height, 2, width, 2, channels).max(axis=(2, 4))


def mnist_mlp() -> Network:
    def forward(w: Weights, x: Array) -> Array:
        x = jax.nn.relu(dense(x.reshape(len(x), -1), *w["hidden1"]))
        x = jax.nn.relu(dense(x, *w["hidden2"]))
        return dense(x, *w["output"])

    weights = initial(hidden1=(784, 256), hidden2=(256, 128), output=(128, 10))
    return weights, forward, optax.sgd(0.03125, momentum=0.875)


def lenet5() -> Network:
    def forward(w: Weights, x: Array) -> Array:
        x = max_pool(jax.nn.relu(convolve(x, *w["conv1"], "SAME")))
        x = max_pool(jax.nn.relu(convolve(x, *w["conv2"], "VALID")))
        x = jax.nn.relu(dense(x.reshape(len(x), -1), *w["dense1"]))
        x = jax.nn.relu(dense(x, *w["dense2"]))
        return dense(x, *w["output"])

    weights = initial(
        conv1=(5, 5, 1, 6),
        conv2=(5, 5, 6, 16),
        dense1=(400, 120),
        dense2=(120, 84),
        output=(84, 10),
    )
    return weights, forward, optax.adam(0.0003662109375)


def convnet() -> Network:
    def forward(w: Weights, x: Array) -> Array:
        for name in ("conv1", "conv2", "conv3"):
            x = max_pool(jax.nn.relu(convolve(x, *w[name], "SAME")))
        x = jax.nn.relu(dense(x.reshape(len(x), -1), *w["dense1"]))
        return dense(x, *w["output"])

    weights = initial(
        conv1=(3, 3, 1, 32),
        conv2=(3, 3, 32, 64),
        conv3=(3, 3, 64, 128),
        dense1=(1152, 128),
        output=(128, 10),
    )
    return weights, forward, optax.adam(0.00048828125)


# A scan outside of jit would be compiled anew on every call.
@jax.jit  # type: ignore[untyped-decorator]
def lstm(x: Array, weight: Array, recurrent: Array, bias: Array) -> Array:
    """Return the state after the last step of x, [N, T, inputs]."""

    def step(carry: tuple[Array, Array], z: Array) -> tuple[tuple[Array, Array], None]:
        h, c = carry
        i, f, g, o = jnp.split(z + h @ recurrent, 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        return (jax.nn.sigmoid(o) * jnp.tanh(c), c), None

    zeros = jnp.zeros((len(x), len(recurrent)), x.dtype)
    (last, _), _ = lax.scan(step, (zeros, zeros), (x @ weight + bias).swapaxes(0, 1))
    return last


def mnist_rows_lstm() -> Network:
    def forward(w: Weights, x: Array) -> Array:
        (weight, bias), (recurrent, _) = w["rows"], w["recurrent"]
        return dense(lstm(x, weight, recurrent, bias), *w["output"])

    weights = initial(rows=(28, 256), recurrent=(64, 256), output=(64, 10))
    return weights, forward, optax.adam(0.0009765625)


WORKLOADS: dict[str, Callable[[], Network]] = {
    "mnist-mlp": mnist_mlp,
    "lenet5": lenet5,
    "convnet": convnet,
    "mnist-rows-lstm": mnist_rows_lstm,
}


def prepare(
    workload: str, x: np.ndarray, y: np.ndarray, *, mode: str, threads: int
) -> Callable[[np.ndarray], np.ndarray]:
    """Return `train(order)`: one step per row of indices into x and y; the losses before each.

    XLA takes its number of threads from the environment, when the process starts.
    """
    if workload == "mnist-rows-lstm":
        x = x.reshape(-1, 28, 28)  # an image is a sequence of its rows
    weights, forward, optimizer = WORKLOADS[workload]()
    if x.ndim == 4:
        x = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    y = y.astype(np.int32)

    def mean_loss(weights: Weights, inputs: Array, labels: Array) -> Array:
        logits = forward(weights, inputs)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    def step(state: Any, inputs: Array, labels: Array) -> tuple[Any, Array]:
        weights, slots = state
        loss, gradients = jax.value_and_grad(mean_loss)(weights, inputs, labels)
        updates, slots = optimizer.update(gradients, slots, weights)
        return (optax.apply_updates(weights, updates), slots), loss

    state = weights, optimizer.init(weights)
    if mode == "compiled" and "conv1" not in weights:
        return _scanned(step, state, jnp.asarray(x), jnp.asarray(y))
    return _looped(jax.jit(step, donate_argnums=0) if mode == "compiled" else step, state, x, y)


def _scanned(step: Any, state: Any, x: Array, y: Array) -> Callable[[np.ndarray], np.ndarray]:
    @partial(jax.jit, donate_argnums=0)
    def take_steps(state: Any, x: Array, y: Array, order: Array) -> tuple[Any, Array]:
        return lax.scan(lambda now, batch: step(now, x[batch], y[batch]), state, order)

    def train(order: np.ndarray) -> np.ndarray:
        nonlocal state
        state, losses = take_steps(state, x, y, order.astype(np.int32))
        jax.block_until_ready(state)
        return np.asarray(losses)

    return train


def _looped(
    step: Any, state: Any, x: np.ndarray, y: np.ndarray
) -> Callable[[np.ndarray], np.ndarray]:
    def train(order: np.ndarray) -> np.ndarray:
        nonlocal state
        losses = []
        for batch in order:
            state, loss = step(state, x.take(batch, 0), y.take(batch))
            losses.append(loss)
        jax.block_until_ready(state)
        return np.array(jax.device_get(losses))

    return train
