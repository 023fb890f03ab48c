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
from bakeoff.models.initializers import Normal
from bakeoff.models.layers import (
    AvgPool2D,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool2D,
    Layer,
    LeakyReLU,
    MaxPool2D,
    ReLU,
    Reshape,
    Residual,
    Sigmoid,
    Tanh,
)
from bakeoff.models.losses import (
    MAE,
    MSE,
    BinaryCrossEntropy,
    Huber,
    Loss,
    SoftmaxCrossEntropy,
)
from bakeoff.models.optimizers import SGD, Adam, Optimizer

VECTOR = (4,)
IMAGE = (2, 5, 7)
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
        x = rng.normal(size=(BATCH, *self.model.input)).astype(np.float32).astype(np.float64)
        outputs = self.model.output_shape[0]
        match self.model.loss:
            case SoftmaxCrossEntropy():
                return x, rng.integers(outputs, size=BATCH)
            case BinaryCrossEntropy():
                return x, rng.integers(2, size=(BATCH, outputs)).astype(np.float64)
            case _:
                y = rng.normal(size=(BATCH, outputs))
                return x, y.astype(np.float32).astype(np.float64)

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


def _conv(name: str, filters: int, kernel_size: int | tuple[int, int], **options: object) -> Conv2D:
    return Conv2D(
        name=name,
        filters=filters,
        kernel_size=kernel_size,
        weight_initializer=_RANDOM,
        bias_initializer=_RANDOM,
        **options,
    )


def _model(
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
    before = _dense("before", 6) if len(shape) == 1 else _conv("before", 3, 1)
    return Case(case_id, _model([before, *under_test, Flatten(), _dense("head", 2)], shape))


LAYERS = [
    _layer_case("dense", VECTOR, _dense("tested", 5)),
    _layer_case("dense-nobias", VECTOR, _dense("tested", 5, use_bias=False)),
    Case("dense-first", _model([_dense("tested", 3)], VECTOR)),
    _layer_case("conv2d", IMAGE, _conv("tested", 5, 3)),
    _layer_case("conv2d-nobias", IMAGE, _conv("tested", 5, 3, use_bias=False)),
    _layer_case("conv2d-kernel-2x3", IMAGE, _conv("tested", 5, (2, 3))),
    _layer_case("conv2d-stride2", IMAGE, _conv("tested", 5, 3, stride=2)),
    _layer_case("conv2d-stride-2x3", IMAGE, _conv("tested", 5, 2, stride=(2, 3))),
    _layer_case("conv2d-padding1", IMAGE, _conv("tested", 5, 3, padding=1)),
    _layer_case(
        "conv2d-padding-1x2-stride2", IMAGE, _conv("tested", 5, 3, padding=(1, 2), stride=2)
    ),
    _layer_case("max_pool2d", IMAGE, MaxPool2D(kernel_size=2)),
    _layer_case("max_pool2d-overlapping", IMAGE, MaxPool2D(kernel_size=3, stride=2)),
    _layer_case("max_pool2d-2x3-stride-1x2", IMAGE, MaxPool2D(kernel_size=(2, 3), stride=(1, 2))),
    _layer_case("max_pool2d-padding", IMAGE, MaxPool2D(kernel_size=3, stride=2, padding=1)),
    _layer_case("max_pool2d-ties", IMAGE, ReLU(), MaxPool2D(kernel_size=3, stride=1)),
    _layer_case("avg_pool2d", IMAGE, AvgPool2D(kernel_size=2)),
    _layer_case("avg_pool2d-2x3-stride-1x2", IMAGE, AvgPool2D(kernel_size=(2, 3), stride=(1, 2))),
    _layer_case("global_avg_pool2d", IMAGE, GlobalAvgPool2D()),
    _layer_case("flatten", IMAGE, Flatten()),
    _layer_case("reshape-vector-to-image", VECTOR, Reshape(shape=(1, 2, 3)), _conv("tested", 2, 2)),
    _layer_case("reshape-image-to-image", IMAGE, Reshape(shape=(7, 3, 5)), _conv("tested", 2, 2)),
    _layer_case("relu", VECTOR, ReLU()),
    _layer_case("relu-image", IMAGE, ReLU()),
    _layer_case("leaky_relu", VECTOR, LeakyReLU()),
    _layer_case("leaky_relu-slope", VECTOR, LeakyReLU(negative_slope=0.25)),
    _layer_case("sigmoid", VECTOR, Sigmoid()),
    _layer_case("tanh", VECTOR, Tanh()),
    _layer_case("dropout", VECTOR, Dropout(name="tested", rate=0.25)),
    _layer_case("dropout-image", IMAGE, Dropout(name="tested", rate=0.5)),
    _layer_case(
        "residual-identity", IMAGE, Residual(body=(_conv("inner", 3, 3, padding=1), ReLU()))
    ),
    _layer_case(
        "residual-shortcut",
        IMAGE,
        Residual(
            body=(_conv("inner1", 4, 3, padding=1), ReLU(), _conv("inner2", 5, 2, stride=2)),
            shortcut=(_conv("shortcut", 5, 2, stride=2),),
        ),
    ),
    _layer_case(
        "residual-nested-dropout",
        VECTOR,
        Residual(body=(Residual(body=(Dropout(name="tested", rate=0.5), _dense("inner", 6))),)),
    ),
]


def _loss_case(case_id: str, outputs: int, loss: Loss) -> Case:
    return Case(case_id, _model([_dense("before", 5), _dense("head", outputs)], VECTOR, loss=loss))


LOSSES = [
    _loss_case("mse", 2, MSE()),
    _loss_case("mae", 2, MAE()),
    _loss_case("huber", 2, Huber()),
    _loss_case("huber-delta", 2, Huber(delta=0.25)),
    _loss_case("softmax_cross_entropy", 6, SoftmaxCrossEntropy()),
    _loss_case("binary_cross_entropy", 1, BinaryCrossEntropy()),
]


def _optimizer_case(case_id: str, optimizer: Optimizer) -> Case:
    layers = [_conv("conv", 3, 2), Tanh(), Flatten(), _dense("head", 5)]
    model = _model(layers, IMAGE, loss=SoftmaxCrossEntropy(), optimizer=optimizer)
    return Case(case_id, model)


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
    _optimizer_case(
        "adam", Adam(learning_rate=0.125, beta1=0.875, beta2=1 - 2**-10, epsilon=2**-10)
    ),
    _optimizer_case("adam-beta1-0", Adam(learning_rate=0.125, beta1=0.0, beta2=0.75, epsilon=0.5)),
]
