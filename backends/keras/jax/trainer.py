"""A model in Keras on JAX: steps without state, op by op, or jitted, and many in one scan where
that is faster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import keras
import numpy as np
from jax import lax
from jax import numpy as jnp

from ....models import Model, layers
from ...blocks import stack
from ...contract import Execution, Masks, Weights
from ..lowered import NativeMasks, Tensor
from ..network import Network, channels_last


class _Batch(NamedTuple):
    x: Tensor
    y: Tensor
    masks: NativeMasks  # none: native dropout

    @property
    def length(self) -> int:
        return len(self.x)


class _Rows(NamedTuple):
    """A batch that is still to be gathered, from a split that the device holds."""

    indices: Tensor
    x: Tensor
    y: Tensor

    @property
    def length(self) -> int:
        return len(self.indices)

    def gathered(self) -> _Batch:
        return _Batch(self.x[self.indices], self.y[self.indices], {})


class _State(NamedTuple):
    """The values of all variables, which a step replaces."""

    weights: list[Tensor]
    kept: list[Tensor]
    optimizer: list[Tensor]


@jax.jit  # type: ignore[untyped-decorator]
def _stack(*arrays: Tensor) -> Tensor:
    return jnp.stack(arrays)


class Trainer:
    """See `contract.Trainer`."""

    def __init__(
        self, model: Model, weights: Weights, execution: Execution, state: Weights | None
    ) -> None:
        self._network = Network(model, weights, execution.dtype, state)
        self._dtype = execution.dtype
        self._on_cpu = execution.device == "cpu"
        self.weights, self.state = self._network.weights, self._network.state
        optimizer = self._network.optimizer
        self._variables = _State(
            self._network.trained, self._network.kept, list(optimizer.variables)
        )
        self._rate_at = self._variables.optimizer.index(optimizer.learning_rate)
        self._loss_and_gradients = jax.value_and_grad(self._mean_loss, has_aux=True)
        self._take_step, self._take_steps = self._step, self._loop
        self._forward = self._network.predict
        self._is_compiled = execution.mode == "compiled"
        if self._is_compiled:
            self._compile(model)

    def stage(self, x: np.ndarray, y: np.ndarray, masks: Masks | None) -> _Batch:
        native = {key: self._tensor(m.astype(self._dtype)) for key, m in (masks or {}).items()}
        return _Batch(self._tensor(x), self._tensor(y), native)

    def _hold(self, x: np.ndarray, y: np.ndarray) -> Callable[[np.ndarray], list[_Rows]]:
        held = jax.device_put((np.ascontiguousarray(channels_last(x)), y))
        return lambda order: [_Rows(rows, *held) for rows in order.astype(np.int32)]

    def train(self, batches: Iterable[_Batch | _Rows]) -> np.ndarray:
        batches = list(batches)
        alike = len({batch.length for batch in batches}) == 1
        take_steps = self._take_steps if alike else self._loop
        rates = np.array(self._network.rates(len(batches)), self._dtype)
        state = _State(*([v.value for v in variables] for variables in self._variables))
        state, losses = take_steps(state, rates, batches)
        jax.block_until_ready(state)
        for variables, values in zip(self._variables, state, strict=True):
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)
        # Of a list, it asks for all before it waits for one; for a single array it takes longer.
        return np.array(jax.device_get(losses) if isinstance(losses, list) else losses)

    def compilations(self) -> int:
        return len(compilation_events())

    def gradients(self, batch: _Batch) -> tuple[float, Weights]:
        weights, kept, _ = ([v.value for v in variables] for variables in self._variables)
        (loss, _), gradients = self._loss_and_gradients(weights, kept, batch)
        return float(loss), self._network.by_name(gradients)

    def activations(self, batch: _Batch) -> dict[str, np.ndarray]:
        return self._network.outputs(batch.x, batch.masks)

    def predict(self, x: np.ndarray) -> np.ndarray:
        return np.array(self._forward(self._tensor(x)))

    def _compile(self, model: Model) -> None:
        self._loss_and_gradients = jax.jit(self._loss_and_gradients)
        self._take_step = jax.jit(self._step, donate_argnums=0)
        forward = jax.jit(self._predict)
        self._forward = lambda x: forward(*([v.value for v in vs] for vs in self._variables[:2]), x)
        # XLA's CPU convolutions (0.10) are 4 to 25 times slower inside a scan.
        convolutions = layers.Conv1D | layers.Conv2D | layers.ConvTranspose2D
        if not any(isinstance(node.layer, convolutions) for node in model.walk()):
            scan = jax.jit(self._scan, donate_argnums=0)
            self._take_steps = partial(self._stack_and_scan, scan)
            self.hold = self._hold  # step by step, a gather costs more than NumPy's

    def _scope(self, weights: list[Tensor], kept: list[Tensor]) -> keras.StatelessScope:
        variables = [*self._variables.weights, *self._variables.kept]
        return keras.StatelessScope(list(zip(variables, [*weights, *kept], strict=True)))

    def _predict(self, weights: list[Tensor], kept: list[Tensor], x: Tensor) -> Tensor:
        with self._scope(weights, kept):
            return self._network.predict(x)

    def _mean_loss(
        self, weights: list[Tensor], kept: list[Tensor], batch: _Batch
    ) -> tuple[Tensor, list[Tensor]]:
        with self._scope(weights, kept) as scope:
            loss = self._network.mean_loss(*batch)
            return loss, [scope.get_current_value(v) for v in self._variables.kept]

    def _step(self, state: _State, rate: Tensor, batch: _Batch | _Rows) -> tuple[_State, Tensor]:
        weights, kept, slots = state
        batch = batch.gathered() if isinstance(batch, _Rows) else batch
        differentiate = jax.value_and_grad(self._mean_loss, has_aux=True)
        (loss, kept), gradients = differentiate(weights, kept, batch)
        gradients = self._network.clip_and_decay(gradients, weights)
        slots = [rate if at == self._rate_at else slot for at, slot in enumerate(slots)]
        optimizer = self._network.optimizer
        weights, slots = optimizer.stateless_apply(slots, gradients, weights)
        return _State(list(weights), kept, list(slots)), loss

    def _loop(
        self, state: _State, rates: np.ndarray, batches: Sequence[_Batch | _Rows]
    ) -> tuple[_State, list[Tensor]]:
        losses = []
        for rate, batch in zip(rates, batches, strict=True):
            state, loss = self._take_step(state, rate, batch)
            losses.append(loss)
        return state, losses

    def _stack_and_scan(
        self,
        scan: Callable[..., Any],
        state: _State,
        rates: np.ndarray,
        batches: Sequence[Any],  # all of one kind
    ) -> tuple[_State, Tensor]:
        first = batches[0]
        if isinstance(first, _Rows):
            indices = np.stack([batch.indices for batch in batches])
            return scan(state, rates, first._replace(indices=indices))
        stacked = jax.tree.map(lambda *a: stack(a) if self._on_cpu else _stack(*a), *batches)
        return scan(state, rates, stacked)

    def _scan(self, state: _State, rates: Tensor, block: _Batch | _Rows) -> tuple[_State, Tensor]:
        rows = block if isinstance(block, _Rows) else None

        def take(now: tuple[_State, Tensor], given: tuple[Tensor, Any]) -> tuple[Any, Tensor]:
            # The rate is in the loop's state: XLA (0.10) would look it up for every element moved.
            (state, rate), (following, batch) = now, given
            batch = rows._replace(indices=batch) if rows else batch
            state, loss = self._step(state, rate, batch)
            return (state, following), loss

        steps = jnp.roll(rates, -1), rows.indices if rows else block
        (state, _), losses = lax.scan(take, (state, rates[0]), steps)
        return state, losses

    def _tensor(self, array: np.ndarray) -> Tensor:
        native = np.ascontiguousarray(channels_last(array))
        # A CPU step takes NumPy arrays over faster than `device_put` does (0.10).
        return native if self._on_cpu and self._is_compiled else jax.device_put(native)


@cache
def compilation_events() -> list[str]:
    """Return the list that gets an entry for each compilation from the first call on."""
    events: list[str] = []

    def listen(event: str, seconds: float, **_: Any) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            events.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    return events
