"""A workload: a model, a dataset, and how to train it. Read from TOML, checked against the data."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from math import prod
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta, Struct, structs

from .. import models
from ..datasets import csv
from ..datasets.catalogue import placed, table_name
from ..datasets.dataset import Dataset
from ..models import InputError, Model, Node
from ..models.building import in_words, layer_in_words, settle, to_toml
from ..models.layers import Layer, Name
from ..models.losses import BinaryCrossEntropy
from ..models.shapes import Finite, PositiveInt, Shape, show
from ..models.synonyms import closest
from ..models.toml import decode
from .results.summary import WorkloadFacts
from .worker.metrics import LOWER_IS_BETTER, METRICS

_NAMES = ("name", "description")  # of a model: they decide nothing
_WORKLOADS = files(__package__) / "workloads"


class _Terms(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to train. `metric` is judged on the test split, `target` is the value to reach."""

    name: Name
    description: str = ""
    dataset: Annotated[str, Meta(min_length=1)]
    batch_size: PositiveInt
    epochs: PositiveInt
    metric: str
    target: Finite | None = None

    def __post_init__(self) -> None:
        settle(self)
        known = [name for names in METRICS.values() for name in names]
        if self.metric not in known:
            raise InputError(f'metric "{self.metric}": {closest(self.metric, known)}')


class Workload(_Terms, frozen=True, kw_only=True):
    """A workload with its model. InputError if a value is wrong.

    >>> from bakeoff import Workload, read_model
    >>> model = read_model("digits-mlp")
    >>> workload = Workload(
    ...     name="mine", model=model, dataset="digits", batch_size=32, epochs=5, metric="accuracy"
    ... )
    """

    model: Model

    def to_toml(self) -> str:
        """Return the workload, its model in it, as the text of a TOML file for the command line."""
        return to_toml(self)


class _Data(csv.Parameters, frozen=True, kw_only=True):
    """The table `[data]`: the path of a CSV file beside this one, and how it is read."""

    csv: Annotated[str, Meta(min_length=1)]


class _File(_Terms, frozen=True, kw_only=True):
    """As it is written: `model` is a name of the zoo, a path beside this file, or a table.

    A table of the user's own is named by `dataset` or described by `data`.
    """

    model: str | Model
    dataset: str = ""
    data: _Data | None = None


def read(name: str | Workload) -> Workload:
    """Read a workload: a name of ours, or a path to a TOML file. InputError if wrong or unknown."""
    if isinstance(name, Workload):
        return name
    if not isinstance(name, str):
        raise InputError(f"{name!r}: expected a workload, or the name or file of one")
    if name in names():
        return _resolve(decode(_WORKLOADS / f"{name}.toml", _File), Path())
    if not name.endswith(".toml"):
        raise InputError(
            f'no workload "{name}": {closest(name, names())}, or a path to a .toml file'
        )
    if looks_like_model(Path(name)):
        raise InputError(
            f"{name} is a model, expected a workload; write a workload that names it: "
            f'model = "{Path(name).name}", and dataset, batch_size, epochs, metric'
        )
    return _resolve(decode(Path(name), _File), Path(name).parent)


Named = str | Workload | Model  # by a name or the path of a file, or built in Python


def name_of(asked: Named) -> str:
    """Return what a workload or a model is called."""
    return asked.name if isinstance(asked, Workload | Model) else str(asked)


def find(name: Named) -> Workload | Model:
    """Read a workload or a model, by name or from a file. InputError if there is neither."""
    if isinstance(name, Workload | Model):
        return name
    if not isinstance(name, str):
        raise InputError(f"{name!r}: expected a workload, a model, or the name or file of one")
    is_file = name.endswith(".toml")
    if name in names() or (is_file and not looks_like_model(Path(name))):
        return read(name)
    if name in models.zoo() or is_file:
        return models.read(name)
    known = sorted({*names(), *models.zoo()})
    raise InputError(
        f'no workload or model "{name}": {closest(name, known)}, or a path to a .toml file'
    )


