"""A model in JAX: op by op, or one jitted step, and many in one scan where that is faster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache, lru_cache, partial
from time import perf_counter
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from jax import lax
from jax import numpy as jnp

from ...models import Model, layers, optimizers
from ...models.layers.attention import ROLES
from ...models.layers.recurrent import DIRECTIONS
from ..blocks import stack
from ..contract import (
    Execution,
    Layout,
    Masks,
    Weights,
    native_axes,
    starting_state,
    to_canonical,
    to_native,
)
from .arrays import Array, Arrays, channels_first, channels_last
from .layers import Pass, sequence
from .losses import LOSSES
from .optimizers import OPTIMIZERS

LAYOUT: Layout = {
    (layers.Dense, "weight"): (1, 0),
    (layers.Conv1D, "weight"): (2, 1, 0),
    (layers.Conv2D, "weight"): (2, 3, 1, 0),
    (layers.ConvTranspose2D, "weight"): (2, 3, 1, 0),
    **{
        (layer, f"{prefix}{role}"): (1, 0)
        for layer in (layers.SimpleRNN, layers.LSTM, layers.GRU)
        for prefix in DIRECTIONS
        for role in ("weight", "recurrent_weight")
    },
    **{(layers.MultiHeadAttention, role): (1, 0) for role in ROLES},
}


class _Batch(NamedTuple):
    x: Array
    y: Array
    masks: Arrays | None

    @property
    def length(self) -> int:
        return len(self.x)


class _Rows(NamedTuple):
    """A batch that is still to be gathered, from a split that the device holds."""

    indices: Array
    x: Array
    y: Array

    @property
    def length(self) -> int:
        return len(self.indices)

    def gathered(self) -> _Batch:
        return _Batch(self.x[self.indices], self.y[self.indices], None)


@jax.jit  # type: ignore[untyped-decorator]
def _stack(*arrays: Array) -> Array:
    return jnp.stack(arrays)


class _State(NamedTuple):
    """What a step replaces."""

    weights: Arrays  # those that the optimizer moves
    statistics: Arrays
    optimizer: Any
    step: Array


class Trainer:
    """See `contract.Trainer`."""

    def __init__(
        self,
        model: Model,
        weights: Weights,
        execution: Execution,
        seed: int,
        state: Weights | None,
    ) -> None:
        slots, step = starting_state(model, weights, state)
        self._model, self._seed = model, seed
        self._on_cpu = execution.device == "cpu"
        self._axes = native_axes(LAYOUT, model)
        self._native, self._slots = OPTIMIZERS[type(model.optimizer)](model.optimizer)
        self._dtype, self._count = execution.dtype, step
        self._state = self._load(weights, slots, step)
        self._loss_and_gradients = jax.value_and_grad(self._mean_loss, has_aux=True)
        self._take_step, self._take_steps, self._forward = self._step, self._loop, self._run
        if execution.mode == "compiled":
            self._compile()
        else:
            self.split = self._split  # compiled, a step is one call: nothing can be told apart
            self._native = lru_cache(1)(self._native)  # a rate that stays makes it once
            # Counting is no work for the device: there it costs as much as any operation.
            self._state = self._state._replace(step=np.array(step, np.int32))

    def stage(self, x: np.ndarray, y: np.ndarray, masks: Masks | None) -> _Batch:
        native = masks and {key: self._tensor(mask) for key, mask in masks.items()}
        return _Batch(self._tensor(x), self._tensor(y), native)

    def _hold(self, x: np.ndarray, y: np.ndarray) -> Callable[[np.ndarray], list[_Rows]]:
        held = jax.device_put((np.ascontiguousarray(channels_last(x)), y))
        return lambda order: [_Rows(rows, *held) for rows in order.astype(np.int32)]

    def train(self, batches: Iterable[_Batch | _Rows]) -> np.ndarray:
        batches = list(batches)
        alike = len({batch.length for batch in batches}) == 1
        take_steps = self._take_steps if alike else self._loop
        steps = range(self._count, self._count + len(batches))
        rates = np.array([self._model.optimizer.rate(t) for t in steps], self._dtype)
        self._state, losses = take_steps(self._state, rates, batches)
        self._count = steps.stop
        jax.block_until_ready(self._state)
        # Of a list, it asks for all before it waits for one; for a single array it takes longer.
        return np.array(jax.device_get(losses) if isinstance(losses, list) else losses)

    def compilations(self) -> int:
        return len(compilation_events())

    def gradients(self, batch: _Batch) -> tuple[float, Weights]:
        weights, statistics, _, step = self._state
        (loss, _), gradients = self._loss_and_gradients(weights, statistics, step, batch)
        return float(loss), self._arrays(gradients)

    def activations(self, batch: _Batch) -> dict[str, np.ndarray]:
        weights, statistics, _, step = self._state
        _, outputs, _ = self._forward(
            weights | statistics, step, batch.x, batch.masks, training=True
        )
        return {key: np.array(channels_first(y), order="C") for key, y in outputs.items()}

    def predict(self, x: np.ndarray) -> np.ndarray:
        weights, statistics, _, step = self._state
        logits, *_ = self._forward(
            weights | statistics, step, self._tensor(x), None, training=False
        )
        return np.array(logits)

    def weights(self) -> Weights:
        arrays = self._arrays(self._state.weights | self._state.statistics)
        return {name: arrays[name] for name in self._model.weights}

    def state(self) -> Weights:
        slots: Weights = {}
        for slot, native in self._slots.items():
            arrays = self._arrays(optax.tree.get(self._state.optimizer, native))
            slots |= {f"{name}.{slot}": array for name, array in arrays.items()}
        return slots | {"step": np.array(self._state.step, np.int64)}

    def _compile(self) -> None:
        self._loss_and_gradients = jax.jit(self._loss_and_gradients)
        self._take_step = jax.jit(self._step, donate_argnums=0)
        self._forward = jax.jit(self._run, static_argnames="training")
        # XLA's CPU convolutions (0.10) are 4 to 25 times slower inside a scan.
        convolutions = layers.Conv1D | layers.Conv2D | layers.ConvTranspose2D
        if not any(isinstance(node.layer, convolutions) for node in self._model.walk()):
            scan = jax.jit(self._scan, donate_argnums=0)
            self._take_steps = partial(self._stack_and_scan, scan)
            self.hold = self._hold  # step by step, a gather costs more than NumPy's

    def _run(
        self, weights: Arrays, step: Array, x: Array, masks: Arrays | None, *, training: bool
    ) -> tuple[Array, Arrays, Arrays]:
        """Return the logits, every layer's output, and the statistics that moved."""
        run = Pass(weights, training, masks, self._seed, step, outputs={}, statistics={})
        return sequence(self._model.nodes, x, run), run.outputs, run.statistics

    def _mean_loss(
        self, weights: Arrays, statistics: Arrays, step: Array, batch: _Batch
    ) -> tuple[Array, Arrays]:
        logits, _, moved = self._run(
            weights | statistics, step, batch.x, batch.masks, training=True
        )
        return LOSSES[type(self._model.loss)](self._model.loss, logits, batch.y), moved

    def _step(self, state: _State, rate: Array, batch: _Batch | _Rows) -> tuple[_State, Array]:
        weights, statistics, optimizer, step = state
        batch = batch.gathered() if isinstance(batch, _Rows) else batch
        differentiate = jax.value_and_grad(self._mean_loss, has_aux=True)
        (loss, statistics), gradients = differentiate(weights, statistics, step, batch)
        updates, optimizer = self._native(rate).update(gradients, optimizer, weights)
        weights = optax.apply_updates(weights, updates)
        return _State(weights, statistics, optimizer, step + 1), loss

    def _split(self, batch: _Batch) -> dict[str, float]:
        weights, statistics, optimizer, step = self._state
        rate = np.array(self._model.optimizer.rate(self._count), self._dtype).item()
        began = perf_counter()
        loss, back, statistics = jax.block_until_ready(
            jax.vjp(
                lambda weights: self._mean_loss(weights, statistics, step, batch),
                weights,
                has_aux=True,
            )
        )
        forward = perf_counter()
        (gradients,) = jax.block_until_ready(back(jnp.ones_like(loss)))
        backward = perf_counter()
        updates, optimizer = self._native(rate).update(gradients, optimizer, weights)
        weights = optax.apply_updates(weights, updates)
        self._state = jax.block_until_ready(_State(weights, statistics, optimizer, step + 1))
        self._count += 1
        update = perf_counter()
        return {
            "forward": forward - began,
            "backward": backward - forward,
            "update": update - backward,
        }

    def _loop(
        self, state: _State, rates: np.ndarray, batches: Sequence[_Batch | _Rows]
    ) -> tuple[_State, list[Array]]:
        losses = []
        for rate, batch in zip(rates.tolist(), batches, strict=True):
            state, loss = self._take_step(state, rate, batch)
            losses.append(loss)
        return state, losses

    def _stack_and_scan(
        self,
        scan: Callable[..., Any],
        state: _State,
        rates: np.ndarray,
        batches: Sequence[Any],  # all of one kind
    ) -> tuple[_State, Array]:
        first = batches[0]
        if isinstance(first, _Rows):
            indices = np.stack([batch.indices for batch in batches])
            return scan(state, rates, first._replace(indices=indices))
        stacked = jax.tree.map(lambda *a: stack(a) if self._on_cpu else _stack(*a), *batches)
        return scan(state, rates, stacked)

    def _scan(self, state: _State, rates: Array, block: _Batch | _Rows) -> tuple[_State, Array]:
        rows = block if isinstance(block, _Rows) else None

        def take(now: tuple[_State, Array], given: tuple[Array, Any]) -> tuple[Any, Array]:
            # The rate is in the loop's state: XLA (0.10) would look it up for every element moved.
            (state, rate), (following, batch) = now, given
            batch = rows._replace(indices=batch) if rows else batch
            state, loss = self._step(state, rate, batch)
            return (state, following), loss

        steps = jnp.roll(rates, -1), rows.indices if rows else block
        (state, _), losses = lax.scan(take, (state, rates[0]), steps)
        return state, losses

    def _load(self, weights: Weights, slots: Weights, step: int) -> _State:
        native = {name: to_native(w, self._axes.get(name)) for name, w in weights.items()}
        trainable = {name: native[name] for name in self._model.trainable}
        statistics = {name: w for name, w in native.items() if name not in trainable}
        count = np.array(step, np.int32)
        counts = isinstance(self._model.optimizer, optimizers.Adam | optimizers.AdamW)
        known: Arrays = {"count": count} if counts else {}
        for slot, native_slot in self._slots.items():
            known[native_slot] = {
                name: to_native(slots[f"{name}.{slot}"], self._axes.get(name)) for name in trainable
            }
        state = self._native(np.array(0, self._dtype)).init(trainable)
        loaded = _State(trainable, statistics, optax.tree.set(state, **known), count)
        # A step overwrites what it is given: an alias would reach into the caller's arrays.
        return jax.device_put(loaded, may_alias=False)

    def _tensor(self, array: np.ndarray) -> Array:
        native = np.ascontiguousarray(channels_last(array))
        # A CPU step takes NumPy arrays over faster than `device_put` does (0.10).
        return native if self._on_cpu else jax.device_put(native)

    def _arrays(self, tensors: Arrays) -> Weights:
        """Copy native tensors, by the weights' names, into canonical arrays."""
        return {
            name: np.array(to_canonical(np.asarray(tensor), self._axes.get(name)), order="C")
            for name, tensor in tensors.items()
        }


@cache
def compilation_events() -> list[str]:
    """Return the list that gets an entry for each compilation from the first call on."""
    events: list[str] = []

    def listen(event: str, seconds: float, **_: Any) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            events.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    return events
