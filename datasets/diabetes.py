"""The diabetes table, out of scikit-learn."""

from __future__ import annotations

import numpy as np

from .dataset import Card
from .preparation import regression_table
from .source import File, NoParameters, Prepared, Source

CARD = Card(
    title="Diabetes: progression of the disease one year after ten measurements",
    origin="Efron, Hastie, Johnstone and Tibshirani 2004 (LARS); the copy in scikit-learn",
    licence="none stated by its authors; scikit-learn is BSD-3-Clause",
    size="442 x 10, regression",
    caveats="Few rows and much noise: an R² of about 0.5 is good.",
)


def prepare(parameters: NoParameters, files: list[File]) -> Prepared:
    """Return x float64 [N, 10] and y float64 [N, 1], both standardised, split 70/15/15."""
    from sklearn.datasets import load_diabetes  # type: ignore[import-untyped]

    bunch = load_diabetes(scaled=False)
    x, y = bunch.data.astype(np.float64), bunch.target.astype(np.float64)
    return regression_table(x, y, card=CARD, feature_names=bunch.feature_names)


SOURCE = Source(card=CARD, usage="diabetes", prepare=prepare)
