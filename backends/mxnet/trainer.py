"""A model in Gluon: autograd, native blocks, hybridized with the loss where it is compiled."""

# ruff: noqa: N803  `F`, which is `nd` or, in a trace, `sym`, is Gluon's own name

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from time import perf_counter
from typing import Any, NamedTuple

import mxnet as mx
import numpy as np
from mxnet import autograd, gluon, nd
from mxnet.gluon import nn

from ...models import Model, layers
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
from . import float64
from .formulas import Tensor
from .layers import Pass, lower
from .losses import LOSSES
from .optimizers import OPTIMIZERS, clip

LAYOUT: Layout = {}  # MXNet's own order of axes is the canonical one


class _Batch(NamedTuple):
    x: Tensor
    y: Tensor
    scales: list[Tensor]  # the masks, divided by 1 - rate, in the order of the model


def _momenta(model: Model) -> dict[str, float]:
    """Return the momentum of every running statistic, by name."""
    return {
        name: node.layer.momentum
        for node in model.walk()
        if isinstance(node.layer, layers.BatchNorm)
        for name, spec in node.weights.items()
        if not spec.trainable
    }


class Trainer:
    """See `contract.Trainer`."""

    def __init__(
        self, model: Model, weights: Weights, execution: Execution, state: Weights | None
    ) -> None:
        slots, step = starting_state(model, weights, state)
        self._keys = [node.key for node in model.walk()]
        self._rates = {
            n.key: n.layer.rate for n in model.walk() if isinstance(n.layer, layers.Dropout)
        }
        self._slots = model.optimizer.slots()
        self._axes = native_axes(LAYOUT, model)
        kind, _, index = execution.device.partition(":")
        self._device = mx.cpu() if kind == "cpu" else mx.gpu(int(index or 0))
        self._dtype = execution.dtype
        self._compiled = execution.mode == "compiled"

        self._network, parameters = lower(model.nodes)
        self._network.cast(self._dtype)
        self._network.initialize(mx.init.Zero(), ctx=self._device)
        self._variables = {name: parameters[name] for name in model.weights}
        self._parameters = {name: parameters[name] for name in model.trainable}
        self._momenta = _momenta(model)
        for name, variable in self._variables.items():
            variable.set_data(self._native(name, weights[name]))
        native_slots = [
            tuple(self._native(name, slots[f"{name}.{slot}"]) for slot in self._slots)
            for name in self._parameters
        ]
        make_optimizer = OPTIMIZERS[type(model.optimizer)]
        self._optimizer = make_optimizer(model.optimizer, native_slots, step)
        units = self._optimizer.units if self._dtype == "float32" else (1.0,) * len(self._slots)
        self._units = dict(zip(self._slots, units, strict=False))
        for arrays in native_slots:
            for array, unit in zip(arrays, self._units.values(), strict=True):
                array *= unit
        self._clipped = bool(model.optimizer.clip_value or model.optimizer.clip_norm)
        parameters_in_order = list(self._parameters.values())
        self._trainer = gluon.Trainer(parameters_in_order, self._optimizer, kvstore=None)
        self._loss = LOSSES[type(model.loss)](model.loss)
        # One block with masks, one without: once hybridized, a block takes what it was traced on.
        self._mean_loss = {
            masked: self._as_one_block(self._forward_loss) for masked in (False, True)
        }
        self._logits = self._as_one_block(self._forward_logits)

    def stage(self, x: np.ndarray, y: np.ndarray, masks: Masks | None) -> _Batch:
        scales = [
            self._tensor(masks[key].astype(self._dtype) / (1 - rate))
            for key, rate in self._rates.items()
            if masks
        ]
        return _Batch(self._tensor(x), self._tensor(y), scales)

    def hold(self, x: np.ndarray, y: np.ndarray) -> Callable[[np.ndarray], Iterable[_Batch]]:
        images, labels = self._tensor(x), self._tensor(y)

        def gather(rows: Tensor) -> _Batch:
            return _Batch(images.take(rows), labels.take(rows), [])

        return lambda order: map(gather, self._tensor(order))

    def train(self, batches: Iterable[_Batch]) -> np.ndarray:
        losses = []
        for batch in batches:
            before = self._statistics() if self._dtype == "float64" else {}
            losses.append(self._backward(batch))
            if before:
                self._settle()
                float64.weigh_statistics(before, self._variables, self._momenta)
            self._take_step()
        nd.waitall()
        return np.concatenate([loss.asnumpy() for loss in losses])

    def split(self, batch: _Batch) -> dict[str, float]:
        began = _now()
        before = self._statistics() if self._dtype == "float64" else {}
        loss = self._forward(batch)
        forward = _now()
        loss.backward()
        if before:
            self._settle()
            float64.weigh_statistics(before, self._variables, self._momenta)
        backward = _now()
        self._take_step()
        return {
            "forward": forward - began,
            "backward": backward - forward,
            "update": _now() - backward,
        }

    def _take_step(self) -> None:
        if self._clipped:
            clip(self._optimizer.spec, [p.grad() for p in self._parameters.values()])
        self._trainer.step(1)

    def gradients(self, batch: _Batch) -> tuple[float, Weights]:
        before = self._statistics()
        loss = self._backward(batch)
        self._put_back(before)
        gradients = {name: self._array(name, p.grad()) for name, p in self._parameters.items()}
        return loss.asscalar().item(), gradients

    def activations(self, batch: _Batch) -> dict[str, np.ndarray]:
        before = self._statistics()
        with autograd.train_mode():
            arrays = self._as_one_block(self._forward_outputs)(batch.x, *batch.scales)
        self._put_back(before)
        return {key: array.asnumpy() for key, array in zip(self._keys, arrays, strict=True)}

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self._logits(self._tensor(x)).asnumpy()

    def weights(self) -> Weights:
        return {name: self._array(name, v.data()) for name, v in self._variables.items()}

    def state(self) -> Weights:
        slots = {
            f"{name}.{slot}": self._array(name, array / self._units[slot])
            for name, arrays in zip(self._parameters, self._optimizer.slots, strict=True)
            for slot, array in zip(self._slots, arrays, strict=True)
        }
        return slots | {"step": np.array(self._optimizer.num_update)}

    def _statistics(self) -> dict[str, Tensor]:
        """Return the running statistics as they are; the backward pass moves them."""
        before = {name: self._variables[name].data().copy() for name in self._momenta}
        self._settle()
        return before

    def _put_back(self, before: dict[str, Tensor]) -> None:
        self._settle()
        for name, old in before.items():
            self._variables[name].data()[:] = old

    def _settle(self) -> None:
        """Wait, for the engine is not told what a hybridized backward pass writes (MXNet 1.9.1)."""
        if self._momenta and self._compiled:
            nd.waitall()

    def _forward(self, batch: _Batch) -> Tensor:
        with autograd.record():
            return self._mean_loss[bool(batch.scales)](batch.x, batch.y, *batch.scales)

    def _backward(self, batch: _Batch) -> Tensor:
        loss = self._forward(batch)
        loss.backward()
        return loss

    def _forward_logits(self, F: Any, x: Tensor) -> Tensor:
        return self._network(x, Pass({}, None))

    def _forward_loss(self, F: Any, x: Tensor, y: Tensor, *scales: Tensor) -> Tensor:
        logits = self._network(x, Pass(dict(zip(self._rates, scales, strict=False)), None))
        return F.mean(self._loss(logits, y))

    def _forward_outputs(self, F: Any, x: Tensor, *scales: Tensor) -> list[Tensor]:
        outputs: dict[str, Tensor] = {}
        self._network(x, Pass(dict(zip(self._rates, scales, strict=False)), outputs))
        return list(outputs.values())

    def _as_one_block(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function of arrays around the network, as one hybridized block if compiled."""
        if not self._compiled:
            return partial(function, nd)
        block = nn.HybridLambda(function)
        block.register_child(self._network)
        block.hybridize(static_alloc=True, static_shape=True)
        return block

    def _tensor(self, array: np.ndarray) -> Tensor:
        """Return an array on the device; on the CPU it is the caller's memory: a copy is slow."""
        # A view, because MXNet makes what it is given read-only.
        return nd.from_numpy(array.view(), zero_copy=True).as_in_context(self._device)

    def _native(self, name: str, array: np.ndarray) -> Tensor:
        """Return a canonical array, of the weight `name` or of its slot, in MXNet's layout."""
        native = to_native(array, self._axes.get(name))
        return nd.array(native, ctx=self._device, dtype=self._dtype)

    def _array(self, name: str, array: Tensor) -> np.ndarray:
        return to_canonical(array.asnumpy(), self._axes.get(name)).copy(order="C")


def _now() -> float:
    """Return the time when all that was asked of the engine is done."""
    nd.waitall()
    return perf_counter()
