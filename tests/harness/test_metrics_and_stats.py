"""Metrics against scikit-learn's, intervals against SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics

from bakeoff.bench.results.stats import (
    Interval,
    bootstrap_median,
    bootstrap_ratio,
    mean_interval,
    turn_ratio,
    verdict,
)
from bakeoff.bench.worker import metrics
from bakeoff.models.losses import BinaryCrossEntropy, SoftmaxCrossEntropy

_RNG = np.random.default_rng(0)


def test_classification_is_what_scikit_learn_says() -> None:
    logits, labels = _RNG.normal(size=(50, 4)), _RNG.integers(4, size=50)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    predicted = logits.argmax(axis=1)
    scores = metrics.classification(SoftmaxCrossEntropy(), logits, labels)
    assert scores == pytest.approx(
        {
            "accuracy": sklearn.metrics.accuracy_score(labels, predicted),
            "macro_f1": sklearn.metrics.f1_score(labels, predicted, average="macro"),
            "log_loss": sklearn.metrics.log_loss(labels, probabilities),
        }
    )


def test_one_logit_is_two_classes() -> None:
    logits, labels = _RNG.normal(size=(50, 1)), _RNG.integers(2, size=50)
    scores = metrics.classification(BinaryCrossEntropy(), logits, labels)
    probabilities = 1 / (1 + np.exp(-logits[:, 0]))
    assert scores["accuracy"] == np.mean((probabilities > 0.5) == labels)
    assert scores["log_loss"] == pytest.approx(sklearn.metrics.log_loss(labels, probabilities))


def test_a_class_that_is_never_predicted_counts_in_macro_f1() -> None:
    logits = np.eye(3)[[0, 0, 1, 1]]
    scores = metrics.classification(SoftmaxCrossEntropy(), logits, np.array([0, 2, 1, 2]))
    assert scores["macro_f1"] == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)


def test_a_class_that_is_absent_counts_in_macro_f1_if_it_is_predicted() -> None:
    labels = np.array([0, 0, 1])
    for predicted, expected in (([0, 0, 1], 1), ([0, 3, 1], (2 / 3 + 1 + 0) / 3)):
        scores = metrics.classification(SoftmaxCrossEntropy(), np.eye(5)[predicted], labels)
        theirs = sklearn.metrics.f1_score(labels, predicted, average="macro")
        assert scores["macro_f1"] == pytest.approx(expected) == theirs


def test_huge_logits_give_a_finite_log_loss() -> None:
    scores = metrics.classification(
        SoftmaxCrossEntropy(), np.array([[1e4, 0.0]], np.float32), np.array([1])
    )
    assert scores["log_loss"] == pytest.approx(1e4)


def test_regression_is_what_scikit_learn_says() -> None:
    predicted, targets = _RNG.normal(size=(50, 1)), _RNG.normal(size=(50, 1))
    assert metrics.regression(predicted, targets) == pytest.approx(
        {
            "mse": sklearn.metrics.mean_squared_error(targets, predicted),
            "mae": sklearn.metrics.mean_absolute_error(targets, predicted),
            "r2": sklearn.metrics.r2_score(targets, predicted),
        }
    )
    assert np.isnan(metrics.regression(predicted, np.ones((50, 1)))["r2"])


def test_the_interval_of_a_mean_is_students() -> None:
    values = [0.95, 0.97, 0.96]
    low, high = scipy.stats.t.interval(0.95, 2, np.mean(values), scipy.stats.sem(values))
    assert mean_interval(values) == pytest.approx((0.96, low, high))
    assert mean_interval([0.5]) == (0.5, None, None)


@pytest.mark.parametrize(
    ("values", "metric"),
    [
        ([0.004, 0.04, 0.02], "mse"),
        ([1e-9, 1000.0], "mae"),
        ([0.999, 1.0, 1.0], "accuracy"),
        ([0.0, 0.001], "macro_f1"),
        ([0.0, 1.0], "accuracy"),
        ([0.99, 0.5], "r2"),
    ],
)
def test_an_interval_keeps_within_the_bounds_of_what_it_is_of(
    values: list[float], metric: str
) -> None:
    lowest, highest = metrics.BOUNDS[metric]
    mean, low, high = mean_interval(values, (lowest, highest))
    assert low is not None
    assert high is not None
    assert lowest < low < mean < high < highest
    _, low_free, high_free = mean_interval(values)
    assert low_free is not None
    assert high_free is not None
    assert low_free < lowest or high_free > highest  # where the plain one does not


def test_far_from_its_bounds_an_interval_is_the_plain_one() -> None:
    values = [0.5, 0.5001, 0.4999]
    plain = mean_interval(values)
    for bounds in metrics.BOUNDS.values():
        assert mean_interval(values, bounds) == pytest.approx(plain, rel=1e-6)
    assert mean_interval([1.0, 1.0], (0, 1)) == (1.0, 1.0, 1.0)


def test_the_bootstrap_covers_the_spread_between_processes() -> None:
    calm = bootstrap_median([[10.0, 10.1, 9.9] * 10] * 3)
    spread = [[value + shift for value in [10.0, 10.1, 9.9] * 10] for shift in (0, 5, 10)]
    split = bootstrap_median(spread)
    assert calm.low is not None
    assert calm.high is not None
    assert calm.low <= calm.median <= calm.high
    assert calm.high - calm.low < 0.2
    assert split.low is not None
    assert split.high is not None
    assert split.low < 11 < 19 < split.high
    assert split == bootstrap_median(spread)


@pytest.mark.parametrize("processes", [1, 2])
def test_few_processes_have_no_interval_and_no_verdict(processes: int) -> None:
    few, many = [[10.0, 11.0, 12.0]] * processes, [[20.0, 21.0]] * 3
    assert bootstrap_median(few) == Interval(11.0)
    for new, old in ((few, many), (many, few), (few, few)):
        ratio = bootstrap_ratio(new, old)
        assert (ratio.low, ratio.high, verdict(ratio)) == (None, None, "not judged")
    turns = [{1: 2.0, 2: 2.1}] * processes
    assert turn_ratio(turns, turns) == Interval(1.0)


def test_an_interval_in_another_unit() -> None:
    assert Interval(2.0, 1.0, 4.0).under(8) == Interval(4.0, 2.0, 8.0)
    assert Interval(2.0, 1.0, 4.0).times(10) == Interval(20.0, 10.0, 40.0)
    assert Interval(2.0).under(8) == Interval(4.0)


@pytest.mark.parametrize(
    ("low", "high", "said"), [(1.1, 1.3, "faster"), (0.7, 0.9, "slower"), (0.9, 1.0, "tie")]
)
def test_a_ratio_whose_interval_holds_1_is_a_tie(low: float, high: float, said: str) -> None:
    assert verdict(Interval((low + high) / 2, low, high)) == said
