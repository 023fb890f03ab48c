"""A model in Keras on PyTorch: autograd, and the step as Keras's own trainer takes it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from time import perf_counter
from typing import NamedTuple

import numpy as np
import torch
from keras.src.backend.common import dtypes

from ....models import Model
from ...contract import Execution, Masks, Weights
from ...torch.trainer import on_arguments
from ..lowered import NativeMasks, Tensor
from ..network import Network, channels_last


class _Batch(NamedTuple):
    x: Tensor
    y: Tensor
    masks: NativeMasks  # none: native dropout


class Trainer:
    """See `contract.Trainer`."""

    def __init__(
        self, model: Model, weights: Weights, execution: Execution, state: Weights | None
    ) -> None:
        self._network = Network(model, weights, execution.dtype, state)
        self._dtype = execution.dtype
        self._device = torch.device(execution.device)
        self._tensors = [variable.value for variable in self._network.trained]
        self.weights, self.state = self._network.weights, self._network.state
        network = self._network

        def mean_loss(x: Tensor, y: Tensor, masks: NativeMasks) -> Tensor:
            return network.mean_loss(x, y, masks)

        self._mean_loss = mean_loss
        if execution.mode == "compiled":
            # Without fullgraph, what Dynamo cannot compile would silently run eagerly; without the
            # reset, so would the ninth trainer of a process: all share this function's code.
            torch.compiler.reset()
            # Another shape is compiled anew; `dynamic=False` (2.13) would set this on every call.
            torch._dynamo.config.automatic_dynamic_shapes = False
            # Dynamo would trace how Keras (3.15) looks a type up, and warn of its cache.
            torch.compiler.assume_constant_result(dtypes._lattice_result_type)
            # A layer that builds itself in its first call would break the graph behind it.
            with torch.no_grad():
                network.predict(self._tensor(np.zeros((1, *model.input), self._dtype)))
            options = {"guard_filter_fn": on_arguments}
            self._mean_loss = torch.compile(mean_loss, fullgraph=True, options=options)

    def stage(self, x: np.ndarray, y: np.ndarray, masks: Masks | None) -> _Batch:
        native = {key: self._tensor(m.astype(self._dtype)) for key, m in (masks or {}).items()}
        return _Batch(self._tensor(x), self._tensor(y), native)

    def hold(self, x: np.ndarray, y: np.ndarray) -> Callable[[np.ndarray], Iterable[_Batch]]:
        held = np.ascontiguousarray(channels_last(x))
        if self._device.type == "cpu":

            def gather_by_numpy(rows: np.ndarray) -> _Batch:  # it takes less time per call
                batch, labels = held.take(rows, 0), y.take(rows, 0)
                return _Batch(torch.from_numpy(batch), torch.from_numpy(labels), {})

            return partial(map, gather_by_numpy)
        samples, targets = (torch.from_numpy(array).to(self._device) for array in (held, y))

        def gather(rows: Tensor) -> _Batch:
            return _Batch(samples.index_select(0, rows), targets.index_select(0, rows), {})

        return lambda order: map(gather, torch.from_numpy(order).to(self._device))

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
        return {
            "forward": forward - began,
            "backward": backward - forward,
            "update": self._now() - backward,
        }

    def compilations(self) -> int:
        return int(torch._dynamo.utils.counters["stats"]["unique_graphs"])

    def gradients(self, batch: _Batch) -> tuple[float, Weights]:
        with self._network.kept_as_they_are():
            loss = self._mean_loss(*batch)
        loss.backward()
        gradients = self._network.by_name([tensor.grad for tensor in self._tensors])
        self._forget_gradients()
        return loss.item(), gradients

    def activations(self, batch: _Batch) -> dict[str, np.ndarray]:
        return self._network.outputs(batch.x, batch.masks)

    def predict(self, x: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return self._network.predict(self._tensor(x)).cpu().numpy()

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def _take_step(self) -> None:
        (rate,) = self._network.rates(1)
        optimizer, network = self._network.optimizer, self._network
        optimizer.learning_rate.value.fill_(rate)
        gradients = network.clip_and_decay([w.grad for w in self._tensors], self._tensors)
        optimizer.apply(gradients, network.trained)
        self._forget_gradients()

    def _forget_gradients(self) -> None:
        for tensor in self._tensors:
            tensor.grad = None

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(channels_last(array))).to(self._device)

    def _now(self) -> float:
        self._synchronize()
        return perf_counter()

    def _synchronize(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
