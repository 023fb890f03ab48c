"""The contract between the harness and a backend: what an adapter defines, and in which terms.

An adapter is a module (see `Adapter`); each of ours is a package of the same files. It lowers a
whole neutral model to the framework's own layers, losses and optimizer; the harness draws
everything random, feeds arrays, and owns the clock. What all adapters share stands at the end.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, Protocol, TypeVar, get_args

import numpy as np
from msgspec import Struct

from ..models import Model, Node

Weights = dict[str, np.ndarray]  # "<layer>.<role>" in canonical layout: output axis, input, space
Masks = dict[str, np.ndarray]  # "<layer>" -> keep-mask, bool [N, *shape]
Gap = type | str | tuple[str, type]
Batch = Any  # what `Trainer.stage` returns is the backend's own

DType = Literal["float32", "float64"]
Mode = Literal["eager", "compiled"]
AskedMode = Literal["typical", "best", "eager", "compiled"]


class Execution(Struct, frozen=True, forbid_unknown_fields=True):
    """Every fairness knob. `device` is `cpu`, `cuda` or `cuda:1`; `threads` is per process."""

    device: str
    dtype: DType
    mode: Mode
    threads: int


class Deviation(Struct, frozen=True, kw_only=True):
    """A known difference from the formula that a backend cannot avoid: what, how far, and why.

    It is in the optimizer slot `slot` of the `optimizers` named, in one dtype: `relative` times the
    slot's value at most, and as much of the update that is made of it.
    """

    optimizers: tuple[str, ...]
    slot: str
    dtype: DType
    relative: float
    reason: str


class Unsupported(Exception):  # noqa: N818  a result with a reason, not an error
    """Raised by `build`, and nowhere later: this backend cannot run this model so; says why."""


class Trainer(Protocol):
    """A model built by a backend: all that the worker sees of a framework.

    Arrays that go in have the execution's dtype (labels: int64), are C-contiguous and are not
    written to; arrays that come out are fresh NumPy arrays of that dtype in canonical layout.
    """

    def stage(self, x: np.ndarray, y: np.ndarray, masks: Masks | None) -> Batch:
        """Move one batch to the device, in the backend's own layout.

        x is [N, *model.input], y is [N, K] or, for softmax_cross_entropy, [N]. `masks` holds the
        keep-mask of every dropout; with None the framework draws its own in training.
        """

    def train(self, batches: Iterable[Batch]) -> np.ndarray:
        """Take one optimizer step per batch, in order.

        Returns the mean loss before each step, [batches], and only when the last update has
        been applied.
        """

    def gradients(self, batch: Batch) -> tuple[float, Weights]:
        """Return the mean loss and its gradient for every trainable weight; take no step.

        Running statistics stay as they are.
        """

    def activations(self, batch: Batch) -> dict[str, np.ndarray]:
        """Return every layer's output by key, in training mode, in canonical layout."""

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Return the logits of x in evaluation mode, [N, *model.output_shape]."""

    def weights(self) -> Weights:
        """Return every weight as it is now."""

    def state(self) -> Weights:
        """Return the optimizer's slots as `<weight>.<slot>`, and `step`: the count, int64."""


class Instrumented(Trainer, Protocol):
    """What a trainer may have beside, where its framework lets one see it."""

    def split(self, batch: Batch) -> dict[str, float]:
        """Take one step as `train` does; return the seconds of `forward`, `backward`, `update`."""

    def compilations(self) -> int:
        """Return how many compilations this process has made so far."""

    def hold(self, x: np.ndarray, y: np.ndarray) -> Callable[[np.ndarray], Iterable[Batch]]:
        """Take over a whole split, x [samples, *model.input]; its arrays will not be written to.

        Returns what stages the batches whose rows are given, int64 [steps, batch], as `stage`
        would, for `train` alone; without masks. It may gather each as `train` comes to it: what
        was written last is still in the cache. For backends that are faster so.
        """


class Adapter(Protocol):
    """What a backend's module defines. `LAYERS`, `LOSSES`, `OPTIMIZERS` map a spec's type to a
    function of this module; what they leave out stands in `UNSUPPORTED` with the reason.

    `UNSUPPORTED` is keyed by a spec's type, by a mode or dtype, or by (mode, type). `DEVIATIONS`
    names what differs from the formula: parity allows that much, and reports say so.

    `TYPICAL` is the mode that the framework's own users train in, and why. It and `MODES` are
    literals: they are read from the source, by a process without the framework. Who says nothing
    is typically eager.

    It may also define `preload(mode)`, which imports what the framework would load in its first
    build or block, so that it counts as import; `device_memory(device) -> int | None`, the peak of
    the bytes that the framework has allocated on a device; and `settings(execution) -> dict[str,
    str]`, what it has fixed that matters for speed or numerics, in the framework's own words. See
    `Instrumented`.
    """

    MODES: tuple[Mode, ...]
    TYPICAL: tuple[Mode, str]
    LAYERS: Mapping[type, Any]
    LOSSES: Mapping[type, Any]
    OPTIMIZERS: Mapping[type, Any]
    UNSUPPORTED: Mapping[Gap, str]
    DEVIATIONS: Mapping[str, Deviation]

    def version(self) -> str:
        """Return the framework's version."""

    def devices(self) -> list[str]:
        """Return the devices that this installed build can use now, `cpu` first."""

    def build(
        self,
        model: Model,
        weights: Weights,
        execution: Execution,
        *,
        seed: int,
        state: Weights | None,
    ) -> Trainer:
        """Lower `model`, start from `weights`, and from the optimizer's `state` if it is given.

        `seed` is for dropout masks that the framework draws itself. Raises Unsupported.
        """


