"""Whether the last layer lets through what the loss expects; called by `model`.

A loss takes any number. An activation before it bounds the numbers: most often because another
framework's loss takes probabilities.
"""

from __future__ import annotations

from collections.abc import Iterable

from .layers import (
    GRU,
    LSTM,
    AvgPool2D,
    Dropout,
    Flatten,
    GlobalAvgPool1D,
    GlobalAvgPool2D,
    HardSigmoid,
    Layer,
    MaxPool2D,
    Permute,
    ReLU,
    Reshape,
    Sigmoid,
    SimpleRNN,
    Softmax,
    Softplus,
    Tanh,
)
from .losses import BinaryCrossEntropy, Loss, SoftmaxCrossEntropy

_BOUNDS: dict[type, str] = {
    Softmax: "between 0 and 1",
    Sigmoid: "between 0 and 1",
    HardSigmoid: "between 0 and 1",
    Tanh: "between -1 and 1",
    LSTM: "between -1 and 1",
    GRU: "between -1 and 1",
    ReLU: "never below 0",
    Softplus: "never below 0",
}
_KEEP_BOUNDS = (
    AvgPool2D, Dropout, Flatten, GlobalAvgPool1D, GlobalAvgPool2D, MaxPool2D, Permute, Reshape,
)  # fmt: skip
# What a loss applies itself.
_OWN: dict[type, type] = {SoftmaxCrossEntropy: Softmax, BinaryCrossEntropy: Sigmoid}


def ending_warning(layers: Iterable[tuple[str, Layer]], loss: Loss) -> str:
    """Say in a line what a loss makes of layers, by their keys, whose output is bounded; nothing of
    any other.
    """
    open_ones = [(key, layer) for key, layer in layers if not isinstance(layer, _KEEP_BOUNDS)]
    if not open_ones or not (bounds := _bounds(open_ones[-1][1])):
        return ""
    key, layer = open_ones[-1]
    activation, tag = _tag(layer), _tag(loss)
    own = _OWN.get(type(loss))
    if own is None:
        effect = (
            "a regression target is standardised: about half of them lie below 0, some beyond 1"
        )
    elif own is type(layer):
        effect = f"the loss applies a {activation} itself: two in a row are trained"
    else:
        effect = f"the loss applies a {_tag(own)} itself, to outputs of any size"
    mend = (
        "put a dense after it" if isinstance(layer, _RECURRENT) else f"leave the {activation} out"
    )
    return f'"{key}" ({activation}) before {tag} gives outputs {bounds}; {effect}; {mend}'


_RECURRENT = (SimpleRNN, LSTM, GRU)


def _bounds(layer: Layer) -> str:
    if isinstance(layer, SimpleRNN):
        return _BOUNDS[Tanh if layer.activation == "tanh" else ReLU]
    return _BOUNDS.get(type(layer), "")


def _tag(spec: object) -> str:
    return str(spec.__struct_config__.tag)  # type: ignore[attr-defined]