def looks_like_model(path: Path) -> bool:
    """Say whether a TOML file has a model's layers at its top level. InputError if unreadable."""
    return "layers" in decode(path, dict)


def names() -> list[str]:
    """Return the names of the workloads that come with bakeoff."""
    return sorted(file.name.removesuffix(".toml") for file in _WORKLOADS.iterdir())


def check(workload: Workload, dataset: Dataset) -> None:
    """Raise InputError unless the model, loss and metric of a workload fit the dataset."""
    model, place = workload.model, f"{workload.name} on {dataset.name}"
    if model.input != dataset.input_shape:
        raise InputError(
            f"{place}: the model's input is {show(model.input)}, the dataset gives "
            f"{show(dataset.input_shape)}; {_fitting(model.input, dataset.input_shape)}"
        )
    if model.loss.task != dataset.task:
        tag = model.loss.__struct_config__.tag
        raise InputError(
            f"{place}: {tag} is for {model.loss.task}, the dataset is {dataset.task}; "
            f"write {_losses(dataset)}{_other_task(dataset)}"
        )
    if workload.metric not in METRICS[dataset.task]:
        raise InputError(
            f"{place}: metric {workload.metric} is not for {dataset.task}; "
            f"expected one of {', '.join(METRICS[dataset.task])}{_other_task(dataset)}"
        )
    _check_output(model, dataset, place)
    _check_ids(model, dataset, place)
    if workload.batch_size > (rows := len(dataset.train.x)):
        raise InputError(
            f"{place}: batch_size {workload.batch_size} is more than the {rows} training rows; "
            f"choose {rows} at most"
        )


def warnings(workload: Workload, dataset: Dataset) -> list[str]:
    """Return what a user should know of a workload and its data, a line each."""
    two_values = dataset.task == "regression" and len(np.unique(dataset.train.y)) == 2
    of_data = [f"the target has 2 values{_other_task(dataset)}"] if two_values else []
    return [
        f"{workload.name}: {line}" for line in [*workload.model.warnings, *of_data, *dataset.notes]
    ]


def facts(workload: Workload, dataset: Dataset) -> WorkloadFacts:
    """Return what a summary says of a workload."""
    return WorkloadFacts(
        name=workload.name,
        description=workload.description,
        dataset=workload.dataset,
        dataset_sha256=dataset.sha256,
        dataset_size=" / ".join(
            f"{len(split.x):,}" for split in (dataset.train, dataset.validation, dataset.test)
        ),
        batch_size=workload.batch_size,
        epochs=workload.epochs,
        metric=workload.metric,
        lower_is_better=workload.metric in LOWER_IS_BETTER,
        target=workload.target,
        warnings=warnings(workload, dataset),
        caveats=dataset.card.caveats,
        **facts_of(workload.model),
    )


def facts_of(model: Model) -> dict[str, Any]:
    """Return what `WorkloadFacts` say of a model, by field."""
    cost = model.cost
    return {
        "model": model.name,
        "parameters": cost.parameters,
        "training_flops": cost.training_flops,
        "model_sha256": model_sha256(model),
        "layers": [_in_a_line(node) for node in model.walk()],
        "loss": in_words(model.loss),
        "optimizer": in_words(model.optimizer),
    }


def _in_a_line(node: Node[Layer]) -> str:
    parameters = models.cost(node).parameters
    counted = f", {parameters:,} parameters" if parameters else ""
    return f"{node.key}: {layer_in_words(node.layer)}: {show(node.output_shape)}{counted}"


def model_sha256(model: Model) -> str:
    """Return the hash of all that a model says beside names and defaults: a field that comes with a
    later version, and is left at its default, does not change it.
    """
    said = {name: part for name, part in _said(model).items() if name not in _NAMES}
    return hashlib.sha256(msgspec.json.encode(said, order="sorted")).hexdigest()


