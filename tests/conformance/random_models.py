"""Random small models: sequences and branches of random layers, with a random loss and optimizer.

Only what an adapter's tables list is drawn. Sizes stay within a few units, so that hundreds of
models take seconds, and every model that is drawn is a legal one: nothing is filtered out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st

from bakeoff.backends.contract import Adapter
from bakeoff.models import Model
from bakeoff.models.initializers import Normal
from bakeoff.models.layers import (
    ELU,
    GELU,
    GRU,
    LSTM,
    AvgPool2D,
    BatchNorm,
    Concat,
    Conv1D,
    Conv2D,
    ConvTranspose2D,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    GlobalAvgPool1D,
    GlobalAvgPool2D,
    HardSigmoid,
    Layer,
    LayerNorm,
    LeakyReLU,
    MaxPool2D,
    MultiHeadAttention,
    Permute,
    PReLU,
    ReLU,
    Residual,
    Sigmoid,
    SiLU,
    SimpleRNN,
    Softmax,
    Softplus,
    Tanh,
)
from bakeoff.models.losses import MAE, MSE, BinaryCrossEntropy, Huber, Loss, SoftmaxCrossEntropy
from bakeoff.models.optimizers import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop
from bakeoff.models.schedules import (
    ConstantRate,
    CosineDecay,
    ExponentialDecay,
    Schedule,
    StepDecay,
)

Shape = tuple[int, ...]
Draw = Callable[[st.SearchStrategy[Any]], Any]

_MOST = 128  # numbers per sample: a layer that makes more is followed by the head
_RANDOM = {"weight_initializer": Normal(std=0.5), "bias_initializer": Normal(std=0.5)}
_RECURRENT = {**_RANDOM, "recurrent_initializer": Normal(std=0.5)}
_SMALL = st.integers(1, 4)
_KEEPS_SHAPE: Sequence[type] = (
    *(
        ReLU,
        LeakyReLU,
        PReLU,
        ELU,
        GELU,
        Sigmoid,
        HardSigmoid,
        Tanh,
        Softplus,
        SiLU,
        Softmax,
        Dropout,
        LayerNorm,
    ),
)
_BY_RANK: dict[int, Sequence[type]] = {
    1: (Dense, BatchNorm, Residual, Concat),
    2: (Dense, Conv1D, SimpleRNN, LSTM, GRU, MultiHeadAttention, Permute, GlobalAvgPool1D, Flatten,
        Residual),
    3: (Conv2D, ConvTranspose2D, MaxPool2D, AvgPool2D, BatchNorm, GlobalAvgPool2D, Permute, Flatten,
        Residual, Concat),
}  # fmt: skip


@st.composite
def models(draw: Draw, adapter: Adapter) -> Model:
    """Draw a model of what `adapter` supports: one to five layers, then a dense head."""
    layers: list[Layer] = []
    if Embedding in adapter.LAYERS and draw(st.integers(0, 9)) == 9:
        shape: Shape = (draw(st.integers(2, 5)),)
        first = Embedding(name="ids", vocabulary_size=draw(st.integers(2, 6)),
                          units=draw(_SMALL), weight_initializer=Normal(std=0.5))  # fmt: skip
        layers.append(first)
        inputs, shape = shape, first.output_shape(shape)
    else:
        shape = inputs = _input_shape(draw)
    body, shape = _sequence(draw, adapter, shape, "layer", depth=0)
    layers += body
    if len(shape) > 1:
        layers.append(Flatten())
    loss, outputs = _loss(draw, adapter)
    layers.append(Dense(name="head", units=outputs, **_RANDOM))
    return Model(
        name="random",
        input=inputs,
        layers=tuple(layers),
        loss=loss,
        optimizer=_optimizer(draw, adapter),
    )


def _input_shape(draw: Draw) -> Shape:
    match draw(st.integers(1, 3)):
        case 1:
            return (draw(st.integers(2, 7)),)
        case 2:
            return (draw(st.integers(2, 5)), draw(st.integers(2, 5)))
        case _:
            return (draw(st.integers(1, 3)), draw(st.integers(2, 6)), draw(st.integers(2, 6)))


def _sequence(
    draw: Draw, adapter: Adapter, shape: Shape, name: str, *, depth: int
) -> tuple[list[Layer], Shape]:
    layers: list[Layer] = []
    for position in range(draw(st.integers(1, 3 if depth else 5))):
        if math.prod(shape) > _MOST:
            break
        for layer in _layers(draw, adapter, shape, f"{name}{position}", depth):
            layers.append(layer)
            shape = _output_shape(layer, shape)
    return layers, shape


def _output_shape(layer: Layer, shape: Shape) -> Shape:
    ends = []
    for branch in layer.branches().values():
        end = shape
        for inner in branch:
            end = _output_shape(inner, end)
        ends.append(end)
    return layer.output_shape(*(ends or [shape]))


def _layers(draw: Draw, adapter: Adapter, shape: Shape, name: str, depth: int) -> list[Layer]:
    """Draw a layer that fits `shape`, with what has to stand before it."""
    known = [kind for kind in (*_KEEPS_SHAPE, *_BY_RANK[len(shape)]) if kind in adapter.LAYERS]
    if depth == 2:
        known = [kind for kind in known if kind not in (Residual, Concat)]
    if len(shape) == 3 or shape[-1] == 1:  # there Keras warns, rightly, that softmax gives 1
        known = [kind for kind in known if kind not in (Softmax, LayerNorm)]
    kind = draw(st.sampled_from(known))
    match kind:
        case _ if kind in (Residual, Concat):
            return [_branching(draw, adapter, kind, shape, name, depth)]
        case _ if kind is BatchNorm:  # after a bias, whose gradient would be nothing but rounding
            return [_affine(draw, shape, f"{name}-before", use_bias=False), BatchNorm(name=name)]
        case _ if kind in (SimpleRNN, LSTM, GRU):
            return [
                kind(
                    name=name,
                    units=draw(_SMALL),
                    return_sequences=draw(st.booleans()),
                    bidirectional=draw(st.booleans()),
                    **_RECURRENT,
                )
            ]
        case _ if kind is MultiHeadAttention:
            heads = draw(st.sampled_from([n for n in (1, 2, 3) if shape[1] % n == 0]))
            return [kind(name=name, num_heads=heads, causal=draw(st.booleans()),
                         weight_initializer=Normal(std=0.5))]  # fmt: skip
        case _ if kind is Dense:
            return [_affine(draw, shape, name, use_bias=draw(st.booleans()))]
        case _ if kind is Conv1D:
            return [_conv1d(draw, shape, name)]
        case _ if kind is Conv2D:
            return [_conv2d(draw, shape, name)]
        case _ if kind is ConvTranspose2D:
            return [_conv_transpose2d(draw, name)]
        case _ if kind in (MaxPool2D, AvgPool2D):
            return [_pool(draw, kind, shape)]
        case _ if kind is Permute:
            return [kind(axes=tuple(draw(st.permutations(range(len(shape))))))]
        case _ if kind is Dropout:
            return [kind(name=name, rate=draw(st.sampled_from([0.25, 0.5])))]
        case _ if kind is LayerNorm:
            return [kind(name=name, epsilon=draw(st.sampled_from([1e-5, 0.125])))]
        case _ if kind is LeakyReLU:
            return [kind(negative_slope=draw(st.sampled_from([0.01, 0.25])))]
        case _ if kind is PReLU:
            return [kind(name=name, alpha_initializer=Normal(std=0.5))]
        case _ if kind is GELU:
            return [kind(approximation=draw(st.sampled_from(["none", "tanh"])))]
        case _:
            return [kind()]


def _branching(
    draw: Draw, adapter: Adapter, kind: type, shape: Shape, name: str, depth: int
) -> Layer:
    """Branches whose ends fit: an affine layer brings each back to the shape of the input."""

    def branch(place: str) -> tuple[Layer, ...]:
        layers, end = _sequence(draw, adapter, shape, f"{name}-{place}", depth=depth + 1)
        if end != shape:
            layers += _back_to(shape, end, f"{name}-{place}-end")
        return tuple(layers)

    if kind is Concat:
        return Concat(paths=((), branch("path")))
    shortcut = branch("shortcut") if draw(st.booleans()) else ()
    return Residual(body=branch("body"), shortcut=shortcut)


def _back_to(shape: Shape, end: Shape, name: str) -> list[Layer]:
    from bakeoff.models.layers import Reshape

    layers: list[Layer] = [Flatten()] if len(end) > 1 else []
    layers.append(Dense(name=name, units=math.prod(shape), **_RANDOM))
    return layers if len(shape) == 1 else [*layers, Reshape(shape=shape)]


def _affine(draw: Draw, shape: Shape, name: str, *, use_bias: bool) -> Layer:
    if len(shape) == 3:
        return Conv2D(name=name, filters=draw(_SMALL), kernel_size=1, use_bias=use_bias, **_RANDOM)
    return Dense(name=name, units=draw(_SMALL), use_bias=use_bias, **_RANDOM)


def _conv1d(draw: Draw, shape: Shape, name: str) -> Layer:
    kernel = draw(st.integers(1, min(3, shape[1])))
    widest = (shape[1] - 1) // (kernel - 1) if kernel > 1 else 2
    groups = draw(st.sampled_from([n for n in (1, 2) if shape[0] % n == 0]))
    return Conv1D(
        name=name,
        filters=groups * draw(_SMALL),
        kernel_size=kernel,
        stride=draw(st.integers(1, 2)),
        padding=draw(st.sampled_from([0, 1, "same"])),
        dilation=draw(st.integers(1, min(2, widest))),
        groups=groups,
        use_bias=draw(st.booleans()),
        **_RANDOM,
    )


def _conv2d(draw: Draw, shape: Shape, name: str) -> Layer:
    kernel = tuple(draw(st.integers(1, min(3, size))) for size in shape[1:])
    dilation = tuple(
        draw(st.integers(1, min(2, (size - 1) // (k - 1) if k > 1 else 2)))
        for size, k in zip(shape[1:], kernel, strict=True)
    )
    groups = draw(st.sampled_from([n for n in (1, 2) if shape[0] % n == 0]))
    return Conv2D(
        name=name,
        filters=groups * draw(_SMALL),
        kernel_size=kernel,
        stride=(draw(st.integers(1, 2)), draw(st.integers(1, 2))),
        padding=draw(st.sampled_from([0, 1, (0, 1), "same"])),
        dilation=dilation,
        groups=groups,
        use_bias=draw(st.booleans()),
        **_RANDOM,
    )


def _conv_transpose2d(draw: Draw, name: str) -> Layer:
    stride = draw(st.integers(1, 2))
    return ConvTranspose2D(
        name=name,
        filters=draw(_SMALL),
        kernel_size=(draw(st.integers(2, 3)), draw(st.integers(2, 3))),
        stride=stride,
        output_padding=draw(st.integers(0, stride - 1)),
        use_bias=draw(st.booleans()),
        **_RANDOM,
    )


def _pool(draw: Draw, kind: type, shape: Shape) -> Layer:
    kernel = tuple(draw(st.integers(1, min(3, size))) for size in shape[1:])
    options: dict[str, Any] = {
        "kernel_size": kernel,
        "stride": (draw(st.integers(1, 3)), draw(st.integers(1, 3))),
        "padding": tuple(draw(st.integers(0, k // 2)) for k in kernel),
    }
    if kind is AvgPool2D:
        options["count_include_pad"] = draw(st.booleans())
    return kind(**options)


def _loss(draw: Draw, adapter: Adapter) -> tuple[Loss, int]:
    kinds = [MSE, MAE, Huber, SoftmaxCrossEntropy, BinaryCrossEntropy]
    kind = draw(st.sampled_from([kind for kind in kinds if kind in adapter.LOSSES]))
    match kind:
        case _ if kind is SoftmaxCrossEntropy:
            return kind(label_smoothing=draw(st.sampled_from([0.0, 0.25]))), draw(st.integers(2, 5))
        case _ if kind is BinaryCrossEntropy:
            return kind(), 1
        case _ if kind is Huber:
            return kind(delta=draw(st.sampled_from([0.25, 1.0]))), draw(_SMALL)
        case _:
            return kind(), draw(_SMALL)


def _optimizer(draw: Draw, adapter: Adapter) -> Optimizer:
    """Rates and epsilons are such that no step amplifies rounding beyond measure."""
    kinds = [SGD, Adam, AdamW, RMSprop, Adagrad]
    kind = draw(st.sampled_from([kind for kind in kinds if kind in adapter.OPTIMIZERS]))
    options: dict[str, Any] = {
        "learning_rate": 0.0625,
        "schedule": _schedule(draw),
        "weight_decay": draw(st.sampled_from([0.0, 0.25])),
        "clip_value": draw(st.sampled_from([None, 0.125])),
        "clip_norm": draw(st.sampled_from([None, 0.5])),
    }
    if kind is SGD:
        options["momentum"] = draw(st.sampled_from([0.0, 0.875]))
        options["nesterov"] = bool(options["momentum"]) and draw(st.booleans())
    else:
        options["epsilon"] = 2.0**-6
    return kind(**options)


def _schedule(draw: Draw) -> Schedule:
    warmup = draw(st.integers(0, 2))
    kind = draw(st.sampled_from([ConstantRate, StepDecay, ExponentialDecay, CosineDecay]))
    return kind(warmup_steps=warmup) if kind is ConstantRate else kind(steps=2, warmup_steps=warmup)
