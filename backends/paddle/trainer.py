"""A model in Paddle: autograd, native layers and a native optimizer; images are NCHW."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import paddle
from paddle import Tensor, nn

from ...models import Model, layers
from ...models.layers.attention import ROLES
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
from .layers import NativeMasks, lower
from .losses import LOSSES, MeanLoss
from .optimizers import OPTIMIZERS

LAYOUT: Layout = {
    (layers.Dense, "weight"): (1, 0),
    **{(layers.MultiHeadAttention, role): (1, 0) for role in ROLES},
}


class _Batch(NamedTuple):
    x: Tensor
    y: Tensor
    masks: NativeMasks | None


class Trainer:
    """See `contract.Trainer`."""

    def __init__(
        self, model: Model, weights: Weights, execution: Execution, state: Weights | None
    ) -> None:
        slots, self._step = starting_state(model, weights, state)
        self._model = model
        self._device, self._dtype = execution.device, execution.dtype
        self._axes = native_axes(LAYOUT, model)
        self._rates = {
            node.key: node.layer.rate
            for node in model.walk()
            if isinstance(node.layer, layers.Dropout)
        }
        self._network, variables = lower(model.nodes)
        self._variables = {name: variables[name] for name in model.weights}
        self._parameters = {name: self._variables[name] for name in model.trainable}
        self._learning = [p for p in self._network.parameters() if not p.stop_gradient]
        self._mean_loss: Any = _NetworkAndLoss(self._network, LOSSES[type(model.loss)](model.loss))
        make_optimizer = OPTIMIZERS[type(model.optimizer)]
        self._optimizer, self._slots = make_optimizer(
            model.optimizer, list(self._parameters.values())
        )
        self._load(weights, slots)
        self._compiled = execution.mode == "compiled"
        if self._compiled:
            self._mean_loss = paddle.jit.to_static(self._mean_loss, full_graph=True)

    def stage(self, x: np.ndarray, y: np.ndarray, masks: Masks | None) -> _Batch:
        native = masks and {key: self._mask(key, mask) for key, mask in masks.items()}
        return _Batch(paddle.to_tensor(x), paddle.to_tensor(y), native)

    def hold(self, x: np.ndarray, y: np.ndarray) -> Callable[[np.ndarray], list[_Batch]]:
        # `to_tensor` copies, so that a batch that NumPy gathers is moved twice.
        images, labels = paddle.to_tensor(x), paddle.to_tensor(y)

        def gather(rows: Tensor) -> _Batch:
            return _Batch(paddle.gather(images, rows), paddle.gather(labels, rows), None)

        return lambda order: [gather(rows) for rows in map(paddle.to_tensor, order)]

    def train(self, batches: Iterable[_Batch]) -> np.ndarray:
        losses = []
        for batch in batches:
            loss = self._mean_loss(*batch)
            loss.backward()
            self._take_step()
            losses.append(loss.detach())
        result = paddle.stack(losses).numpy()
        self._synchronize()
        return result

    def split(self, batch: _Batch) -> dict[str, float]:
        began = self._now()
        loss = self._mean_loss(*batch)
        forward = self._now()
        loss.backward()
        backward = self._now()
        self._take_step()
        return {
            "forward": forward - began,
            "backward": backward - forward,
            "update": self._now() - backward,
        }

    def compilations(self) -> int:
        return len(self._mean_loss.forward.program_cache) if self._compiled else 0

    def _now(self) -> float:
        """Return the time when all that was asked of the device is done."""
        self._synchronize()
        return perf_counter()

    def _synchronize(self) -> None:
        if self._device != "cpu":
            paddle.device.synchronize()

    def _take_step(self) -> None:
        rate = self._model.optimizer.rate(self._step)
        if rate != self._optimizer.get_lr():
            self._optimizer.set_lr(rate)
        self._optimizer.step()
        self._forget_gradients()
        self._step += 1

    def _forget_gradients(self) -> None:
        for parameter in self._learning:  # the second biases of recurrent layers among them
            parameter.clear_gradient(False)

    def gradients(self, batch: _Batch) -> tuple[float, Weights]:
        with self._statistics_kept():
            loss = self._mean_loss(*batch)
            loss.backward()
        gradients = {name: self._array(name, p.grad) for name, p in self._parameters.items()}
        self._forget_gradients()
        return loss.item(), gradients

    def activations(self, batch: _Batch) -> dict[str, np.ndarray]:
        outputs: dict[str, np.ndarray] = {}

        def keep(module: nn.Layer, inputs: Any, output: Tensor) -> None:
            outputs[module.key] = output.numpy()

        keyed = [layer for layer in self._network.sublayers() if hasattr(layer, "key")]
        hooks = [layer.register_forward_post_hook(keep) for layer in keyed]
        try:
            with self._statistics_kept():
                self._network(batch.x, batch.masks)
        finally:
            for hook in hooks:
                hook.remove()
        return outputs

    def predict(self, x: np.ndarray) -> np.ndarray:
        self._network.eval()
        with paddle.no_grad():
            logits = self._network(paddle.to_tensor(x), None)
        self._network.train()
        return logits.numpy()

    def weights(self) -> Weights:
        return {name: self._array(name, v) for name, v in self._variables.items()}

    def state(self) -> Weights:
        slots = {
            f"{name}.{slot}": self._array(name, self._optimizer._get_accumulator(native, p))
            for name, p in self._parameters.items()
            for slot, native in self._slots.items()
        }
        return slots | {"step": np.array(self._step)}

    @contextmanager
    def _statistics_kept(self) -> Iterator[None]:
        """Put running statistics back as they were."""
        statistics = [v for name, v in self._variables.items() if name not in self._parameters]
        before = [value.clone() for value in statistics]
        yield
        for value, old in zip(statistics, before, strict=True):
            value.set_value(old)

    def _load(self, weights: Weights, slots: Weights) -> None:
        # Paddle makes the slots in its first step, unless asked for: then that step keeps them.
        block = paddle.static.default_main_program().global_block()
        self._optimizer._create_accumulators(block, list(self._parameters.values()))
        for name, variable in self._variables.items():
            self._copy(weights[name], name, variable)
        for name, parameter in self._parameters.items():
            for slot, native in self._slots.items():
                tensor = self._optimizer._get_accumulator(native, parameter)
                self._copy(slots[f"{name}.{slot}"], name, tensor)
            if isinstance(self._optimizer, paddle.optimizer.Adam | paddle.optimizer.AdamW):
                self._restore_powers(parameter)

    def _restore_powers(self, parameter: Tensor) -> None:
        """Set Adam's betas to the power step + 1 as its kernel does: by repeated products."""
        for native in ("beta1_pow_acc", "beta2_pow_acc"):
            power = self._optimizer._get_accumulator(native, parameter)
            factors = np.full(self._step + 1, power.item(), self._dtype)
            power.set_value(np.multiply.accumulate(factors)[-1:])

    def _copy(self, array: np.ndarray, name: str, tensor: Tensor) -> None:
        """Copy a canonical array, of the weight `name` or of its slot, into a native tensor."""
        native = to_native(array, self._axes.get(name))
        tensor.set_value(np.ascontiguousarray(native, self._dtype))

    def _mask(self, key: str, mask: np.ndarray) -> Tensor:
        return paddle.to_tensor(mask.astype(self._dtype) / (1 - self._rates[key]))

    def _array(self, name: str, tensor: Tensor) -> np.ndarray:
        canonical = to_canonical(tensor.numpy(), self._axes.get(name))
        return canonical.copy(order="C")


class _NetworkAndLoss(nn.Layer):
    """What is compiled: to_static takes the methods of a Layer only."""

    def __init__(self, network: nn.Layer, loss: MeanLoss) -> None:
        super().__init__()
        self._network, self._loss = network, loss

    def forward(self, x: Tensor, y: Tensor, masks: NativeMasks | None) -> Tensor:
        return self._loss(self._network(x, masks), y)
