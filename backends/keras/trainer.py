"""A model in Keras: a tape, native layers and optimizers, and in a graph a loop over the steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from time import perf_counter
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from ...models import Model, layers
from ...models.layers.attention import ROLES as ATTENTION_ROLES
from ...models.layers.recurrent import DIRECTIONS
from ...models.shapes import Shape, pair
from ..blocks import stack
from ..contract import (
    Axes,
    Execution,
    Layout,
    Masks,
    Weights,
    native_axes,
    starting_state,
    to_canonical,
    to_native,
)
from .layers import lower
from .losses import LOSSES
from .lowered import NativeMasks, Pass, Tensor
from .optimizers import OPTIMIZERS, clip_and_decay

_KERNEL, _MATRIX = (2, 3, 1, 0), (1, 0)
LAYOUT: Layout = {
    (layers.Dense, "weight"): _MATRIX,
    (layers.Conv1D, "weight"): (2, 1, 0),
    (layers.Conv2D, "weight"): _KERNEL,
    (layers.ConvTranspose2D, "weight"): _KERNEL,
    **{
        (layer, f"{prefix}{role}"): _MATRIX
        for layer in (layers.SimpleRNN, layers.LSTM, layers.GRU)
        for prefix in DIRECTIONS
        for role in ("weight", "recurrent_weight")
    },
    **{(layers.MultiHeadAttention, role): _MATRIX for role in ATTENTION_ROLES},
}


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
        slots, self._step = starting_state(model, weights, state)
        self._model, self._dtype = model, execution.dtype
        on_cpu = execution.device == "cpu"
        self._copies_blocks = on_cpu and execution.mode == "compiled"
        self._axes = native_axes(LAYOUT, model)
        self._network, self._places = lower(model.nodes, self._dtype)
        trained = {id(v): v for v in (self._places[name].variable for name in model.trainable)}
        self._order = {key: index for index, key in enumerate(trained)}
        self._tensors = [variable.value for variable in trained.values()]
        self._loss = LOSSES[type(model.loss)](model.loss, self._dtype)
        make_optimizer = OPTIMIZERS[type(model.optimizer)]
        self._optimizer, by_slot = make_optimizer(model.optimizer, list(trained.values()))
        self._slots = {
            f"{name}.{slot}": (name, native.variables[self._index(name)], native.unit)
            for slot, native in by_slot.items()
            for name in model.trainable
        }
        self._load(weights, slots)
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
        x = x.transpose(0, 2, 3, 1) if x.ndim == 4 else x
        held = tf.convert_to_tensor(x), tf.convert_to_tensor(y)
        return lambda order: [_Rows(rows, *held) for rows in order]

    def train(self, batches: Iterable[_Batch | _Rows]) -> np.ndarray:
        batches = list(batches)
        steps = range(self._step, self._step + len(batches))
        losses = self._steps(batches, [self._model.optimizer.rate(step) for step in steps])
        self._step += len(batches)
        tf.test.experimental.sync_devices()
        return losses.numpy()

    def gradients(self, batch: _Batch) -> tuple[float, Weights]:
        with self._statistics_kept():
            loss, gradients = self._derive(batch)
        return float(loss), {
            name: self._array(name, gradients[self._index(name)]) for name in self._model.trainable
        }

    def activations(self, batch: _Batch) -> dict[str, np.ndarray]:
        run = Pass(training=True, masks=batch.masks, outputs={})
        with self._statistics_kept():
            self._network(batch.x, run)
        shapes = {node.key: node.output_shape for node in self._model.walk()}
        outputs = {key: _canonical(output) for key, output in run.outputs.items()}
        return {key: array.reshape(-1, *shapes[key]) for key, array in outputs.items()}

    def predict(self, x: np.ndarray) -> np.ndarray:
        run = Pass(training=False, masks={}, outputs={})
        return self._network(tf.convert_to_tensor(self._placed(x)), run).numpy()

    def weights(self) -> Weights:
        names = self._model.weights
        return {name: self._array(name, self._places[name].variable.value) for name in names}

    def state(self) -> Weights:
        slots = {
            key: self._array(name, variable.value / unit)
            for key, (name, variable, unit) in self._slots.items()
        }
        return slots | {"step": np.array(self._step)}

    def _split(self, batch: _Batch) -> dict[str, float]:
        began = _now()
        tape, loss = self._record(batch)
        forward = _now()
        gradients = self._gradients(tape, loss)
        backward = _now()
        self._update(gradients, self._model.optimizer.rate(self._step))
        self._step += 1
        return {
            "forward": forward - began,
            "backward": backward - forward,
            "update": _now() - backward,
        }

    def compilations(self) -> int:
        return sum(function.experimental_get_tracing_count() for function in self._traced)

    def _record(self, batch: _Batch) -> tuple[tf.GradientTape, Tensor]:
        run = Pass(training=True, masks=batch.masks, outputs={})
        with tf.GradientTape() as tape:
            loss = self._loss(batch.y, self._network(batch.x, run))
        return tape, loss

    def _gradients(self, tape: tf.GradientTape, loss: Tensor) -> list[Tensor]:
        gradients = tape.gradient(loss, self._tensors)
        # An embedding's rows come apart: an optimizer of Keras (3.15) would square each for itself.
        return [tf.convert_to_tensor(gradient) for gradient in gradients]

    def _update(self, gradients: list[Tensor], rate: float | Tensor) -> None:
        self._optimizer.learning_rate.value.assign(rate)
        self._optimizer.apply(clip_and_decay(self._model.optimizer, gradients, self._tensors))

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

    @contextmanager
    def _statistics_kept(self) -> Iterator[None]:
        """Put running statistics back as they were."""
        names = self._model.weights.keys() - self._model.trainable
        statistics = [self._places[name].variable.value for name in names]
        before = [tf.identity(value) for value in statistics]
        yield
        for value, old in zip(statistics, before, strict=True):
            value.assign(old)

    def _load(self, weights: Weights, slots: Weights) -> None:
        for name, place in self._places.items():
            self._copy(weights[name], name, place.variable)
        for key, (name, variable, unit) in self._slots.items():
            self._copy(slots[key] * unit, name, variable)
        self._optimizer.iterations.assign(self._step)

    def _copy(self, array: np.ndarray, name: str, variable: keras.Variable) -> None:
        """Put a canonical array, of the weight `name` or of its slot, where it lies natively."""
        place, whole = self._places[name], variable.value.numpy().copy()
        array = _swap_gates(array) if place.swapped else array
        shape, axes = self._layout(name)
        array = to_native(array.reshape(shape), axes)
        whole[place.part] = array.reshape(whole[place.part].shape)
        variable.assign(whole)

    def _layout(self, name: str) -> tuple[Shape, Axes]:
        """Return a weight's canonical shape, with the image's where it has one; and its axes."""
        shape = self._model.weights[name].shape
        if image := self._places[name].image:
            return (shape[0], *image), _KERNEL  # a convolution as large as the image
        return shape, self._axes.get(name) or tuple(range(len(shape)))

    def _index(self, name: str) -> int:
        """Return where the variable of a trainable weight stands among the optimizer's."""
        return self._order[id(self._places[name].variable)]

    def _placed(self, array: np.ndarray) -> Tensor | np.ndarray:
        """Return an array on the device; what a compiled loop will copy on the CPU stays there."""
        array = array.transpose(0, 2, 3, 1) if array.ndim == 4 else array
        return array if self._copies_blocks else tf.convert_to_tensor(array)

    def _stacked(self, parts: list[Any]) -> Tensor:
        if not self._copies_blocks:
            return tf.stack(parts)
        # TensorFlow's own ways (2.21) copy thrice.
        return tf.experimental.dlpack.from_dlpack(stack(parts).__dlpack__())

    def _array(self, name: str, tensor: Tensor) -> np.ndarray:
        """Copy a native weight, or its gradient or slot: `numpy()` shares TensorFlow's memory."""
        place = self._places[name]
        shape, axes = self._layout(name)
        native = tensor.numpy()[place.part].reshape([shape[axis] for axis in axes])
        array = to_canonical(native, axes).reshape(self._model.weights[name].shape)
        return np.array(_swap_gates(array) if place.swapped else array, order="C")


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


def _swap_gates(array: np.ndarray) -> np.ndarray:
    """Exchange the first two of a GRU's three blocks of rows."""
    first, second, third = np.split(array, 3)
    return np.concatenate([second, first, third])


def _canonical(output: Tensor) -> np.ndarray:
    array = np.asarray(output)
    return np.array(array.transpose(0, 3, 1, 2) if array.ndim == 4 else array, order="C")