def refuse_unsupported(adapter: Adapter, model: Model, execution: Execution) -> None:
    """Raise Unsupported for the first thing that `adapter` cannot do, by name and reason."""
    for choice in (execution.mode, execution.dtype):
        if choice in adapter.UNSUPPORTED:
            raise Unsupported(f"{choice}: {adapter.UNSUPPORTED[choice]}")
    if execution.device not in (usable := adapter.devices()):
        raise Unsupported(
            f"device {execution.device}: this installed build has {', '.join(usable)}; "
            "choose one of them with --device, or install a build with that device"
        )
    parts: list[tuple[str, Any, Mapping[type, Any]]] = [
        (f'"{node.key}" ', node.layer, adapter.LAYERS) for node in model.walk()
    ]
    parts.append(("loss ", model.loss, adapter.LOSSES))
    parts.append(("optimizer ", model.optimizer, adapter.OPTIMIZERS))
    for place, spec, table in parts:
        reason = adapter.UNSUPPORTED.get((execution.mode, type(spec)))
        if type(spec) not in table:
            reason = adapter.UNSUPPORTED.get(type(spec), "not in this adapter's tables")
        if reason:
            raise Unsupported(f"{place}({spec.__struct_config__.tag}): {reason}")


def import_those_there(names: Iterable[str]) -> None:
    """Import modules of which another version of a framework may lack some, as they are private."""
    for name in names:
        if _is_there(name):
            importlib.import_module(name)


def _is_there(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # nor the package that it would be in
        return False


def lowering(specs: Any, functions: Mapping[str, Any]) -> dict[type, Any]:
    """Return every spec of a union with the function of its name: MaxPool2D with `max_pool2d`.

    A spec without one is left out, and stands in `UNSUPPORTED`.
    """
    return {
        spec: functions[spec.__struct_config__.tag]
        for spec in get_args(specs)
        if spec.__struct_config__.tag in functions
    }


_Variable = TypeVar("_Variable")


def by_name(node: Node[Any], variables: Mapping[str, _Variable]) -> dict[str, _Variable]:
    """Return a layer's variables, given by role, as `<layer>.<role>`.

    A composite gives those of the layers inside it, which are named already.
    """
    if node.branches:
        return dict(variables)
    return {f"{node.key}.{role}": variable for role, variable in variables.items()}


def cpu_and_cuda(count: int) -> list[str]:
    """Return the names of the CPU and of `count` CUDA devices, as `Execution.device` has them."""
    return ["cpu", *(["cuda"] if count else []), *(f"cuda:{i}" for i in range(count))]


Axes = tuple[int, ...]
Layout = Mapping[tuple[type, str], Axes]  # (layer type, role) -> native axes from canonical


def native_axes(layout: Layout, model: Model) -> dict[str, Axes]:
    """Return the axes of every weight of `model` that a framework keeps in another order."""
    return {
        f"{node.key}.{role}": layout[type(node.layer), role]
        for node in model.walk()
        for role in node.layer.weights(node.input_shape)
        if (type(node.layer), role) in layout
    }


def to_native(array: np.ndarray, axes: Axes | None) -> np.ndarray:
    """Permute a canonical array into a framework's layout."""
    return array if axes is None else array.transpose(axes)


def to_canonical(array: np.ndarray, axes: Axes | None) -> np.ndarray:
    """Permute an array in a framework's layout into the canonical one: undoes `to_native`."""
    return array if axes is None else array.transpose(np.argsort(axes))


def starting_state(model: Model, weights: Weights, state: Weights | None) -> tuple[Weights, int]:
    """Return the optimizer's slots and the step count that a trainer starts from.

    They are those of `state`, or zeros. Raises ValueError unless `weights` and `state` hold the
    model's names, all of them and no other.
    """
    _check_names(weights, model.weights, "weights")
    slots = {f"{name}.{slot}": name for name in model.trainable for slot in model.optimizer.slots()}
    if state is None:
        return {slot: np.zeros_like(weights[name]) for slot, name in slots.items()}, 0
    _check_names(state, [*slots, "step"], "state")
    return {slot: state[slot] for slot in slots}, int(state["step"])


def _check_names(given: Iterable[str], expected: Iterable[str], what: str) -> None:
    given, expected = set(given), set(expected)
    if missing := expected - given:
        raise ValueError(f"{what}: {min(missing)} is missing")
    if surplus := given - expected:
        raise ValueError(f"{what}: {min(surplus)} is not part of this model")
