"""The reference itself, proved without any other framework: gradients by central differences in
float64, convolution, pooling, losses and optimizers against their formulas written out in loops.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from bakeoff.backends import numpy as reference
from bakeoff.backends.contract import Weights
from bakeoff.models.init import initial_weights
from bakeoff.models.layers import AvgPool2D, Conv2D, MaxPool2D
from bakeoff.models.optimizers import SGD
from bakeoff.models.shapes import pair
from conformance.cases import LAYERS, LOSSES, OPTIMIZERS, Case
from conformance.driving import SEED, staged, start
from conformance.parity import assert_parity, float64_bound

# A central difference errs by h² f‴/6 + u f/h; h = ∛u balances the two, leaving about u^(2/3),
# with f, f‴ and the sum of the two up to some tens here.
_H = np.finfo(np.float64).eps ** (1 / 3)
_DIFFERENCE_BOUND = 100 * np.finfo(np.float64).eps ** (2 / 3)


@pytest.mark.parametrize("case", [pytest.param(c, id=c.id) for c in [*LAYERS, *LOSSES]])
def test_gradients_are_central_differences(case: Case) -> None:
    weights = initial_weights(case.model, SEED, "float64")
    trainer = start(reference, case, "float64", weights=weights)
    _, gradients = trainer.gradients(staged(trainer, case, "float64", 1)[0])
    assert sorted(gradients) == sorted(case.model.weights)
    for name, weight in weights.items():
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
            bound = float64_bound(case.model, len(x))
            assert_parity(outputs[node.key], expected, name=node.key, bound=bound)
        x = outputs[node.key]


def _in_loops(
    layer: Conv2D | MaxPool2D | AvgPool2D,
    x: np.ndarray,
    shape: tuple[int, ...],
    weights: Weights,
) -> np.ndarray:
    kernel = pair(layer.kernel_size)
    stride = pair(layer.stride or layer.kernel_size)
    padding = pair(getattr(layer, "padding", 0))
    y = np.empty((len(x), *shape))
    for n, c, i, j in np.ndindex(y.shape):
        terms = []
        for u, v in np.ndindex(*kernel):
            row, column = i * stride[0] + u - padding[0], j * stride[1] + v - padding[1]
            if 0 <= row < x.shape[2] and 0 <= column < x.shape[3]:
                here = x[n, :, row, column]
                if isinstance(layer, Conv2D):
                    terms += list(weights[f"{layer.name}.weight"][c, :, u, v] * here)
                else:
                    terms.append(here[c])
        if isinstance(layer, Conv2D):
            bias = weights[f"{layer.name}.bias"][c] if layer.use_bias else 0.0
            y[n, c, i, j] = math.fsum(terms) + bias
        elif isinstance(layer, MaxPool2D):
            y[n, c, i, j] = max(terms)
        else:
            y[n, c, i, j] = math.fsum(terms) / len(terms)
    return y


def test_max_pool_gives_the_gradient_of_a_tie_to_the_first() -> None:
    case = next(case for case in LAYERS if case.id == "max_pool2d")
    node = case.model.nodes[1]
    run = reference._Pass({}, True, None, np.random.default_rng(0), {})
    y, backprop = reference.max_pool2d(node, np.zeros((1, 3, 5, 7)), run)
    dx, _ = backprop(np.ones_like(y))
    expected = np.zeros((1, 3, 5, 7))
    expected[:, :, 0:4:2, 0:6:2] = 1
    np.testing.assert_array_equal(dx, expected)


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
    name, index = "conv.weight", (1, 0, 1, 0)
    trainer = start(reference, case, "float64")
    optimizer = case.model.optimizer
    w, slots = float(trainer.weights()[name][index]), dict.fromkeys("mv", 0.0)
    for t, batch in enumerate(staged(trainer, case, "float64", 5), start=1):
        g = float(trainer.gradients(batch)[1][name][index])
        w = _scalar_step(optimizer, w, g, slots, t)
        trainer.train([batch])
        assert trainer.weights()[name][index] == pytest.approx(w, rel=1e-14)


def _scalar_step(optimizer: object, w: float, g: float, slots: dict[str, float], t: int) -> float:
    if isinstance(optimizer, SGD):
        g += optimizer.weight_decay * w
        slots["v"] = optimizer.momentum * slots["v"] + g
        ahead = g + optimizer.momentum * slots["v"]
        return w - optimizer.learning_rate * (ahead if optimizer.nesterov else slots["v"])
    b1, b2 = optimizer.beta1, optimizer.beta2
    slots["m"] = b1 * slots["m"] + (1 - b1) * g
    slots["v"] = b2 * slots["v"] + (1 - b2) * g * g
    mhat, vhat = slots["m"] / (1 - b1**t), slots["v"] / (1 - b2**t)
    return w - optimizer.learning_rate * mhat / (math.sqrt(vhat) + optimizer.epsilon)
