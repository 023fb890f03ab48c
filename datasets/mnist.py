"""MNIST, from four IDX files: the user's own, or downloaded."""

from __future__ import annotations

from functools import partial

from .archive import Archive, prepare_archive, read_archive
from .checksums import SHA256
from .dataset import Card
from .source import File, NoParameters, Prepared, Source

CARD = Card(
    title="MNIST handwritten digits",
    origin="LeCun, Cortes and Burges 1998, from NIST; downloaded, or your four IDX files",
    licence="CC BY-SA 3.0",
    size="70,000 x 1x28x28, 10 classes",
    caveats=(
        "Split 55,000 / 5,000 / 10,000; the test split is MNIST's own. Downloads are checked "
        "against the published checksums, your own files only for their form."
    ),
)

ARCHIVE = Archive(
    name="mnist",
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    sha256=SHA256["mnist"],
)


def prepare(parameters: NoParameters, files: list[File]) -> Prepared:
    """Return x float32 [N, 1, 28, 28], normalised, and y int64 [N]: the digit."""
    return prepare_archive(CARD, files)


SOURCE = Source(card=CARD, usage="mnist", read=partial(read_archive, ARCHIVE), prepare=prepare)
