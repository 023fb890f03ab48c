"""Datasets: `load(name)` writes one once, as memory-mapped arrays, and opens it ever after.

The flow is one way: a name is looked up in `catalogue` -> the source reads its files -> their hash
names a folder of the cache -> if that folder is not there, the source prepares the arrays and
`loading` writes them -> `open_dataset` maps them. One module per source, each with its data card;
what passes between them is in `source`, what they share in `preparation`. To open a folder needs
numpy and msgspec alone, so `load` and `CARDS` are imported late.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from .dataset import Card, Dataset, Split, open_dataset

if TYPE_CHECKING:
    from .catalogue import CARDS
    from .loading import load

__all__ = ["CARDS", "Card", "Dataset", "Split", "load", "open_dataset"]

_LATE = {"CARDS": ".catalogue", "load": ".loading"}


def __getattr__(name: str) -> object:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LATE[name], __name__), name)
