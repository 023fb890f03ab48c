"""A generated table of any size: linear, a little bent, and noisy."""

from __future__ import annotations

import numpy as np
from msgspec import Struct

from ..models.errors import InputError
from ..models.losses import Task
from .dataset import Card
from .preparation import classification_table, cut, shuffle, standardise, stream, take
from .source import File, Prepared, Source
from .synthetic import Classes, Count, Samples, Seed, check_size

CARD = Card(
    title="Synthetic table: linear in the features, plus squares and noise",
    origin="made here from a seed",
    licence="CC0-1.0",
    size="any, 1,000 x 10 and regression by default",
    caveats=(
        "Features are independent, which real ones are not. `samples` counts all three splits, "
        "70/15/15. The target is about of unit scale and not standardised. With "
        "task=classification, the class (of 3 by default) is the largest of as many scores."
    ),
)


class Parameters(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The query; `classes` goes with task=classification only."""

    samples: Samples = 1000
    features: Count = 10
    task: Task = "regression"
    classes: Classes | None = None
    seed: Seed = 0


def prepare(parameters: Parameters, files: list[File]) -> Prepared:
    """Return x float64 [N, F], standardised, and y float64 [N, 1] or int64 [N]."""
    if parameters.task == "regression" and parameters.classes is not None:
        raise InputError(
            f"synthetic-table: classes={parameters.classes} with task=regression, expected no "
            f"classes; add task=classification"
        )
    outputs = 1 if parameters.task == "regression" else parameters.classes or 3
    width = max(parameters.features, outputs)
    check_size("synthetic-table", max(parameters.samples, parameters.features), width)
    random = stream("synthetic-table", parameters.seed)
    x = random.standard_normal((parameters.samples, parameters.features))
    weights = random.standard_normal((outputs, parameters.features)) / parameters.features**0.5
    bends = random.standard_normal((outputs, parameters.features)) / parameters.features**0.5 / 4
    scores = 0.1 * random.standard_normal((parameters.samples, outputs))
    for output in range(outputs):  # a matrix product rounds differently on another machine
        scores[:, output] += (x * weights[output] + (x * x - 1) * bends[output]).sum(axis=1)
    names = [f"x{number}" for number in range(parameters.features)]
    if parameters.task == "classification":
        labels = scores.argmax(axis=1)
        return classification_table(x, labels, card=CARD, feature_names=names, num_classes=outputs)
    rows = cut(shuffle(np.zeros(len(x), np.int64)))
    return Prepared(
        card=CARD,
        task="regression",
        splits=take(standardise(x, rows[0]), scores, rows),
        feature_names=tuple(names),
    )


SOURCE = Source(
    card=CARD,
    usage="synthetic-table?samples=1000&features=10&task=regression|classification&classes=3&seed=0",
    prepare=prepare,
    parameters=Parameters,
)