def _said(part: Any) -> Any:
    if isinstance(part, list | tuple):
        return [_said(each) for each in part]
    if not isinstance(part, Struct):
        return part
    said = {
        field.name: _said(value)
        for field in structs.fields(part)
        if (value := getattr(part, field.name)) != field.default
    }
    return said | {"type": part.__struct_config__.tag}


def _fitting(wanted: Shape, given: Shape) -> str:
    """Say how an input of one shape is made to fit data of another."""
    if len(wanted) == 3 and wanted[-1:] + wanted[:-1] == given:
        return f"channels come first: write input = {show(given)}"
    if prod(wanted) == prod(given):
        reshape = f'{{ type = "reshape", shape = {show(wanted)} }}'
        return f"write input = {show(given)}, and {reshape} as the first layer"
    return "change `input` in the model, or the dataset"


def _losses(dataset: Dataset) -> str:
    if dataset.task == "regression":
        return "mse, mae or huber"
    binary = ", or binary_cross_entropy with 1 output" if dataset.num_classes == 2 else ""
    return f"softmax_cross_entropy with {dataset.num_classes} outputs{binary}"


def _other_task(dataset: Dataset) -> str:
    """Say of a table of the user's own how its target is read as the other thing."""
    if not dataset.name.startswith("csv:"):
        return ""
    if dataset.task == "regression":
        return "; the target is read as numbers: of classes, write task=classification beside it"
    return "; the target is read as classes: of numbers, write task=regression beside it"


def _check_output(model: Model, dataset: Dataset, place: str) -> None:
    outputs = model.output_shape[0]
    if dataset.num_classes is None:
        fits, expected = outputs == 1, "1 output"
    elif isinstance(model.loss, BinaryCrossEntropy):
        fits, expected = (
            dataset.num_classes == 2,
            "softmax_cross_entropy, or a dataset of 2 classes",
        )
    else:
        fits, expected = outputs >= dataset.num_classes, f"{dataset.num_classes} outputs"
    if not fits:
        classes = f" of {dataset.num_classes} classes" if dataset.num_classes else ""
        raise InputError(f"{place}{classes}: the model has {outputs} outputs, expected {expected}")


def _check_ids(model: Model, dataset: Dataset, place: str) -> None:
    """Raise InputError unless what feeds an embedding are ids below its vocabulary."""
    if not model.vocabulary:
        return
    splits = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    for name, split in splits.items():
        x = np.asarray(split.x)
        wrong = np.argwhere((x < 0) | (x >= model.vocabulary) | (x != np.floor(x)))
        if len(wrong):
            row, *position = wrong[0].tolist()
            column = dataset.feature_names[position[0]] if dataset.feature_names else position
            raise InputError(
                f"{place}: the {name} split has {x[tuple(wrong[0])]:g} in row {row}, column "
                f"{column}, and feeds an embedding: expected ids, whole numbers from 0 to "
                f"{model.vocabulary - 1}; choose a dataset of ids, or another first layer"
            )


def _resolve(file: _File, folder: Path) -> Workload:
    terms = structs.asdict(file)
    data = terms.pop("data")
    if isinstance(file.model, str):
        is_path = file.model.endswith(".toml")
        terms["model"] = models.read(str(folder / file.model) if is_path else file.model)
    if (data is None) == (not file.dataset):
        raise InputError(f"{file.name}: expected `dataset`, or a table `[data]`; write one of them")
    if data is not None:
        parameters = msgspec.convert(data, csv.Parameters, from_attributes=True)
        terms["dataset"] = table_name(data.csv, parameters)
    return at(Workload(**terms), folder)


def at(workload: Workload, folder: Path) -> Workload:
    """Return a workload whose table, if it has one, is relative to a folder. InputError."""
    dataset = placed(workload.dataset, folder.absolute(), workload.model.vocabulary)
    return structs.replace(workload, dataset=dataset)
