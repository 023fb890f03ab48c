"""The one comparison of the conformance suite, and the bounds it is given.

A bound is relative to the largest absolute value of the expected tensor: an element that cancels
to nearly zero carries the rounding of the terms that it was summed from.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from bakeoff.models import Model

_MULTIPLE = 16  # of the reference's own measured rounding: another order of summation, another path


def assert_parity(actual: np.ndarray, expected: np.ndarray, *, name: str, bound: float) -> None:
    """Fail unless shapes are equal and no element is off by more than `bound` x max|expected|.

    A NaN or an infinity on either side fails. The message names tensor, worst index, both values.
    """
    assert actual.shape == expected.shape, (
        f"{name}: shape {actual.shape}, expected {expected.shape}"
    )
    assert np.isfinite(expected).all(), f"{name}: the reference is not finite"
    allowed = bound * scale(expected)
    error = np.abs(actual.astype(np.float64) - expected)
    worst = np.unravel_index(np.argmax(np.where(np.isnan(error), np.inf, error)), error.shape)
    assert error[worst] <= allowed, (
        f"{name}{list(map(int, worst))}: {actual[worst]!r}, expected {expected[worst]!r}; "
        f"off by {error[worst]:.3g}, allowed {allowed:.3g}"
    )


def assert_all_parity(
    actual: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray], *, bound: float
) -> None:
    """Fail unless both hold the same names and every tensor is in parity."""
    assert sorted(actual) == sorted(expected)
    for name, value in expected.items():
        assert_parity(actual[name], value, name=name, bound=bound)


def scale(expected: np.ndarray) -> float:
    """The unit of a bound: the largest absolute value, or 1 for a tensor of zeros."""
    return float(np.max(np.abs(expected), initial=0.0)) or 1.0


def gamma(model: Model, batch: int, steps: int = 1) -> float:
    """Return γₙ in float64; n counts, forward and backward, the terms of every sum on the way (a
    layer's fan-in, and batch x space for the gradient of its weight) and ten elementwise roundings
    per layer, for each step.
    """
    terms = 0
    for node in model.walk():
        fan_in = max((spec.fan_in for spec in node.weights.values()), default=0)
        inputs, space = math.prod(node.input_shape), math.prod(node.output_shape[1:])
        terms += 2 * (fan_in + inputs) + batch * space + 10
    n_u = steps * terms * 2.0**-53
    return n_u / (1 - n_u)


def float32_bound(
    reference32: Mapping[str, np.ndarray], reference64: Mapping[str, np.ndarray]
) -> float:
    """Return a multiple of the rounding that the reference itself shows in float32 on this case."""
    noise = max(
        float(np.max(np.abs(reference32[name] - expected))) / scale(expected)
        for name, expected in reference64.items()
    )
    return _MULTIPLE * max(noise, float(np.finfo(np.float32).eps))
