"""What the queries of the three synthetic datasets share."""

from __future__ import annotations

import math
from typing import Annotated, TypeAlias

from msgspec import Meta

from ..models.errors import InputError

Samples: TypeAlias = Annotated[int, Meta(ge=10)]
Count: TypeAlias = Annotated[int, Meta(ge=1)]
Classes: TypeAlias = Annotated[int, Meta(ge=2)]
Seed: TypeAlias = Annotated[int, Meta(ge=0)]

MAX_VALUES = 2**30


def check_size(name: str, *sizes: int) -> None:
    """Raise InputError when an array of these sizes would not fit an ordinary machine."""
    if math.prod(sizes) > MAX_VALUES:
        raise InputError(
            f"{name}: {' x '.join(map(str, sizes))} values in x, expected at most {MAX_VALUES}; "
            f"lower samples or the size of a sample"
        )
