"""Small models on which the mutations show: each has the constructs of a few of them."""

from __future__ import annotations

from typing import Any

from ...models import Model
from ...models.initializers import Normal
from ...models.layers import (
    GELU,
    GRU,
    LSTM,
    AvgPool2D,
    BatchNorm,
    Conv2D,
    ConvTranspose2D,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    GlobalAvgPool1D,
    HardSigmoid,
    Layer,
    LayerNorm,
    LeakyReLU,
    MaxPool2D,
    MultiHeadAttention,
    Reshape,
    SimpleRNN,
    Tanh,
)
from ...models.losses import MSE, Huber, Loss, SoftmaxCrossEntropy
from ...models.optimizers import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop

_RANDOM: dict[str, Any] = {
    "weight_initializer": Normal(std=0.5),
    "bias_initializer": Normal(std=0.5),
}
_RECURRENT: dict[str, Any] = {**_RANDOM, "recurrent_initializer": Normal(std=0.5)}
_RATE = 0.0625
_MOMENTUM = SGD(learning_rate=_RATE, momentum=0.875)
_CLIPPED = SGD(learning_rate=_RATE, momentum=0.875, clip_norm=2.0**-10)


def _host(
    name: str,
    shape: tuple[int, ...],
    *layers: Layer,
    loss: Loss | None = None,
    optimizer: Optimizer = _MOMENTUM,
) -> Model:
    """Return a model of these layers, and a head of three units."""
    head = Dense(name="head", units=3, **_RANDOM)
    loss = loss or SoftmaxCrossEntropy()
    return Model(name=name, input=shape, layers=(*layers, head), loss=loss, optimizer=optimizer)


def _perceptron(name: str, optimizer: Optimizer, loss: Loss | None = None) -> Model:
    hidden = Dense(name="hidden", units=5, **_RANDOM)
    return _host(name, (4,), hidden, Tanh(), loss=loss, optimizer=optimizer)


def _faint(name: str, optimizer: Optimizer) -> Model:
    """The gradients of the first layer are as small as the epsilon that they are added to."""
    hidden = Dense(name="hidden", units=5, **_RANDOM)
    narrow = Dense(name="narrow", units=4, weight_initializer=Normal(std=1e-7))
    return _host(name, (4,), hidden, Tanh(), narrow, optimizer=optimizer)


def _square() -> Model:
    return _host("square", (4,), Dense(name="hidden", units=4, **_RANDOM), Tanh())


def _images() -> Model:
    """`same` pads one side alone, the pools have a border, and negative values lie on it."""
    return _host(
        "images",
        (2, 6, 6),
        Conv2D(name="conv", filters=3, kernel_size=3, stride=2, padding="same", use_bias=False),
        BatchNorm(name="norm"),
        MaxPool2D(kernel_size=3, stride=1, padding=1),
        AvgPool2D(kernel_size=3, stride=1, padding=1, count_include_pad=False),
        ConvTranspose2D(name="up", filters=2, kernel_size=2, **_RANDOM),
        Flatten(),
    )


def _text(name: str, *layers: Layer) -> Model:
    words = Embedding(name="words", vocabulary_size=24, units=4, weight_initializer=Normal(std=0.5))
    return _host(name, (6,), words, *layers, GlobalAvgPool1D())


def _ties() -> Model:
    """A word that is there twice is a maximum twice."""
    words = Embedding(name="words", vocabulary_size=2, units=4, weight_initializer=Normal(std=0.5))
    pool = MaxPool2D(kernel_size=(6, 1))
    return _host("ties", (6,), words, Reshape(shape=(1, 6, 4)), pool, Flatten())


_HOSTS = (
    _faint("adam", Adam(learning_rate=_RATE)),
    _perceptron("adam-decay", Adam(learning_rate=_RATE, weight_decay=0.25)),
    _perceptron("adamw", AdamW(learning_rate=_RATE, weight_decay=0.25)),
    _perceptron("momentum", _MOMENTUM),
    _perceptron("nesterov", SGD(learning_rate=_RATE, momentum=0.875, nesterov=True)),
    _faint("rmsprop", RMSprop(learning_rate=_RATE)),
    _faint("adagrad", Adagrad(learning_rate=_RATE)),
    _perceptron("clipped", _CLIPPED, Huber(delta=2.0**-8)),
    _perceptron("smoothed", _MOMENTUM, SoftmaxCrossEntropy(label_smoothing=0.25)),
    _perceptron("squares", _MOMENTUM, MSE()),
    _square(),
    _images(),
    _host("rnn", (5, 3), SimpleRNN(name="rnn", units=4, **_RECURRENT)),
    _host("lstm", (5, 3), LSTM(name="lstm", units=4, bidirectional=True, **_RECURRENT)),
    _host("gru", (5, 3), GRU(name="gru", units=4, **_RECURRENT)),
    _text(
        "attention",
        LayerNorm(name="norm"),
        MultiHeadAttention(name="mix", num_heads=2, causal=True),
    ),
    _host(
        "activations",
        (4,),
        Dense(name="hidden", units=5, **_RANDOM),
        GELU(),
        LeakyReLU(),
        HardSigmoid(),
    ),
    _host("dropout", (4,), Dense(name="hidden", units=5, **_RANDOM), Dropout(name="drop")),
    _ties(),
)
HOSTS = {model.name: model for model in _HOSTS}
