"""The Wisconsin diagnostic breast cancer table, out of scikit-learn."""

from __future__ import annotations

import numpy as np

from .dataset import Card
from .preparation import classification_table
from .source import File, NoParameters, Prepared, Source

CARD = Card(
    title="Breast cancer Wisconsin: malignant (0) or benign (1) from 30 measures of cell nuclei",
    origin="Wolberg, Street and Mangasarian 1995, UCI; the copy in scikit-learn",
    licence="CC BY 4.0",
    size="569 x 30, 2 classes",
    caveats="212 malignant and 357 benign, kept in proportion in each split. No medical use.",
)


def prepare(parameters: NoParameters, files: list[File]) -> Prepared:
    """Return x float64 [N, 30], standardised, and y int64 [N], split 70/15/15, stratified."""
    from sklearn.datasets import load_breast_cancer  # type: ignore[import-untyped]

    bunch = load_breast_cancer()
    x, y = bunch.data.astype(np.float64), bunch.target.astype(np.int64)
    names = [str(name) for name in bunch.feature_names]
    return classification_table(x, y, card=CARD, feature_names=names, num_classes=2)


SOURCE = Source(card=CARD, usage="breast-cancer", prepare=prepare)
