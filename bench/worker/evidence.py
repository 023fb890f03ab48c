"""What a backend computed on a probe: named arrays, from which the ladder's rungs are judged.

Collected in the backend's own interpreter, so this needs numpy and msgspec alone.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from ...backends.contract import Adapter, Execution, Masks, Trainer, Weights
from ...models import Model
from .files import read_arrays, write_arrays

Evidence = dict[str, np.ndarray]


class Probe(NamedTuple):
    """What every backend is asked: a model, where it starts, and on what it is trained.

    `batches` holds x in float64 and y as the contract has it, all representable in float32.
    The last `block` batches are trained in one call, those before them one by one.
    """

    model: Model
    weights: Weights
    batches: list[tuple[np.ndarray, np.ndarray, Masks]]
    block: int

    @property
    def singles(self) -> int:
        """How many steps are taken one by one."""
        return len(self.batches) - self.block


def collect(adapter: Adapter, probe: Probe, execution: Execution) -> Evidence:
    """Ask a backend everything. Raises Unsupported, or whatever the framework raises."""
    dtype = execution.dtype
    start = {name: value.astype(dtype) for name, value in probe.weights.items()}
    trainer = adapter.build(probe.model, start, execution, seed=0, state=None)
    evidence = prefixed("weights", trainer.weights())
    staged = [
        trainer.stage(x.astype(dtype), _cast(y, dtype), masks) for x, y, masks in probe.batches
    ]
    evidence |= prefixed("forward", trainer.activations(staged[0]))
    loss, gradients = trainer.gradients(staged[0])
    evidence["loss"] = np.array(loss, dtype)  # the contract has it as a Python float
    evidence |= prefixed("gradients", gradients)
    for step, batch in enumerate(staged[: probe.singles]):
        evidence[f"steps/{step}/losses"] = trainer.train([batch])
        evidence |= prefixed(f"steps/{step}", standing(trainer))
    evidence["block/losses"] = trainer.train(staged[probe.singles :])
    evidence |= prefixed("block", standing(trainer))
    evidence["evaluation"] = trainer.predict(probe.batches[0][0].astype(dtype))
    return evidence


def standing(trainer: Trainer) -> Evidence:
    """Return where a training stands: `weights/<name>`, `state/<slot>`."""
    return prefixed("weights", trainer.weights()) | prefixed("state", trainer.state())


def under(prefix: str, evidence: Evidence) -> Evidence:
    """Return the arrays whose names begin with `prefix/`, without it."""
    start = f"{prefix}/"
    return {name.removeprefix(start): a for name, a in evidence.items() if name.startswith(start)}


def prefixed(prefix: str, arrays: Weights) -> Evidence:
    """Return arrays under `prefix/`: undoes `under`."""
    return {f"{prefix}/{name}": array for name, array in arrays.items()}


def _cast(y: np.ndarray, dtype: str) -> np.ndarray:
    return y if y.dtype.kind == "i" else y.astype(dtype)


def digest(probe: Probe) -> str:
    """Return the hash of all that a probe holds."""
    found = hashlib.sha256(msgspec.json.encode(probe.model))
    arrays = [*probe.weights.values()]
    for x, y, masks in probe.batches:
        arrays += [x, y, *masks.values()]
    for array in arrays:
        found.update(f"{array.dtype}{array.shape}".encode())
        found.update(array.tobytes())
    return found.hexdigest()


def write(probe: Probe, path: Path) -> None:
    """Write the arrays of a probe; the model travels apart, as JSON."""
    arrays = prefixed("weights", probe.weights)
    for step, (x, y, masks) in enumerate(probe.batches):
        arrays |= {f"x/{step}": x, f"y/{step}": y} | prefixed(f"masks/{step}", masks)
    write_arrays(path, {"block": np.array(probe.block), **arrays})


def read(model: Model, path: Path) -> Probe:
    """Read what `write` wrote."""
    arrays = read_arrays(path)
    batches = [
        (arrays[f"x/{step}"], arrays[f"y/{step}"], under(f"masks/{step}", arrays))
        for step in range(len(under("x", arrays)))
    ]
    return Probe(model, under("weights", arrays), batches, int(arrays["block"]))
