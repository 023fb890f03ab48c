"""The plans of the NumPy backend: what the conformance suite, which every backend passes, is blind
to: memory, and batches of several sizes.
"""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from bakeoff.backends import numpy as planned
from bakeoff.backends import reference
from bakeoff.backends.contract import Execution
from bakeoff.backends.numpy.winograd import suits_winograd
from bakeoff.models import Model
from bakeoff.models.init import initial_weights
from bakeoff.models.layers import Conv2D, Dense, Flatten, Layer, MaxPool2D, ReLU
from bakeoff.models.losses import SoftmaxCrossEntropy
from bakeoff.models.model import read
from bakeoff.models.optimizers import SGD

_NETS = {"mnist-mlp": 512, "lenet5": 512, "convnet": 64, "mnist-rows-lstm": 512, "mnist-cnn": 64}


def _batches(model: Model, *sizes: int, dtype: str = "float32") -> list[tuple[np.ndarray, ...]]:
    rng = np.random.default_rng(0)
    return [
        (
            rng.normal(size=(size, *model.input)).astype(dtype),
            rng.integers(model.output_shape[0], size=size),
            None,
        )
        for size in sizes
    ]


def _trainer(model: Model, adapter: object = planned, dtype: str = "float32"):
    execution = Execution("cpu", dtype, "eager", 1)
    return adapter.build(model, initial_weights(model, 0, dtype), execution, seed=0, state=None)


@pytest.mark.parametrize(("name", "size"), _NETS.items())
def test_training_takes_no_memory(name: str, size: int) -> None:
    """No more than NumPy does inside a ufunc, for a broadcast or a mask: a buffer per operand.

    Any array of an LSTM's step is larger, as is any of a hidden layer.
    """
    model = read(name)
    trainer, batches = _trainer(model), _batches(model, *[size] * 3)
    trainer.train(batches)
    tracemalloc.start()
    try:
        trainer.train(batches)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * np.getbufsize() * np.dtype("float32").itemsize


@pytest.mark.parametrize("space", [(6, 8), (7, 5)])  # blocks of two fill it, or stick out
@pytest.mark.parametrize("padding", [0, (1, 2), "same"])
@pytest.mark.parametrize("behind", [(), (ReLU(), MaxPool2D(kernel_size=2))], ids=["", "pooled"])
def test_a_convolution_of_many_channels(
    space: tuple[int, int], padding: object, behind: tuple[Layer, ...]
) -> None:
    """Winograd's way is taken with more channels than the cases of the conformance suite have."""
    model = Model(
        name="winograd",
        input=(8, *space),
        layers=(
            Conv2D(name="before", filters=8, kernel_size=1),
            Conv2D(name="tested", filters=9, kernel_size=3, padding=padding),
            *behind,
            Flatten(),
            Dense(name="head", units=3),
        ),
        loss=SoftmaxCrossEntropy(),
        optimizer=SGD(learning_rate=0.125),
    )
    assert suits_winograd(model.nodes[1])
    (batch,) = _batches(model, 3, dtype="float64")
    fast, plain = _trainer(model, dtype="float64"), _trainer(model, reference, "float64")
    for name, expected in (plain.activations(batch) | plain.gradients(batch)[1]).items():
        found = (fast.activations(batch) | fast.gradients(batch)[1])[name]
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-13, err_msg=name)


@pytest.mark.parametrize("name", ["lenet5", "convnet"])
def test_large_products_are_those_of_the_reference(name: str) -> None:
    """With many samples, products are made of parts, and gradients lie transposed."""
    model = read(name)
    (batch,) = _batches(model, 40, dtype="float64")
    fast, plain = _trainer(model, dtype="float64"), _trainer(model, reference, "float64")
    (loss, found), (expected_loss, expected) = (t.gradients(batch) for t in (fast, plain))
    assert loss == pytest.approx(expected_loss, rel=1e-13)
    for key, gradient in expected.items():
        atol = 1e-13 * np.max(np.abs(gradient))
        np.testing.assert_allclose(found[key], gradient, rtol=1e-10, atol=atol, err_msg=key)


def test_batches_of_any_size_follow_each_other() -> None:
    model = read("lenet5")
    batches = _batches(model, 8, 5, 8, 1, dtype="float64")
    losses = _trainer(model, dtype="float64").train(batches)
    expected = _trainer(model, reference, "float64").train(batches)
    np.testing.assert_allclose(losses, expected, rtol=1e-12)


def test_what_comes_out_stays_as_it_is() -> None:
    """The next call writes into the memory of the plan, not into what the last one returned."""
    model = read("lenet5")
    trainer, (first, second) = _trainer(model), _batches(model, 4, 4)
    found = [
        *trainer.activations(first).values(),
        *trainer.gradients(first)[1].values(),
        trainer.predict(first[0]),
        *trainer.weights().values(),
        *trainer.state().values(),
    ]
    before = [array.copy() for array in found]
    trainer.activations(second)
    trainer.predict(second[0])
    trainer.train([second])
    for array, was in zip(found, before, strict=True):
        np.testing.assert_array_equal(array, was)


def test_a_split_step_is_a_step() -> None:
    model = read("mnist-mlp")
    whole, parts = _trainer(model), _trainer(model)
    (batch,) = _batches(model, 4)
    whole.train([batch])
    assert list(parts.split(batch)) == ["forward", "backward", "update"]
    for name, weight in whole.weights().items():
        np.testing.assert_array_equal(parts.weights()[name], weight)
    assert parts.state()["step"] == 1
