"""Each layer as a plan has it: a function of its own, or else the reference's formula."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...models import layers
from .. import reference
from ..contract import lowering

# What is not called here is found by its name: see LAYERS.
from .composite import concat, residual  # noqa: F401
from .convolution import conv2d, pooled_conv2d  # noqa: F401
from .dense import dense  # noqa: F401
from .elementwise import dropout, flatten, permute, relu, reshape, sigmoid, tanh  # noqa: F401
from .normalization import batch_norm  # noqa: F401
from .plan import canonical
from .pooling import (  # noqa: F401
    avg_pool2d,
    global_avg_pool1d,
    global_avg_pool2d,
    max_pool2d,
    pooled_relu,
)
from .recurrent import lstm  # noqa: F401

_PLANNED = lowering(layers.Layer, globals())

LAYERS: dict[type, Callable[..., Any]] = {
    spec: _PLANNED.get(spec) or canonical(formula) for spec, formula in reference.LAYERS.items()
}
FUSIONS: dict[tuple[type, ...], Callable[..., Any]] = {
    (layers.Conv2D, layers.ReLU, layers.MaxPool2D): pooled_conv2d,
    (layers.Conv2D, layers.MaxPool2D): pooled_conv2d,
    (layers.ReLU, layers.MaxPool2D): pooled_relu,
}
