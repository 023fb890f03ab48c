"""Generated sequences of any size: a random walk for each class, plus noise."""

from __future__ import annotations

import numpy as np
from msgspec import Struct

from .dataset import Card
from .preparation import cut, shuffle, stream, take
from .source import File, Prepared, Source
from .synthetic import Classes, Count, Samples, Seed, check_size

CARD = Card(
    title="Synthetic sequences: one random walk for each class, plus noise",
    origin="made here from a seed",
    licence="CC0-1.0",
    size="any, 512 x 16x8 and 4 classes by default",
    caveats=(
        "For measuring speed: every step tells something of the class, so no long memory is "
        "needed. `samples` counts all three splits, 70/15/15. Of unit scale as made, and not "
        "normalised further."
    ),
)


class Parameters(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The query; a sample has `length` steps of `features` numbers."""

    samples: Samples = 512
    length: Count = 16
    features: Count = 8
    classes: Classes = 4
    seed: Seed = 0


def prepare(parameters: Parameters, files: list[File]) -> Prepared:
    """Return x float32 [N, T, D] and y int64 [N], equally many of each class."""
    shape = (parameters.length, parameters.features)
    check_size("synthetic-sequences", max(parameters.samples, parameters.classes), *shape)
    random = stream("synthetic-sequences", parameters.seed)
    labels = np.arange(parameters.samples) % parameters.classes
    steps = random.standard_normal((parameters.classes, *shape), dtype=np.float32)
    walks = np.cumsum(steps, axis=1) / np.sqrt(np.float32(parameters.length))
    noise = random.standard_normal((parameters.samples, *shape), dtype=np.float32)
    return Prepared(
        card=CARD,
        task="classification",
        splits=take(walks[labels] + noise / 2, labels, cut(shuffle(labels))),
        num_classes=parameters.classes,
    )


SOURCE = Source(
    card=CARD,
    usage="synthetic-sequences?samples=512&length=16&features=8&classes=4&seed=0",
    prepare=prepare,
    parameters=Parameters,
)
