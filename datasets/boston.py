"""The Boston housing table, out of the mlxtend package."""

from __future__ import annotations

import io

import numpy as np

from .dataset import Card
from .package_data import read_package_file
from .preparation import regression_table
from .source import File, NoParameters, Prepared, Request, Source

FEATURE_NAMES = (
    *("CRIM", "ZN", "INDUS", "CHAS", "NOX", "RM", "AGE"),
    *("DIS", "RAD", "TAX", "PTRATIO", "B", "LSTAT"),
)

CARD = Card(
    title="Boston housing: median house value of a census tract, in 1000 dollars of 1970",
    origin="Harrison and Rubinfeld 1978, StatLib; the copy in mlxtend",
    licence="none stated by StatLib; mlxtend is BSD-3-Clause",
    size="506 x 13, regression",
    caveats=(
        "Kept because it is a classic. scikit-learn removed it in 1.2: the column B, "
        "1000 (Bk - 0.63)^2, encodes the share of Black residents on the assumption that "
        "segregation raises house prices, which is an ethical problem. Draw no conclusion about "
        "houses or people from it; the dataset `diabetes` serves instead. "
        "Targets are capped at 50."
    ),
)


def read(request: Request) -> list[File]:
    """Read the table: 506 lines of 14 numbers, no header, the target last."""
    return [read_package_file("mlxtend", "data/data/boston_housing.csv")]


def prepare(parameters: NoParameters, files: list[File]) -> Prepared:
    """Return x float64 [N, 13] and y float64 [N, 1], both standardised, split 70/15/15."""
    table = np.loadtxt(io.BytesIO(files[0].data), delimiter=",", dtype=np.float64)
    return regression_table(table[:, :-1], table[:, -1], card=CARD, feature_names=FEATURE_NAMES)


SOURCE = Source(card=CARD, usage="boston", read=read, prepare=prepare)
