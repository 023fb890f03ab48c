"""Small models on which the mutations show: each has the constructs of a few of them."""

from __future__ import annotations

from typing import Any

from ....models import Model, layers, losses, optimizers
from ....models.initializers import Normal

_RANDOM: dict[str, Any] = {
    "weight_initializer": Normal(std=0.5),
    "bias_initializer": Normal(std=0.5),
}
_RECURRENT: dict[str, Any] = {**_RANDOM, "recurrent_initializer": Normal(std=0.5)}
_RATE = 0.0625
_MOMENTUM = optimizers.SGD(learning_rate=_RATE, momentum=0.875)
_CLIPPED = optimizers.SGD(learning_rate=_RATE, momentum=0.875, clip_norm=2.0**-10)


def _model(
    name: str,
    shape: tuple[int, ...],
    *body: layers.Layer,
    loss: losses.Loss | None = None,
    optimizer: optimizers.Optimizer = _MOMENTUM,
) -> Model:
    """Return a model of these layers, and a head of three units."""
    head = layers.Dense(name="head", units=3, **_RANDOM)
    loss = loss or losses.SoftmaxCrossEntropy()
    return Model(name=name, input=shape, layers=(*body, head), loss=loss, optimizer=optimizer)


def _perceptron(
    name: str, optimizer: optimizers.Optimizer, loss: losses.Loss | None = None
) -> Model:
    hidden = layers.Dense(name="hidden", units=5, **_RANDOM)
    return _model(name, (4,), hidden, layers.Tanh(), loss=loss, optimizer=optimizer)


def _faint(name: str, optimizer: optimizers.Optimizer) -> Model:
    """The gradients of the first layer are as small as the epsilon that they are added to."""
    hidden = layers.Dense(name="hidden", units=5, **_RANDOM)
    narrow = layers.Dense(name="narrow", units=4, weight_initializer=Normal(std=1e-7))
    return _model(name, (4,), hidden, layers.Tanh(), narrow, optimizer=optimizer)


def _square() -> Model:
    return _model("square", (4,), layers.Dense(name="hidden", units=4, **_RANDOM), layers.Tanh())


def _images() -> Model:
    """`same` pads one side alone, the pools have a border, and negative values lie on it."""
    return _model(
        "images",
        (2, 6, 6),
        layers.Conv2D(
            name="conv", filters=3, kernel_size=3, stride=2, padding="same", use_bias=False
        ),
        layers.BatchNorm(name="norm"),
        layers.MaxPool2D(kernel_size=3, stride=1, padding=1),
        layers.AvgPool2D(kernel_size=3, stride=1, padding=1, count_include_pad=False),
        layers.ConvTranspose2D(name="up", filters=2, kernel_size=2, **_RANDOM),
        layers.Flatten(),
    )


def _text(name: str, *body: layers.Layer) -> Model:
    words = layers.Embedding(
        name="words", vocabulary_size=24, units=4, weight_initializer=Normal(std=0.5)
    )
    return _model(name, (6,), words, *body, layers.GlobalAvgPool1D())


def _ties() -> Model:
    """A word that is there twice is a maximum twice."""
    words = layers.Embedding(
        name="words", vocabulary_size=2, units=4, weight_initializer=Normal(std=0.5)
    )
    pool = layers.MaxPool2D(kernel_size=(6, 1))
    return _model("ties", (6,), words, layers.Reshape(shape=(1, 6, 4)), pool, layers.Flatten())


_MODELS = (
    _faint("adam", optimizers.Adam(learning_rate=_RATE)),
    _perceptron("adam-decay", optimizers.Adam(learning_rate=_RATE, weight_decay=0.25)),
    _perceptron("adamw", optimizers.AdamW(learning_rate=_RATE, weight_decay=0.25)),
    _perceptron("momentum", _MOMENTUM),
    _perceptron("nesterov", optimizers.SGD(learning_rate=_RATE, momentum=0.875, nesterov=True)),
    _faint("rmsprop", optimizers.RMSprop(learning_rate=_RATE)),
    _faint("adagrad", optimizers.Adagrad(learning_rate=_RATE)),
    _perceptron("clipped", _CLIPPED, losses.Huber(delta=2.0**-8)),
    _perceptron("smoothed", _MOMENTUM, losses.SoftmaxCrossEntropy(label_smoothing=0.25)),
    _perceptron("squares", _MOMENTUM, losses.MSE()),
    _square(),
    _images(),
    _model("rnn", (5, 3), layers.SimpleRNN(name="rnn", units=4, **_RECURRENT)),
    _model("lstm", (5, 3), layers.LSTM(name="lstm", units=4, bidirectional=True, **_RECURRENT)),
    _model("gru", (5, 3), layers.GRU(name="gru", units=4, **_RECURRENT)),
    _text(
        "attention",
        layers.LayerNorm(name="norm"),
        layers.MultiHeadAttention(name="mix", num_heads=2, causal=True),
    ),
    _model(
        "activations",
        (4,),
        layers.Dense(name="hidden", units=5, **_RANDOM),
        layers.PReLU(name="rectify", alpha_initializer=Normal(std=0.5)),
        layers.GELU(),
        layers.LeakyReLU(),
        layers.HardSigmoid(),
    ),
    _model(
        "dropout",
        (4,),
        layers.Dense(name="hidden", units=5, **_RANDOM),
        layers.Dropout(name="drop"),
    ),
    _ties(),
)
MODELS = {model.name: model for model in _MODELS}
