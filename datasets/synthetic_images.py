"""Generated images of any size: a template for each class, plus noise."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from msgspec import Meta, Struct

from .dataset import Card
from .preparation import classified_images, cut, shuffle, stream
from .source import File, Prepared, Source
from .synthetic import Classes, Samples, Seed, check_size

CARD = Card(
    title="Synthetic images: one random template for each class, plus noise",
    origin="made here from a seed",
    licence="CC0-1.0",
    size="any, 512 x 3x32x32 and 10 classes by default",
    caveats=(
        "For measuring speed: far easier to learn than real images. `samples` counts all three "
        "splits, 70/15/15."
    ),
)


class Parameters(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The query; `shape` is channels x height x width."""

    samples: Samples = 512
    shape: Annotated[str, Meta(pattern=r"^[1-9][0-9]*x[1-9][0-9]*x[1-9][0-9]*\Z")] = "3x32x32"
    classes: Classes = 10
    seed: Seed = 0


def prepare(parameters: Parameters, files: list[File]) -> Prepared:
    """Return x float32 [N, C, H, W], normalised, and y int64 [N], equally many of each class."""
    shape = tuple(int(size) for size in parameters.shape.split("x"))
    check_size("synthetic-images", max(parameters.samples, parameters.classes), *shape)
    random = stream("synthetic-images", parameters.seed)
    labels = np.arange(parameters.samples) % parameters.classes
    templates = random.integers(64, 192, (parameters.classes, *shape), dtype=np.uint8)
    images = random.standard_normal((parameters.samples, *shape), dtype=np.float32)
    images *= 48
    images += templates[labels]
    pixels = np.clip(images, 0, 255).astype(np.uint8)
    splits = [(pixels[rows], labels[rows]) for rows in cut(shuffle(labels))]
    return classified_images(splits, card=CARD, num_classes=parameters.classes)


SOURCE = Source(
    card=CARD,
    usage="synthetic-images?samples=512&shape=3x32x32&classes=10&seed=0",
    prepare=prepare,
    parameters=Parameters,
)
