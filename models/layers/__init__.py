"""The layers: one frozen Struct each, whose docstring is the normative formula and shapes.

Shapes leave out the batch axis N; images are [C, H, W], signals [C, L], sequences [T, D]. A layer
with weights, and a dropout, has a name. Every Struct says three things of itself:
`output_shape(input shape)` (a ValueError when the input does not fit), `weights(input shape)` by
role in canonical layout, and `flops(input shape, output shape)` of the forward pass for one sample,
where a multiply-add counts two and only contractions count (biases, activations, normalisation and
pooling are bound by memory, not by arithmetic).
"""

from .activation import (
    ELU,
    GELU,
    Dropout,
    HardSigmoid,
    LeakyReLU,
    PReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from .attention import MultiHeadAttention
from .base import Name
from .composite import Concat, Layer, Residual
from .convolution import Conv1D, Conv2D, ConvTranspose2D
from .dense import Dense, Embedding
from .normalization import BatchNorm, LayerNorm
from .pooling import AvgPool2D, GlobalAvgPool1D, GlobalAvgPool2D, MaxPool2D
from .recurrent import GRU, LSTM, SimpleRNN
from .shape import Flatten, Permute, Reshape

__all__ = [
    "ELU",
    "GELU",
    "GRU",
    "LSTM",
    "AvgPool2D",
    "BatchNorm",
    "Concat",
    "Conv1D",
    "Conv2D",
    "ConvTranspose2D",
    "Dense",
    "Dropout",
    "Embedding",
    "Flatten",
    "GlobalAvgPool1D",
    "GlobalAvgPool2D",
    "HardSigmoid",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "MaxPool2D",
    "MultiHeadAttention",
    "Name",
    "PReLU",
    "Permute",
    "ReLU",
    "Reshape",
    "Residual",
    "SiLU",
    "Sigmoid",
    "SimpleRNN",
    "Softmax",
    "Softplus",
    "Tanh",
]
