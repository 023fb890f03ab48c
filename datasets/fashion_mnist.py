"""Fashion-MNIST, from four IDX files: the user's own, or downloaded."""

from __future__ import annotations

from functools import partial

from .archive import Archive, prepare_archive, read_archive
from .checksums import SHA256
from .dataset import Card
from .source import File, NoParameters, Prepared, Source

CARD = Card(
    title="Fashion-MNIST: pictures of clothes in the form of MNIST",
    origin="Xiao, Rasul and Vollgraf 2017, Zalando; downloaded, or your four IDX files",
    licence="MIT",
    size="70,000 x 1x28x28, 10 classes",
    caveats=(
        "Split 55,000 / 5,000 / 10,000; the test split is the archive's own. Its files have the "
        "same names as MNIST's: keep them in folders of their own."
    ),
)

ARCHIVE = Archive(
    name="fashion-mnist",
    mirrors=(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    ),
    sha256=SHA256["fashion-mnist"],
)


def prepare(parameters: NoParameters, files: list[File]) -> Prepared:
    """Return x float32 [N, 1, 28, 28], normalised, and y int64 [N]: the kind of clothing."""
    return prepare_archive(CARD, files)


SOURCE = Source(
    card=CARD, usage="fashion-mnist", read=partial(read_archive, ARCHIVE), prepare=prepare
)
