"""Types of the spec's numbers and shapes, shared by layers, losses and optimizers."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

Shape = tuple[int, ...]  # of one sample: the batch axis is never written

PositiveInt = Annotated[int, Meta(ge=1, le=2**53)]  # what JSON holds for every reader
Natural = Annotated[int, Meta(ge=0, le=2**53)]
# Bounded above so that an infinity is refused; Meta takes no infinite bound.
PositiveFloat = Annotated[float, Meta(gt=0, le=1e30)]
NonNegativeFloat = Annotated[float, Meta(ge=0, le=1e30)]
Finite = Annotated[float, Meta(ge=-1e30, le=1e30)]
Fraction = Annotated[float, Meta(ge=0, lt=1)]

# Not `tuple[PositiveInt, PositiveInt]`: msgspec 0.22.0 reads freed memory when a union has both a
# bounded int and a tuple of fixed length.
_TwoLong = Meta(min_length=2, max_length=2)
Size = PositiveInt | Annotated[tuple[PositiveInt, ...], _TwoLong]
Padding = Natural | Annotated[tuple[Natural, ...], _TwoLong]


def pair(size: int | tuple[int, ...]) -> tuple[int, ...]:
    """Return `(height, width)`: one integer stands for both."""
    return (size, size) if isinstance(size, int) else size


def show(shape: Shape) -> str:
    """Return a shape as it is written in TOML: `[1, 28, 28]`."""
    return str(list(shape))
