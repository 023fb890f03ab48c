"""The cases: a table of layers, losses and optimizers, each in a small model with odd shapes.

No two sizes of a tensor are equal and no weight is square, so that a swapped axis cannot pass.
A layer stands between a layer with weights, so that the gradient of its input is seen too, and a
head. To cover a new layer, add its row.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bakeoff.models import Model
from bakeoff.models.init import dropout_masks, stream
from bakeoff.models.initializers import Normal, Zeros
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
    Reshape,
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
from bakeoff.models.schedules import CosineDecay, ExponentialDecay, StepDecay

VECTOR = (4,)
IMAGE = (2, 5, 7)
SIGNAL = (2, 11)
SEQUENCE = (5, 4)
IDS = (7,)
BATCH = 3
_RANDOM = Normal(std=0.5)  # biases too: a bias of zero would hide a wrong one
_SGD = SGD(learning_rate=0.125)


@dataclass(frozen=True)
class Case:
    """One row: an id and a whole model."""

    id: str
    model: Model

    def batches(self, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Draw inputs and targets, representable in float32, so that both dtypes see the same."""
        return [self._batch(step) for step in range(count)]

    def _batch(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        rng = stream(step, "case", self.id)
        x = self._inputs(rng)
        outputs = self.model.output_shape[0]
        match self.model.loss:
            case SoftmaxCrossEntropy():
                return x, rng.integers(outputs, size=BATCH)
            case BinaryCrossEntropy():
                return x, rng.integers(2, size=(BATCH, outputs)).astype(np.float64)
            case _:
                y = rng.normal(size=(BATCH, outputs))
                return x, y.astype(np.float32).astype(np.float64)

    def _inputs(self, rng: np.random.Generator) -> np.ndarray:
        shape = (BATCH, *self.model.input)
        first = self.model.layers[0]
        if isinstance(first, Embedding):  # ids, some of them more than once
            return rng.integers(first.vocabulary_size, size=shape).astype(np.float64)
        return rng.normal(size=shape).astype(np.float32).astype(np.float64)

    def masks(self, step: int) -> dict[str, np.ndarray]:
        """Draw the dropout masks of one step."""
        return dropout_masks(self.model, BATCH, seed=0, step=step)


def _dense(name: str, units: int, *, use_bias: bool = True) -> Dense:
    return Dense(
        name=name,
        units=units,
        use_bias=use_bias,
        weight_initializer=_RANDOM,
        bias_initializer=_RANDOM,
    )


_WEIGHTS = {"weight_initializer": _RANDOM, "bias_initializer": _RANDOM}


def _conv(name: str, filters: int, kernel_size: int | tuple[int, int], **options: object) -> Conv2D:
    return Conv2D(name=name, filters=filters, kernel_size=kernel_size, **_WEIGHTS, **options)


def _conv1d(filters: int, kernel_size: int, **options: object) -> Conv1D:
    return Conv1D(name="tested", filters=filters, kernel_size=kernel_size, **_WEIGHTS, **options)


def _up(filters: int, kernel_size: int | tuple[int, int], **options: object) -> ConvTranspose2D:
    return ConvTranspose2D(
        name="tested", filters=filters, kernel_size=kernel_size, **_WEIGHTS, **options
    )


def _recurrent(layer: type, **options: object) -> Layer:
    return layer(name="tested", units=3, recurrent_initializer=_RANDOM, **_WEIGHTS, **options)


def _attention(**options: object) -> MultiHeadAttention:
    return MultiHeadAttention(name="tested", num_heads=2, weight_initializer=_RANDOM, **options)


def model_of(
    layers: list[Layer],
    shape: tuple[int, ...],
    *,
    loss: Loss | None = None,
    optimizer: Optimizer = _SGD,
) -> Model:
    return Model(
        name="case",
        input=shape,
        layers=tuple(layers),
        loss=loss or MSE(),
        optimizer=optimizer,
    )


def _layer_case(case_id: str, shape: tuple[int, ...], *under_test: Layer) -> Case:
    match shape:
        case (_,):
            before: Layer = _dense("before", 6)
        case (_, _) if shape == SIGNAL:
            before = Conv1D(name="before", filters=4, kernel_size=1, **_WEIGHTS)
        case (_, _):
            before = _dense("before", 6)
        case _:
            before = _conv("before", 4, 1)
    return Case(case_id, model_of([before, *under_test, Flatten(), _dense("head", 2)], shape))


def _batch_norm_case(case_id: str, before: Layer, shape: tuple[int, ...]) -> Case:
    """Without a bias before it, whose gradient would be nothing but rounding."""
    tested = BatchNorm(name="tested", momentum=0.25, epsilon=0.125)
    return Case(case_id, model_of([before, tested, Flatten(), _dense("head", 2)], shape))


_PRELU = PReLU(name="tested", alpha_initializer=_RANDOM)
_WIDE = {"weight_initializer": Normal(std=4.0)}  # to both sides of a kink that is far from zero

LAYERS = [
    _layer_case("dense", VECTOR, _dense("tested", 5)),
    _layer_case("dense-nobias", VECTOR, _dense("tested", 5, use_bias=False)),
    Case("dense-first", model_of([_dense("tested", 3)], VECTOR)),
    Case("flatten-first", model_of([Flatten(), _dense("tested", 3)], IMAGE)),
    _layer_case("conv2d", IMAGE, _conv("tested", 5, 3)),
    _layer_case("conv2d-nobias", IMAGE, _conv("tested", 5, 3, use_bias=False)),
    _layer_case("conv2d-kernel-2x3", IMAGE, _conv("tested", 5, (2, 3))),
    _layer_case("conv2d-stride2", IMAGE, _conv("tested", 5, 3, stride=2)),
    _layer_case("conv2d-stride-2x3", IMAGE, _conv("tested", 5, 2, stride=(2, 3))),
    _layer_case("conv2d-padding1", IMAGE, _conv("tested", 5, 3, padding=1)),
    _layer_case(
        "conv2d-padding-1x2-stride2", IMAGE, _conv("tested", 5, 3, padding=(1, 2), stride=2)
    ),
    _layer_case("dense-sequence", SEQUENCE, _dense("tested", 3)),
    _layer_case("conv1d", SIGNAL, _conv1d(5, 3)),
    _layer_case(
        "conv1d-stride2-padding1-dilation2", SIGNAL, _conv1d(5, 3, stride=2, padding=1, dilation=2)
    ),
    _layer_case("conv1d-same-stride3", SIGNAL, _conv1d(5, 4, stride=3, padding="same")),
    _layer_case("conv1d-groups2-nobias", SIGNAL, _conv1d(6, 3, groups=2, use_bias=False)),
    _layer_case("conv2d-same", IMAGE, _conv("tested", 5, (2, 3), padding="same")),
    _layer_case("conv2d-same-stride2", IMAGE, _conv("tested", 5, 4, padding="same", stride=2)),
    _layer_case("conv2d-same-dilation2", IMAGE, _conv("tested", 5, 2, padding="same", dilation=2)),
    _layer_case("conv2d-dilation-2x3", IMAGE, _conv("tested", 5, 2, dilation=(2, 3))),
    _layer_case("conv2d-groups2", IMAGE, _conv("tested", 6, 3, groups=2)),
    _layer_case("conv2d-depthwise", IMAGE, _conv("tested", 8, 3, groups=4, padding=1)),
    _layer_case("conv_transpose2d", IMAGE, _up(5, (2, 3))),
    _layer_case("conv_transpose2d-stride2-padding1", IMAGE, _up(5, 3, stride=2, padding=1)),
    _layer_case(
        "conv_transpose2d-output_padding1-nobias",
        IMAGE,
        _up(5, 3, stride=(2, 3), padding=1, output_padding=1, use_bias=False),
    ),
    # A compiler may compute what is pooled again, for the gradient, and round it differently.
    Case(
        "max_pool2d-of-batch_norm",
        model_of(
            [
                _conv("before", 6, 3, padding=1, use_bias=False),
                BatchNorm(name="norm", momentum=0.25, epsilon=0.125),
                ReLU(),
                MaxPool2D(kernel_size=2),
                Flatten(),
                _dense("head", 2),
            ],
            IMAGE,
        ),
    ),
    _layer_case("max_pool2d", IMAGE, MaxPool2D(kernel_size=2)),
    _layer_case("max_pool2d-overlapping", IMAGE, MaxPool2D(kernel_size=3, stride=2)),
    _layer_case("max_pool2d-2x3-stride-1x2", IMAGE, MaxPool2D(kernel_size=(2, 3), stride=(1, 2))),
    _layer_case("max_pool2d-padding", IMAGE, MaxPool2D(kernel_size=3, stride=2, padding=1)),
    _layer_case("max_pool2d-ties", IMAGE, ReLU(), MaxPool2D(kernel_size=3, stride=1)),
    _layer_case("avg_pool2d", IMAGE, AvgPool2D(kernel_size=2)),
    _layer_case("avg_pool2d-2x3-stride-1x2", IMAGE, AvgPool2D(kernel_size=(2, 3), stride=(1, 2))),
    _layer_case("avg_pool2d-padding", IMAGE, AvgPool2D(kernel_size=3, stride=2, padding=1)),
    _layer_case(
        "avg_pool2d-padding-not-counted",
        IMAGE,
        AvgPool2D(kernel_size=(2, 3), stride=2, padding=(0, 1), count_include_pad=False),
    ),
    _layer_case("global_avg_pool1d", SEQUENCE, GlobalAvgPool1D()),
    _layer_case("global_avg_pool2d", IMAGE, GlobalAvgPool2D()),
    _layer_case("flatten", IMAGE, Flatten()),
    _layer_case("reshape-vector-to-image", VECTOR, Reshape(shape=(1, 2, 3)), _conv("tested", 2, 2)),
    _layer_case("reshape-image-to-image", IMAGE, Reshape(shape=(7, 4, 5)), _conv("tested", 2, 2)),
    _layer_case("permute-sequence", SEQUENCE, Permute(axes=(1, 0)), _dense("tested", 3)),
    _layer_case("permute-image", IMAGE, Permute(axes=(2, 0, 1)), _conv("tested", 2, 2)),
    _batch_norm_case("batch_norm", _conv("before", 4, 1, use_bias=False), IMAGE),
    _batch_norm_case("batch_norm-vector", _dense("before", 6, use_bias=False), VECTOR),
    _layer_case("layer_norm", VECTOR, LayerNorm(name="tested", epsilon=0.125)),
    _layer_case("layer_norm-sequence", SEQUENCE, LayerNorm(name="tested")),
    Case(
        "embedding",
        model_of(
            [
                Embedding(name="tested", vocabulary_size=5, units=3, weight_initializer=_RANDOM),
                Flatten(),
                _dense("head", 2),
            ],
            IDS,
        ),
    ),
    *(
        _layer_case(f"{tag}{suffix}", SEQUENCE, _recurrent(layer, **options))
        for tag, layer in (("simple_rnn", SimpleRNN), ("lstm", LSTM), ("gru", GRU))
        for suffix, options in (
            ("", {}),
            ("-sequences", {"return_sequences": True}),
            ("-bidirectional", {"bidirectional": True}),
            ("-bidirectional-sequences", {"bidirectional": True, "return_sequences": True}),
        )
    ),
    _layer_case("simple_rnn-relu", SEQUENCE, _recurrent(SimpleRNN, activation="relu")),
    _layer_case("multi_head_attention", SEQUENCE, _attention()),
    _layer_case("multi_head_attention-causal", SEQUENCE, _attention(causal=True)),
    _layer_case("relu", VECTOR, ReLU()),
    _layer_case("relu-image", IMAGE, ReLU()),
    _layer_case("leaky_relu", VECTOR, LeakyReLU()),
    _layer_case("leaky_relu-slope", VECTOR, LeakyReLU(negative_slope=0.25)),
    _layer_case("prelu", VECTOR, _PRELU),
    _layer_case("prelu-image", IMAGE, _PRELU),
    _layer_case("prelu-sequence", SEQUENCE, _PRELU),
    Case("prelu-first", model_of([_PRELU, _dense("head", 2)], VECTOR)),
    _layer_case("sigmoid", VECTOR, Sigmoid()),
    _layer_case("hard_sigmoid", VECTOR, Dense(name="wide", units=7, **_WIDE), HardSigmoid()),
    _layer_case("tanh", VECTOR, Tanh()),
    _layer_case("elu", VECTOR, ELU()),
    _layer_case("elu-alpha", VECTOR, ELU(alpha=0.25)),
    _layer_case("gelu", VECTOR, GELU()),
    _layer_case("gelu-tanh", VECTOR, GELU(approximation="tanh")),
    _layer_case("softplus", VECTOR, Softplus()),
    _layer_case("silu", VECTOR, SiLU()),
    _layer_case("softmax", VECTOR, Softmax()),
    _layer_case("softmax-sequence", SEQUENCE, Softmax()),
    _layer_case("dropout", VECTOR, Dropout(name="tested", rate=0.25)),
    _layer_case("dropout-image", IMAGE, Dropout(name="tested", rate=0.5)),
    _layer_case(
        "residual-identity", IMAGE, Residual(body=(_conv("inner", 4, 3, padding=1), ReLU()))
    ),
    _layer_case(
        "residual-shortcut",
        IMAGE,
        Residual(
            body=(_conv("inner1", 6, 3, padding=1), ReLU(), _conv("inner2", 5, 2, stride=2)),
            shortcut=(_conv("shortcut", 5, 2, stride=2),),
        ),
    ),
    _layer_case(
        "residual-nested-dropout",
        VECTOR,
        Residual(body=(Residual(body=(Dropout(name="tested", rate=0.5), _dense("inner", 6))),)),
    ),
    _layer_case("concat", VECTOR, Concat(paths=((), (_dense("inner", 5), Tanh()), (ReLU(),)))),
    _layer_case(
        "concat-image", IMAGE, Concat(paths=((_conv("inner", 5, 3, padding=1),), (ReLU(),)))
    ),
]


def _loss_case(case_id: str, outputs: int, loss: Loss) -> Case:
    return Case(
        case_id, model_of([_dense("before", 5), _dense("head", outputs)], VECTOR, loss=loss)
    )


LOSSES = [
    _loss_case("mse", 2, MSE()),
    _loss_case("mae", 2, MAE()),
    _loss_case("huber", 2, Huber()),
    _loss_case("huber-delta", 2, Huber(delta=0.25)),
    _loss_case("softmax_cross_entropy", 6, SoftmaxCrossEntropy()),
    _loss_case("softmax_cross_entropy-smoothing", 6, SoftmaxCrossEntropy(label_smoothing=0.25)),
    _loss_case("binary_cross_entropy", 1, BinaryCrossEntropy()),
]


def _optimizer_case(case_id: str, optimizer: Optimizer) -> Case:
    layers = [_conv("conv", 3, 2), Tanh(), Flatten(), _dense("head", 5)]
    model = model_of(layers, IMAGE, loss=SoftmaxCrossEntropy(), optimizer=optimizer)
    return Case(case_id, model)


def _dense_case(case_id: str, optimizer: Optimizer) -> Case:
    """For an adapter that has little more than dense layers."""
    layers = [_dense("hidden", 3), _dense("head", 5)]
    return Case(case_id, model_of(layers, VECTOR, optimizer=optimizer))


_ADAM = {"learning_rate": 0.125, "beta1": 0.875, "beta2": 1 - 2**-10, "epsilon": 2**-10}

# Hyperparameters that float32 holds exactly, and an epsilon large enough to show where it stands.
OPTIMIZERS = [
    _optimizer_case("sgd", SGD(learning_rate=0.125)),
    _optimizer_case("sgd-weight_decay", SGD(learning_rate=0.125, weight_decay=0.25)),
    _optimizer_case("sgd-momentum", SGD(learning_rate=0.125, momentum=0.875)),
    _optimizer_case("sgd-nesterov", SGD(learning_rate=0.125, momentum=0.875, nesterov=True)),
    _optimizer_case(
        "sgd-nesterov-weight_decay",
        SGD(learning_rate=0.125, momentum=0.875, nesterov=True, weight_decay=0.25),
    ),
    _optimizer_case("adam", Adam(**_ADAM)),
    _dense_case("sgd-momentum-dense", SGD(learning_rate=0.125, momentum=0.875)),
    _dense_case("adam-dense", Adam(**_ADAM)),
    _optimizer_case("adam-beta1-0", Adam(learning_rate=0.125, beta1=0.0, beta2=0.75, epsilon=0.5)),
    _optimizer_case("adam-weight_decay", Adam(**_ADAM, weight_decay=0.25)),
    _optimizer_case("adamw", AdamW(**_ADAM, weight_decay=0.25)),
    _optimizer_case("rmsprop", RMSprop(learning_rate=0.125, rho=0.875, epsilon=2**-6)),
    _optimizer_case(
        "rmsprop-weight_decay",
        RMSprop(learning_rate=0.125, rho=0.875, epsilon=2**-6, weight_decay=0.25),
    ),
    _optimizer_case("adagrad", Adagrad(learning_rate=0.125, epsilon=2**-6)),
    _optimizer_case("sgd-clip_value", SGD(learning_rate=0.125, clip_value=0.0625)),
    _optimizer_case("sgd-clip_norm", SGD(learning_rate=0.125, clip_norm=0.25, momentum=0.5)),
    _optimizer_case(
        "adam-clip_both-weight_decay",
        Adam(**_ADAM, clip_value=0.125, clip_norm=0.25, weight_decay=0.25),
    ),
    _optimizer_case(
        "sgd-momentum-step", SGD(learning_rate=0.25, momentum=0.875, schedule=StepDecay(steps=2))
    ),
    _optimizer_case(
        "sgd-nesterov-cosine-warmup",
        SGD(
            learning_rate=0.25,
            momentum=0.875,
            nesterov=True,
            schedule=CosineDecay(steps=3, warmup_steps=2),
        ),
    ),
    _optimizer_case("adamw-exponential", AdamW(**_ADAM, schedule=ExponentialDecay(steps=3))),
    Case(
        "batch_norm-running",
        model_of(
            [
                _conv("conv", 3, 2, use_bias=False),
                BatchNorm(name="norm", momentum=0.25),
                Flatten(),
                _dense("head", 5),
            ],
            IMAGE,
            loss=SoftmaxCrossEntropy(),
            optimizer=SGD(learning_rate=0.125, momentum=0.5),
        ),
    ),
    # All zeros before the first step, so that it shows the derivative there; and then an alpha that
    # float32 does not hold.
    Case(
        "prelu-from-zero",
        model_of(
            [
                Dense(name="zero", units=3, weight_initializer=Zeros()),
                _PRELU,
                _dense("head", 5),
            ],
            VECTOR,
            loss=SoftmaxCrossEntropy(),
        ),
    ),
]
