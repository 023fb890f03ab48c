"""A model in PyTorch: autograd, native layers and a fused optimizer; images are channels-last."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...models import Model
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
from .losses import LOSSES
from .optimizers import OPTIMIZERS, clip

LAYOUT: Layout = {}  # PyTorch's own order of axes is the canonical one

_Batch = tuple[Tensor, Tensor, NativeMasks | None]


class Trainer:
    """See `contract.Trainer`."""

    def __init__(
        self, model: Model, weights: Weights, execution: Execution, state: Weights | None
    ) -> None:
        slots, self._step = starting_state(model, weights, state)
        self._model = model
        self._device = torch.device(execution.device)
        self._dtype = getattr(torch, execution.dtype)
        self._axes = native_axes(LAYOUT, model)
        self._network, variables = lower(model.nodes)
        self._network.to(self._device, self._dtype, memory_format=torch.channels_last)
        self._variables = {name: variables[name] for name in model.weights}
        self._parameters = {name: self._variables[name] for name in model.trainable}
        self._trained = list(self._parameters.values())
        make_optimizer = OPTIMIZERS[type(model.optimizer)]
        self._optimizer, self._slots = make_optimizer(model.optimizer, self._trained)
        self._load(weights, slots)
        network, loss = self._network, LOSSES[type(model.loss)](model.loss)

        def mean_loss(x: Tensor, y: Tensor, masks: NativeMasks | None) -> Tensor:
            return loss(network(x, masks), y)

        self._mean_loss = mean_loss
        if execution.mode == "compiled":
            # Without fullgraph, what Dynamo cannot compile would silently run eagerly; without the
            # reset, so would the ninth trainer of a process: all share this function's code.
            torch.compiler.reset()
            # Another shape is compiled anew; `dynamic=False` (2.13) would set this on every call.
            torch._dynamo.config.automatic_dynamic_shapes = False
            options = {"guard_filter_fn": on_arguments}
            self._mean_loss = torch.compile(mean_loss, fullgraph=True, options=options)

    def stage(self, x: np.ndarray, y: np.ndarray, masks: Masks | None) -> _Batch:
        native = masks and {key: self._tensor(mask).to(self._dtype) for key, mask in masks.items()}
        return self._image(x), self._tensor(y), native

    def hold(self, x: np.ndarray, y: np.ndarray) -> Callable[[np.ndarray], Iterable[_Batch]]:
        # Held with channels as the last axis: what is gathered is contiguous in that order. One
        # channel lies as it is, with the strides of `stage`: others would be compiled for anew.
        several = x.ndim == 4 and x.shape[1] > 1
        held = np.ascontiguousarray(x.transpose(0, 2, 3, 1)) if several else x
        if self._device.type == "cpu":

            def gather_by_numpy(rows: np.ndarray) -> _Batch:  # it takes less time per call
                batch = torch.from_numpy(held.take(rows, 0))
                batch = batch.permute(0, 3, 1, 2) if several else batch
                return batch, torch.from_numpy(y.take(rows, 0)), None

            return partial(map, gather_by_numpy)
        images, labels = self._tensor(held), self._tensor(y)

        def gather(rows: Tensor) -> _Batch:
            batch = images.index_select(0, rows)
            batch = batch.permute(0, 3, 1, 2) if several else batch
            return batch, labels.index_select(0, rows), None

        return lambda order: map(gather, self._tensor(order))

    def train(self, batches: Iterable[_Batch]) -> np.ndarray:
        losses = []
        for batch in batches:
            loss = self._mean_loss(*batch)
            loss.backward()
            self._take_step()
            losses.append(loss.detach())
        result = torch.stack(losses).cpu().numpy()
        self._synchronize()
        return result

    def split(self, batch: _Batch) -> dict[str, float]:
        began = self._now()
        loss = self._mean_loss(*batch)
        forward = self._now()
        loss.backward()
        backward = self._now()
        self._take_step()
        update = self._now()
        return {
            "forward": forward - began,
            "backward": backward - forward,
            "update": update - backward,
        }

    def compilations(self) -> int:
        return int(torch._dynamo.utils.counters["stats"]["unique_graphs"])

    def _now(self) -> float:
        self._synchronize()
        return perf_counter()

    def _synchronize(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def _take_step(self) -> None:
        spec = self._model.optimizer
        if spec.clip_value or spec.clip_norm:
            clip(spec, self._trained)
        self._optimizer.param_groups[0]["lr"] = spec.rate(self._step)
        self._optimizer.step()
        self._forget_gradients()
        self._step += 1

    def _forget_gradients(self) -> None:
        for parameter in self._trained:  # `zero_grad` does it under a hook of the profiler
            parameter.grad = None

    def gradients(self, batch: _Batch) -> tuple[float, Weights]:
        with self._statistics_kept():
            loss = self._mean_loss(*batch)
        loss.backward()
        gradients = {name: self._array(name, p.grad) for name, p in self._parameters.items()}
        self._forget_gradients()
        return loss.item(), gradients

    def activations(self, batch: _Batch) -> dict[str, np.ndarray]:
        outputs: dict[str, np.ndarray] = {}

        def keep(module: nn.Module, inputs: Any, output: Tensor) -> None:
            outputs[module.key] = output.detach().cpu().numpy().copy(order="C")

        keyed = [module for module in self._network.modules() if hasattr(module, "key")]
        hooks = [module.register_forward_hook(keep) for module in keyed]
        try:
            with self._statistics_kept():
                x, _, masks = batch
                self._network(x, masks)
        finally:
            for hook in hooks:
                hook.remove()
        return outputs

    def predict(self, x: np.ndarray) -> np.ndarray:
        self._network.eval()
        with torch.inference_mode():
            logits = self._network(self._image(x), None)
        self._network.train()
        return logits.cpu().numpy()

    def weights(self) -> Weights:
        return {name: self._array(name, v.detach()) for name, v in self._variables.items()}

    def state(self) -> Weights:
        slots = {
            f"{name}.{slot}": self._array(name, self._optimizer.state[p][native])
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
            value.copy_(old)

    def _load(self, weights: Weights, slots: Weights) -> None:
        for name, variable in self._variables.items():
            self._copy(weights[name], name, variable.data)
        for name, parameter in self._parameters.items():
            state: dict[str, Tensor] = self._optimizer.state[parameter]
            if isinstance(self._optimizer, torch.optim.Adam):
                state["step"] = torch.tensor(float(self._step))
            for slot, native in self._slots.items():
                state[native] = torch.empty_like(parameter.data)
                self._copy(slots[f"{name}.{slot}"], name, state[native])

    def _copy(self, array: np.ndarray, name: str, tensor: Tensor) -> None:
        """Copy a canonical array, of the weight `name` or of its slot, into a native tensor."""
        tensor.copy_(torch.from_numpy(to_native(array, self._axes.get(name))))

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self._device)

    def _image(self, x: np.ndarray) -> Tensor:
        tensor = self._tensor(x)
        return tensor.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else tensor

    def _array(self, name: str, tensor: Tensor) -> np.ndarray:
        canonical = to_canonical(tensor.cpu().numpy(), self._axes.get(name))
        return canonical.copy(order="C")


def on_arguments(guards: Sequence[Any]) -> list[bool]:
    """Choose the guards that a compiled step needs: nobody changes its layers or our globals."""
    without_modules = torch.compiler.skip_guard_on_all_nn_modules_unsafe(guards)
    without_globals = torch.compiler.skip_guard_on_globals_unsafe(guards)
    return [all(kept) for kept in zip(without_modules, without_globals, strict=True)]
