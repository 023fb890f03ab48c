"""Checkpoints: a training put aside in a safetensors file, which any backend can go on with.

Tensors: `weights/<layer>.<role>` and `optimizer/<weight>.<slot>` in canonical layout, and
`optimizer/step`. Metadata: where the training comes from, and the SHA-256 of all of the file.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import msgspec
from msgspec import Struct
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ...backends.contract import DType, Weights
from ...models import InputError, Model
from ..worker.files import whole
from ..workload import Workload

_FORMAT = "bakeoff-checkpoint-2"


class Origin(Struct, frozen=True, kw_only=True):
    """What was trained: it stays the same however often the training changes hands.

    `workload` has the number of epochs that it is meant to be trained for in all.
    """

    workload: Workload
    dataset_sha256: str
    seed: int
    dtype: DType

    @property
    def spec_sha256(self) -> str:
        """The hash of all that decides the trajectory: model, data, batches, seed, precision."""
        rest = [self.dataset_sha256, self.workload.batch_size, self.seed, self.dtype]
        return spec_sha256(self.workload.model, *rest)


def spec_sha256(model: Model, *rest: object) -> str:
    """Return the hash of what a model computes, and of whatever else is given."""
    spec = msgspec.to_builtins(model)
    named = {name: part for name, part in spec.items() if name not in ("name", "description")}
    return hashlib.sha256(msgspec.json.encode([named, *rest], order="sorted")).hexdigest()


class Checkpoint(Struct, frozen=True, kw_only=True):
    """A training after `epochs` epochs, the last of them by `backend`."""

    origin: Origin
    backend: str
    epochs: int
    tensors: Weights

    @property
    def weights(self) -> Weights:
        """The model's weights, canonical."""
        return self._under("weights/")

    @property
    def state(self) -> Weights:
        """The optimizer's slots and its step count, as `build` takes them."""
        return self._under("optimizer/")

    def _under(self, prefix: str) -> Weights:
        return {
            name.removeprefix(prefix): value
            for name, value in self.tensors.items()
            if name.startswith(prefix)
        }


def write(checkpoint: Checkpoint, path: Path) -> None:
    """Write a checkpoint, whole or not at all. InputError when it cannot be written."""
    metadata = {
        "format": _FORMAT,
        "origin": msgspec.json.encode(checkpoint.origin).decode(),
        "backend": checkpoint.backend,
        "epochs": str(checkpoint.epochs),
    }
    metadata["sha256"] = _digest(metadata, checkpoint.tensors)
    try:
        with whole(path) as file:
            file.write(save(checkpoint.tensors, metadata))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise InputError(
            f"the checkpoint {path} cannot be written ({error.strerror}); "
            "choose another path with --checkpoint"
        ) from None


def read(path: Path) -> Checkpoint:
    """Read a checkpoint. InputError if it is none, or not as it was written."""
    if not path.is_file():
        raise InputError(f"no checkpoint at {path}; give a file made by bakeoff train --checkpoint")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            _check_format(metadata, path)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, TypeError) as error:  # or a dtype of no array
        raise InputError(
            f"{path} is truncated, or no safetensors file ({error}); take another copy of it"
        ) from None
    try:
        return _decode(metadata, tensors)
    except (KeyError, ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        raise InputError(f"{path} is damaged ({error}); take another copy of it") from None


def _check_format(metadata: dict[str, str], path: Path) -> None:
    if (stated := metadata.get("format")) != _FORMAT:
        written = f"its format is {stated}" if stated else "it names no format"
        raise InputError(
            f"{path} is a safetensors file, but not a checkpoint that this bakeoff reads: "
            f"{written}, expected {_FORMAT}; give a file made by bakeoff train --checkpoint"
        )


def _decode(metadata: dict[str, str], tensors: Weights) -> Checkpoint:
    """Raises ValueError or KeyError for what `write` would not have written."""
    stated = metadata.pop("sha256")
    if _digest(metadata, tensors) != stated:
        raise ValueError("its hash does not match it")
    checkpoint = Checkpoint(
        origin=msgspec.json.decode(metadata["origin"], type=Origin),
        backend=metadata["backend"],
        epochs=int(metadata["epochs"]),
        tensors=tensors,
    )
    if checkpoint.epochs < 1:
        raise ValueError(f"it has {checkpoint.epochs} epochs behind it")
    _check_tensors(checkpoint)
    return checkpoint


def _check_tensors(checkpoint: Checkpoint) -> None:
    """Raise ValueError unless every tensor has the name, shape and dtype that the model expects."""
    model, dtype = checkpoint.origin.workload.model, checkpoint.origin.dtype
    expected: dict[str, tuple[tuple[int, ...], str]] = {
        f"weights/{name}": (spec.shape, dtype) for name, spec in model.weights.items()
    }
    expected |= {
        f"optimizer/{name}.{slot}": (model.weights[name].shape, dtype)
        for name in model.trainable
        for slot in model.optimizer.slots()
    }
    expected["optimizer/step"] = ((), "int64")
    found = {name: (t.shape, t.dtype.name) for name, t in checkpoint.tensors.items()}
    for name in sorted(expected.keys() | found.keys()):
        if found.get(name) != expected.get(name):
            there, wanted = (_in_words(kinds.get(name)) for kinds in (found, expected))
            raise ValueError(f"{name} is {there}, expected {wanted}")
    if (step := checkpoint.tensors["optimizer/step"]) < 0:
        raise ValueError(f"optimizer/step is {step}, expected 0 or more")


def _in_words(kind: tuple[tuple[int, ...], str] | None) -> str:
    return f"{kind[1]} {list(kind[0])}" if kind else "missing"


def _digest(metadata: dict[str, str], tensors: Weights) -> str:
    """Return the hash of the metadata and the tensors, by name."""
    digest = hashlib.sha256(msgspec.json.encode(metadata, order="sorted"))
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {value.shape}\n".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()
