"""What every formula takes and gives: a forward pass, and the way back."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ...models import Node, layers
from ..contract import Masks, Weights

Array = np.ndarray
Backprop = Callable[[Array], tuple[Array | None, Weights]]


class Pass(NamedTuple):
    """One forward pass: what the layer functions need beside their input."""

    weights: Weights
    training: bool
    masks: Masks | None
    rng: np.random.Generator
    outputs: dict[str, Array]
    statistics: Weights  # running statistics as they will be, if a step is taken

    def weight(self, node: Node[layers.Layer], role: str) -> Array:
        return self.weights[f"{node.key}.{role}"]
