"""Small handwritten digits, out of scikit-learn."""

from __future__ import annotations

import numpy as np

from .dataset import Card
from .preparation import classified_images, cut, shuffle
from .source import File, NoParameters, Prepared, Source

CARD = Card(
    title="Handwritten digits of 8x8 pixels",
    origin="Alpaydin and Kaynak 1998, UCI optdigits (its test part); the copy in scikit-learn",
    licence="CC BY 4.0",
    size="1,797 x 1x8x8, 10 classes",
    caveats="Pixels are counts from 0 to 16. Writers are mixed across the splits.",
)


def prepare(parameters: NoParameters, files: list[File]) -> Prepared:
    """Return x float32 [N, 1, 8, 8], normalised, and y int64 [N], split 70/15/15, stratified."""
    from sklearn.datasets import load_digits  # type: ignore[import-untyped]

    bunch = load_digits()
    images, labels = bunch.images[:, None].astype(np.uint8), bunch.target.astype(np.int64)
    splits = [(images[rows], labels[rows]) for rows in cut(shuffle(labels))]
    return classified_images(splits, card=CARD, num_classes=10)


SOURCE = Source(card=CARD, usage="digits", prepare=prepare)
