"""A model in Keras on TensorFlow: a step on a tape, and in a graph a loop over the steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from ....models import Model, layers
from ....models.shapes import pair
from ...blocks import stack
from ...contract import Execution, Masks, Weights
from ..lowered import NativeMasks, Tensor
from ..network import Network, channels_last


class _Batch(NamedTuple):
    x: Tensor
    y: Tensor
    masks: NativeMasks  # none: native dropout

    @property
    def shape(self) -> tuple[Any, ...]:
        """What a graph is traced for."""
        return self.x.shape[0], *self.masks


class _Rows(NamedTuple):
    """A batch that is still to be gathered, from a split that the device holds."""

    indices: Any
    x: Tensor
    y: Tensor

    @property
    def shape(self) -> tuple[Any, ...]:
        return _Rows, len(self.indices)

    def gathered(self) -> _Batch:
        return _Batch(tf.gather(self.x, self.indices), tf.gather(self.y, self.indices), {})


class Trainer:
    """See `contract.Trainer`."""

    def __init__(
        self, model: Model, weights: Weights, execution: Execution, state: Weights | None
    ) -> None:
        self._network = Network(model, weights, execution.dtype, state)
        self._dtype = execution.dtype
        on_cpu = execution.device == "cpu"
        self._copies_blocks = on_cpu and execution.mode == "compiled"
        self._tensors = [variable.value for variable in self._network.trained]
        self.weights, self.state = self._network.weights, self._network.state
        self._derive: Any = self._loss_and_gradients
        self._steps = self._eager_steps
        self._traced: list[Any] = []
        if execution.mode == "eager":
            self.split = self._split  # a compiled step is one call
        else:
            by_xla = on_cpu and _loops_over_time(model)
            self._derive = tf.function(self._derive, jit_compile=by_xla, autograph=False)
            # Another function in the loop would be put in its place by TensorFlow (2.21), in an
            # order of operators that differs from process to process: ConvNet, a tenth slower.
            compiled = tf.function(self._take_step, jit_compile=True, autograph=False)
            self._take_one = compiled if by_xla else self._take_step
            self._graph_loop = tf.function(self._loop, autograph=False)
            self._loops: dict[Any, Any] = {}  # one per shape of a batch
            self._steps = self._compiled_steps
            self.hold = self._hold  # by itself, a gather costs more than NumPy's
            self._traced = [self._derive, compiled, self._graph_loop]

    def stage(self, x: np.ndarray, y: np.ndarray, masks: Masks | None) -> _Batch:
        place = self._placed
        native = {key: place(mask.astype(self._dtype)) for key, mask in (masks or {}).items()}
        return _Batch(place(x), place(y), native)

    def _hold(self, x: np.ndarray, y: np.ndarray) -> Callable[[np.ndarray], list[_Rows]]:
        held = tf.convert_to_tensor(channels_last(x)), tf.convert_to_tensor(y)
        return lambda order: [_Rows(rows, *held) for rows in order]

    def train(self, batches: Iterable[_Batch | _Rows]) -> np.ndarray:
        batches = list(batches)
        losses = self._steps(batches, self._network.rates(len(batches)))
        tf.test.experimental.sync_devices()
        return losses.numpy()

    def gradients(self, batch: _Batch) -> tuple[float, Weights]:
        with self._network.kept_as_they_are():
            loss, gradients = self._derive(batch)
        return float(loss), self._network.by_name(gradients)

    def activations(self, batch: _Batch) -> dict[str, np.ndarray]:
        return self._network.outputs(batch.x, batch.masks)

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self._network.predict(tf.convert_to_tensor(self._placed(x))).numpy()

    def _split(self, batch: _Batch) -> dict[str, float]:
        began = _now()
        tape, loss = self._record(batch)
        forward = _now()
        gradients = self._gradients(tape, loss)
        backward = _now()
        self._update(gradients, *self._network.rates(1))
        return {
            "forward": forward - began,
            "backward": backward - forward,
            "update": _now() - backward,
        }

    def compilations(self) -> int:
        return sum(function.experimental_get_tracing_count() for function in self._traced)

    def _record(self, batch: _Batch) -> tuple[tf.GradientTape, Tensor]:
        with tf.GradientTape() as tape:
            loss = self._network.mean_loss(*batch)
        return tape, loss

    def _gradients(self, tape: tf.GradientTape, loss: Tensor) -> list[Tensor]:
        gradients = tape.gradient(loss, self._tensors)
        # An embedding's rows come apart: an optimizer of Keras (3.15) would square each for itself.
        return [tf.convert_to_tensor(gradient) for gradient in gradients]

    def _update(self, gradients: list[Tensor], rate: float | Tensor) -> None:
        optimizer = self._network.optimizer
        optimizer.learning_rate.value.assign(rate)
        optimizer.apply(self._network.clip_and_decay(gradients, self._tensors))

    def _loss_and_gradients(self, batch: _Batch) -> tuple[Tensor, list[Tensor]]:
        tape, loss = self._record(batch)
        return loss, self._gradients(tape, loss)

    def _take_step(self, batch: _Batch | _Rows, rate: float | Tensor) -> Tensor:
        batch = batch.gathered() if isinstance(batch, _Rows) else batch
        loss, gradients = self._loss_and_gradients(batch)
        self._update(gradients, rate)
        return loss

    def _eager_steps(self, batches: Sequence[_Batch | _Rows], rates: list[float]) -> Tensor:
        return tf.stack([self._take_step(*pair) for pair in zip(batches, rates, strict=True)])

    def _compiled_steps(self, batches: Sequence[_Batch | _Rows], rates: list[float]) -> Tensor:
        """Take the steps in one call per run of equal shapes: a call costs as a small step."""
        losses: list[Tensor] = []
        left = list(rates)
        for shape, group in groupby(batches, lambda batch: batch.shape):
            run = list(group)
            block = self._block(run)
            if shape not in self._loops:
                self._loops[shape] = self._traced_loop(block)
            of_run, left = left[: len(run)], left[len(run) :]
            losses.append(self._loops[shape](block, tf.constant(of_run, self._dtype)))
        return tf.concat(losses, 0)

    def _block(self, run: Sequence[Any]) -> _Batch | _Rows:  # all of one kind
        first = run[0]
        if isinstance(first, _Rows):
            return first._replace(indices=tf.constant(np.stack([rows.indices for rows in run])))
        return _Batch(
            self._stacked([batch.x for batch in run]),
            self._stacked([batch.y for batch in run]),
            {key: self._stacked([batch.masks[key] for batch in run]) for key in first.masks},
        )

    def _traced_loop(self, block: _Batch | _Rows) -> Callable[[_Batch | _Rows, Tensor], Tensor]:
        """Trace for any number of steps, so that no later block is traced and timed anew."""
        spec = tf.nest.map_structure(lambda t: tf.TensorSpec([None, *t.shape[1:]], t.dtype), block)
        return self._graph_loop.get_concrete_function(spec, tf.TensorSpec([None], self._dtype))

    def _loop(self, block: _Batch | _Rows, rates: Tensor) -> Tensor:
        rows = block if isinstance(block, _Rows) else None

        def take(step: tuple[Any, Tensor]) -> Tensor:
            batch, rate = step
            return self._take_one(rows._replace(indices=batch) if rows else batch, rate)

        options = {"parallel_iterations": 1, "fn_output_signature": self._dtype}
        return tf.map_fn(take, (rows.indices if rows else block, rates), **options)

    def _placed(self, array: np.ndarray) -> Tensor | np.ndarray:
        """Return an array on the device; what a compiled loop will copy on the CPU stays there."""
        array = channels_last(array)
        return array if self._copies_blocks else tf.convert_to_tensor(array)

    def _stacked(self, parts: list[Any]) -> Tensor:
        if not self._copies_blocks:
            return tf.stack(parts)
        # TensorFlow's own ways (2.21) copy thrice.
        return tf.experimental.dlpack.from_dlpack(stack(parts).__dlpack__())


def _loops_over_time(model: Model) -> bool:
    """Say whether XLA is the faster: on a CPU TensorFlow (2.21) has kernels for all but recurrence.

    XLA refuses a pool with explicit padding.
    """
    specs = [node.layer for node in model.walk()]
    padded = any(isinstance(spec, layers.MaxPool2D) and any(pair(spec.padding)) for spec in specs)
    recurrent = layers.SimpleRNN | layers.LSTM | layers.GRU
    return not padded and any(isinstance(spec, recurrent) for spec in specs)


def _now() -> float:
    """Return the time when all that was asked of the device is done."""
    tf.test.experimental.sync_devices()
    return perf_counter()
