"""A model lowered to Keras: its layers, loss, optimizer, and all variables by their names here.

What steps are and where batches lie is the engine's: its trainer holds one of these.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import keras
import numpy as np

from ...models import Model, layers
from ...models.layers.attention import ROLES as ATTENTION_ROLES
from ...models.layers.recurrent import DIRECTIONS
from ...models.shapes import Shape
from ..contract import (
    Axes,
    DType,
    Layout,
    Weights,
    native_axes,
    starting_state,
    to_canonical,
    to_native,
)
from .engine import own
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

_to_numpy = own("operators").to_numpy


class Network:
    """`trained` are the variables that the optimizer moves, each once; `kept` the others: running
    statistics, and the states of what draws dropout's masks.
    """

    def __init__(self, model: Model, weights: Weights, dtype: DType, state: Weights | None) -> None:
        slots, self.step = starting_state(model, weights, state)
        self._model = model
        self._axes = native_axes(LAYOUT, model)
        self._call, self._places = lower(model.nodes, dtype)
        trained = {id(v): v for v in (self._places[name].variable for name in model.trainable)}
        self._order = {key: index for index, key in enumerate(trained)}
        self.trained = list(trained.values())
        others = (place.variable for place in self._places.values())
        self.kept = [variable for variable in others if id(variable) not in trained]
        self._loss = LOSSES[type(model.loss)](model.loss, dtype)
        make_optimizer = OPTIMIZERS[type(model.optimizer)]
        self.optimizer, by_slot = make_optimizer(model.optimizer, self.trained)
        self._slots = {
            f"{name}.{slot}": (name, native.variables[self._index(name)], native.unit)
            for slot, native in by_slot.items()
            for name in model.trainable
        }
        self._load(weights, slots)

    def mean_loss(self, x: Tensor, y: Tensor, masks: NativeMasks) -> Tensor:
        return self._loss(y, self._call(x, Pass(training=True, masks=masks, outputs={})))

    def predict(self, x: Tensor) -> Tensor:
        return self._call(x, Pass(training=False, masks={}, outputs={}))

    def outputs(self, x: Tensor, masks: NativeMasks) -> dict[str, np.ndarray]:
        """Return every layer's output in training, in canonical layout."""
        run = Pass(training=True, masks=masks, outputs={})
        with self.kept_as_they_are():
            self._call(x, run)
        shapes = {node.key: node.output_shape for node in self._model.walk()}
        return {key: _canonical(y).reshape(-1, *shapes[key]) for key, y in run.outputs.items()}

    def rates(self, steps: int) -> list[float]:
        """Return the learning rates of the next steps, and count them as taken."""
        first, self.step = self.step, self.step + steps
        return [self._model.optimizer.rate(step) for step in range(first, self.step)]

    def clip_and_decay(self, gradients: list[Tensor], variables: list[Tensor]) -> list[Tensor]:
        return clip_and_decay(self._model.optimizer, gradients, variables)

    def weights(self) -> Weights:
        names = self._model.weights
        return {name: self._array(name, self._places[name].variable.value) for name in names}

    def state(self) -> Weights:
        slots = {
            key: self._array(name, variable.value / unit)
            for key, (name, variable, unit) in self._slots.items()
        }
        return slots | {"step": np.array(self.step)}

    def by_name(self, gradients: Sequence[Tensor]) -> Weights:
        """Return the gradients of `trained` by the names of the weights."""
        names = self._model.trainable
        return {name: self._array(name, gradients[self._index(name)]) for name in names}

    @contextmanager
    def kept_as_they_are(self) -> Iterator[None]:
        """Put what a pass in training moves back as it was."""
        before = [np.array(_to_numpy(variable.value)) for variable in self.kept]
        yield
        for variable, old in zip(self.kept, before, strict=True):
            variable.assign(old)

    def _load(self, weights: Weights, slots: Weights) -> None:
        for name in self._model.weights:
            self._copy(weights[name], name, self._places[name].variable)
        for key, (name, variable, unit) in self._slots.items():
            self._copy(slots[key] * unit, name, variable)
        self.optimizer.iterations.assign(self.step)

    def _copy(self, array: np.ndarray, name: str, variable: keras.Variable) -> None:
        """Put a canonical array, of the weight `name` or of its slot, where it lies natively."""
        place, whole = self._places[name], np.array(_to_numpy(variable.value))
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

    def _array(self, name: str, tensor: Tensor) -> np.ndarray:
        """Copy a native weight, its gradient or its slot, whose memory is the engine's."""
        place = self._places[name]
        shape, axes = self._layout(name)
        native = _to_numpy(tensor)[place.part]
        native = native.reshape([shape[axis] for axis in axes])
        array = to_canonical(native, axes).reshape(self._model.weights[name].shape)
        return np.array(_swap_gates(array) if place.swapped else array, order="C")


def channels_last(array: np.ndarray) -> np.ndarray:
    return array.transpose(0, 2, 3, 1) if array.ndim == 4 else array


def _swap_gates(array: np.ndarray) -> np.ndarray:
    """Exchange the first two of a GRU's three blocks of rows."""
    first, second, third = np.split(array, 3)
    return np.concatenate([second, first, third])


def _canonical(output: Tensor) -> np.ndarray:
    array = _to_numpy(output)
    return np.array(array.transpose(0, 3, 1, 2) if array.ndim == 4 else array, order="C")
