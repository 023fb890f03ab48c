"""Five points on the line y = 2x: the smallest thing that can be learnt."""

from __future__ import annotations

import numpy as np

from .dataset import Card, Split
from .source import File, NoParameters, Prepared, Source

CARD = Card(
    title="The line y = 2x",
    origin="made here",
    licence="CC0-1.0",
    size="5 x 1, regression",
    caveats=(
        "Train on x = 1, 2, 3; validate on x = 4; test on x = 5. Nothing is normalised, so that "
        "one can watch the weight approach 2 and the bias 0."
    ),
)


def prepare(parameters: NoParameters, files: list[File]) -> Prepared:
    """Return x float64 [N, 1] and y float64 [N, 1], as they are."""
    return Prepared(
        card=CARD,
        task="regression",
        splits=(_points(1, 2, 3), _points(4), _points(5)),
        feature_names=("x",),
    )


def _points(*values: int) -> Split:
    x = np.array(values, np.float64)[:, None]
    return Split(x, 2 * x)


SOURCE = Source(card=CARD, usage="line", prepare=prepare)
