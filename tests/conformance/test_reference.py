"""The reference itself, proved without any other framework: gradients by central differences in
float64, convolution, pooling, losses and optimizers against their formulas written out in loops.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import get_args

import numpy as np
import pytest

from bakeoff.backends import reference
from bakeoff.backends.contract import Weights
from bakeoff.backends.reference.passes import Pass
from bakeoff.backends.reference.pooling import max_pool2d
from bakeoff.bench.parity.rounding import Disturbed, Roundings, disturbed
from bakeoff.models.init import initial_weights
from bakeoff.models.layers import (
    AvgPool2D,
    Conv1D,
    Conv2D,
    Dense,
    Embedding,
    Layer,
    MaxPool2D,
)
from bakeoff.models.losses import MAE, BinaryCrossEntropy, Huber, Loss
from bakeoff.models.optimizers import SGD, Adagrad, AdamW, Optimizer, RMSprop
from bakeoff.models.schedules import CosineDecay, ExponentialDecay, Schedule, StepDecay
from bakeoff.models.shapes import pair
from conformance.cases import LAYERS, LOSSES, OPTIMIZERS, Case, model_of
from conformance.driving import SEED, cast_targets, staged, start
from conformance.kinks import SLOPES
from conformance.parity import assert_parity, gamma
from conformance.reshaped import RESHAPED

# A central difference errs by h² f‴/6 + u f/h; h = ∛u balances the two, leaving about u^(2/3),
# with f, f‴ and the sum of the two up to some tens here.
_H = np.finfo(np.float64).eps ** (1 / 3)
_DIFFERENCE_BOUND = 100 * np.finfo(np.float64).eps ** (2 / 3)


@pytest.mark.parametrize("case", [pytest.param(c, id=c.id) for c in [*LAYERS, *LOSSES]])
def test_gradients_are_central_differences(case: Case) -> None:
    weights = initial_weights(case.model, SEED, "float64")
    trainer = start(reference, case, "float64", weights=weights)
    _, gradients = trainer.gradients(staged(trainer, case, "float64", 1)[0])
    assert sorted(gradients) == sorted(case.model.trainable)
    for name in case.model.trainable:
        weight = weights[name]
        numeric = np.empty_like(weight)
        for index in np.ndindex(weight.shape):
            up, down = (_loss(case, weights, name, index, step) for step in (_H, -_H))
            numeric[index] = (up - down) / (2 * _H)
        assert_parity(gradients[name], numeric, name=name, bound=_DIFFERENCE_BOUND)


def _loss(case: Case, weights: Weights, name: str, index: tuple[int, ...], step: float) -> float:
    moved = weights | {name: weights[name].copy()}
    moved[name][index] += step
    trainer = start(reference, case, "float64", weights=moved)
    return trainer.gradients(staged(trainer, case, "float64", 1)[0])[0]


_WINDOWED = [
    pytest.param(case, id=case.id)
    for case in LAYERS
    if any(isinstance(n.layer, Conv2D | MaxPool2D | AvgPool2D) for n in case.model.nodes)
]


@pytest.mark.parametrize("case", _WINDOWED)
def test_windowed_layers_are_their_formula_in_loops(case: Case) -> None:
    trainer = start(reference, case, "float64")
    outputs = trainer.activations(staged(trainer, case, "float64", 1)[0])
    x = case.batches(1)[0][0]
    weights = trainer.weights()
    for node in case.model.nodes:
        if isinstance(node.layer, Conv2D | MaxPool2D | AvgPool2D):
            expected = _in_loops(node.layer, x, node.output_shape, weights)
            bound = gamma(case.model, len(x))
            assert_parity(outputs[node.key], expected, name=node.key, bound=bound)
        x = outputs[node.key]


def _in_loops(
    layer: Conv2D | MaxPool2D | AvgPool2D,
    x: np.ndarray,
    shape: tuple[int, ...],
    weights: Weights,
) -> np.ndarray:
    y = np.empty((len(x), *shape))
    for n, c, i, j in np.ndindex(y.shape):
        if isinstance(layer, Conv2D):
            per_group = layer.filters // layer.groups
            channels = np.split(x[n], layer.groups)[c // per_group]
            kernel = weights[f"{layer.name}.weight"][c]
            bias = weights[f"{layer.name}.bias"][c] if layer.use_bias else 0.0
            met = _meets(layer, channels, i, j)
            y[n, c, i, j] = math.fsum(np.sum(kernel[:, u, v] * at) for (u, v), at in met) + bias
        else:
            inside = [float(v[c]) for _, v in _meets(layer, x[n], i, j)]
            area = math.prod(pair(layer.kernel_size))
            if isinstance(layer, MaxPool2D):
                y[n, c, i, j] = max(inside)
            else:
                counted = area if layer.count_include_pad else len(inside)
                y[n, c, i, j] = math.fsum(inside) / counted
    return y


def _meets(
    layer: Conv2D | MaxPool2D | AvgPool2D, x: np.ndarray, i: int, j: int
) -> Iterator[tuple[tuple[int, int], np.ndarray]]:
    """Yield the places of the window at (i, j) that lie inside x [C, H, W], and x there."""
    stride, dilation = pair(layer.stride or layer.kernel_size), pair(getattr(layer, "dilation", 1))
    if isinstance(layer, Conv2D):
        first = [before for before, _ in layer.pads(x.shape)]
    else:
        first = list(pair(layer.padding))
    for u, v in np.ndindex(*pair(layer.kernel_size)):
        row = i * stride[0] + u * dilation[0] - first[0]
        column = j * stride[1] + v * dilation[1] - first[1]
        if 0 <= row < x.shape[1] and 0 <= column < x.shape[2]:
            yield (u, v), x[:, row, column]


@pytest.mark.parametrize(
    ("space", "kernel", "stride", "dilation", "pads"),
    [(7, 3, 1, 1, (1, 1)), (7, 2, 1, 1, (0, 1)), (7, 4, 3, 1, (1, 2)), (7, 2, 2, 3, (1, 2)),
     (8, 1, 2, 1, (0, 0))],
)  # fmt: skip
def test_same_is_the_rule_of_tensorflow(
    space: int, kernel: int, stride: int, dilation: int, pads: tuple[int, int]
) -> None:
    """Worked out by hand; the smaller half comes first."""
    layer = Conv1D(
        name="c", filters=1, kernel_size=kernel, stride=stride, dilation=dilation, padding="same"
    )
    assert layer.pads((1, space)) == (pads,)
    assert layer.output_shape((1, space)) == (1, math.ceil(space / stride))


def test_max_pool_gives_the_gradient_of_a_tie_to_the_first() -> None:
    case = next(case for case in LAYERS if case.id == "max_pool2d")
    node = case.model.nodes[1]
    run = Pass({}, True, None, np.random.default_rng(0), {}, {})
    y, backprop = max_pool2d(node, np.zeros((1, 4, 5, 7)), run)
    dx, _ = backprop(np.ones_like(y))
    expected = np.zeros((1, 4, 5, 7))
    expected[:, :, 0:4:2, 0:6:2] = 1
    np.testing.assert_array_equal(dx, expected)


def test_every_layer_stands_behind_what_reshapes() -> None:
    """But an embedding, which can only be the first."""
    for before in ("reshape", "permute"):
        cases = [case for case in RESHAPED if case.id.endswith(before)]
        behind = {type(path[-2]) for case in cases for path in case.model.layers[0].paths}
        assert behind == set(get_args(Layer)) - {Embedding}


@pytest.mark.parametrize(("layer", "at", "slope"), SLOPES)
def test_an_activation_has_the_slope_of_the_norm_at_its_kink(
    layer: Layer, at: float, slope: float
) -> None:
    node = model_of([layer, Dense(name="head", units=1)], (2,)).nodes[0]
    weights = {f"{node.key}.alpha": np.full(2, 0.25)}
    run = Pass(weights, True, None, np.random.default_rng(0), {}, {})
    _, backprop = reference.LAYERS[type(layer)](node, np.full((3, 2), at), run)
    np.testing.assert_array_equal(backprop(np.ones((3, 2)))[0], slope)


@pytest.mark.parametrize(
    ("loss", "z", "y", "slope"),
    [(MAE(), 0.25, 0.25, 0.0), (Huber(delta=0.25), 0.5, 0.25, 0.25),
     (Huber(delta=0.25), 0.25, 0.5, -0.25), (BinaryCrossEntropy(), 0.0, 1.0, -0.5)],
)  # fmt: skip
def test_a_loss_has_the_slope_of_the_norm_at_its_kink(
    loss: Loss, z: float, y: float, slope: float
) -> None:
    function = reference.LOSSES[type(loss)]
    assert function(loss, np.array([[z]]), np.array([[y]]))[1] == slope


def test_losses_are_their_formulas() -> None:
    z, y = np.array([[0.5, -1.0], [2.0, 0.25]]), np.array([[0.0, 0.5], [1.75, 1.0]])
    d = [0.5, -1.5, 0.25, -0.75]
    values = {
        "mse": sum(v * v for v in d) / 4,
        "mae": sum(abs(v) for v in d) / 4,
        "huber": (0.5**2 / 2 + (1.5 - 0.5) + 0.25**2 / 2 + 0.75**2 / 2) / 4,
    }
    for spec, function in reference.LOSSES.items():
        tag = spec.__struct_config__.tag
        if tag in values:
            assert float(function(spec(), z, y)[0]) == pytest.approx(values[tag], rel=1e-15)


def test_cross_entropies_are_their_formulas() -> None:
    z, labels = np.array([[0.5, -1.0, 2.0], [0.0, 0.25, -3.0]]), np.array([1, 0])
    rows = [
        math.log(sum(math.exp(v) for v in row)) - row[k] for row, k in zip(z, labels, strict=True)
    ]
    losses = {spec.__struct_config__.tag: (spec, f) for spec, f in reference.LOSSES.items()}
    spec, function = losses["softmax_cross_entropy"]
    assert float(function(spec(), z, labels)[0]) == pytest.approx(sum(rows) / 2, rel=1e-15)
    spec, function = losses["binary_cross_entropy"]
    z, y = np.array([[0.5], [-2.0]]), np.array([[1.0], [0.0]])
    expected = (math.log1p(math.exp(-0.5)) + math.log1p(math.exp(-2.0))) / 2
    assert float(function(spec(), z, y)[0]) == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize("logit", [1e4, -1e4])
def test_cross_entropies_and_sigmoid_do_not_overflow(logit: float) -> None:
    losses = {spec.__struct_config__.tag: (spec, f) for spec, f in reference.LOSSES.items()}
    spec, function = losses["softmax_cross_entropy"]
    loss, dz = function(spec(), np.array([[logit, 0.0]]), np.array([1]))
    assert loss == max(logit, 0)
    assert np.isfinite(dz).all()
    spec, function = losses["binary_cross_entropy"]
    loss, dz = function(spec(), np.array([[logit]]), np.array([[1.0]]))
    assert loss == max(-logit, 0)
    assert np.isfinite(dz).all()


@pytest.mark.parametrize("case", [pytest.param(c, id=c.id) for c in OPTIMIZERS])
def test_optimizers_are_their_formula_in_scalars(case: Case) -> None:
    """Follow one weight with Python floats, from the gradients that the trainer reports."""
    trainer = start(reference, case, "float64")
    name = case.model.trainable[0]
    index = (1, 0, 1, 0)[: trainer.weights()[name].ndim]
    optimizer = case.model.optimizer
    w, slots = float(trainer.weights()[name][index]), dict.fromkeys("mvs", 0.0)
    for t, batch in enumerate(staged(trainer, case, "float64", 5), start=1):
        g = _clipped(optimizer, trainer.gradients(batch)[1], name, index)
        rate = optimizer.learning_rate * _factor(optimizer.schedule, t - 1)
        w = _scalar_step(optimizer, w, g, slots, t, rate)
        trainer.train([batch])
        assert trainer.weights()[name][index] == pytest.approx(w, rel=1e-13)


def _clipped(optimizer: Optimizer, gradients: Weights, name: str, index: tuple[int, ...]) -> float:
    limit = optimizer.clip_value or math.inf
    every = [min(max(float(g), -limit), limit) for a in gradients.values() for g in a.flat]
    norm = math.sqrt(math.fsum(g * g for g in every))
    g = min(max(float(gradients[name][index]), -limit), limit)
    return g * min(1.0, (optimizer.clip_norm or math.inf) / norm)


def _factor(schedule: Schedule, t: int) -> float:
    if t < schedule.warmup_steps:
        return (t + 1) / schedule.warmup_steps
    t -= schedule.warmup_steps
    match schedule:
        case StepDecay():
            return float(schedule.gamma ** (t // schedule.steps))
        case ExponentialDecay():
            return float(schedule.gamma ** (t / schedule.steps))
        case CosineDecay():
            return (1 + math.cos(math.pi * min(t / schedule.steps, 1))) / 2
    return 1.0


def _scalar_step(
    optimizer: Optimizer, w: float, g: float, slots: dict[str, float], t: int, rate: float
) -> float:
    if isinstance(optimizer, AdamW):
        w -= rate * optimizer.weight_decay * w
    else:
        g += optimizer.weight_decay * w
    match optimizer:
        case SGD():
            slots["v"] = optimizer.momentum * slots["v"] + g
            ahead = g + optimizer.momentum * slots["v"]
            return w - rate * (ahead if optimizer.nesterov else slots["v"])
        case RMSprop():
            slots["s"] = optimizer.rho * slots["s"] + (1 - optimizer.rho) * g * g
            return w - rate * g / math.sqrt(slots["s"] + optimizer.epsilon)
        case Adagrad():
            slots["s"] += g * g
            return w - rate * g / math.sqrt(slots["s"] + optimizer.epsilon)
    b1, b2 = optimizer.beta1, optimizer.beta2
    slots["m"] = b1 * slots["m"] + (1 - b1) * g
    slots["v"] = b2 * slots["v"] + (1 - b2) * g * g
    mhat, vhat = slots["m"] / (1 - b1**t), slots["v"] / (1 - b2**t)
    return w - rate * mhat / (math.sqrt(vhat) + optimizer.epsilon)


def test_batch_norm_moves_its_running_statistics_in_training_alone() -> None:
    """The mean and the biased variance of each batch, weighted with the momentum."""
    case = next(case for case in OPTIMIZERS if case.id == "batch_norm-running")
    trainer = start(reference, case, "float64")
    (batch,) = staged(trainer, case, "float64", 1)
    x = trainer.activations(batch)["conv"]
    mean, var = x.mean(axis=(0, 2, 3)), ((x - x.mean(axis=(0, 2, 3), keepdims=True)) ** 2)
    before = trainer.weights()
    assert np.all(before["norm.running_mean"] == 0)
    trainer.train([batch])
    after = trainer.weights()
    bound = gamma(case.model, len(x))
    assert_parity(after["norm.running_mean"], 0.25 * mean, name="mean", bound=bound)
    expected = 0.75 + 0.25 * var.mean(axis=(0, 2, 3))
    assert_parity(after["norm.running_var"], expected, name="var", bound=bound)


@pytest.mark.parametrize("case", [pytest.param(c, id=c.id) for c in LAYERS])
def test_whatever_is_computed_carries_the_source_of_its_roundings(case: Case) -> None:
    """Else what is computed behind it is not disturbed, and its rounding is not measured."""
    source = Roundings(2.0**-24, seed=0)
    weights = initial_weights(case.model, SEED, "float64")
    carrying = {name: disturbed(weight, source) for name, weight in weights.items()}
    trainer = start(reference, case, "float64", weights=carrying)
    ((x, y),) = case.batches(1)
    batch = trainer.stage(disturbed(x, source), cast_targets(y, "float64"), case.masks(0))
    outputs = trainer.activations(batch) | trainer.gradients(batch)[1]
    assert {name for name, array in outputs.items() if not isinstance(array, Disturbed)} == set()
