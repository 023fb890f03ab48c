"""Metrics against scikit-learn's, intervals against SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics

from bakeoff.bench.results.stats import (
    Interval,
    bootstrap_median,
    mean_interval,
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


def test_the_bootstrap_covers_the_spread_between_processes() -> None:
    calm = bootstrap_median([[10.0, 10.1, 9.9] * 10, [10.0, 10.1, 9.9] * 10])
    split = bootstrap_median([[10.0, 10.1, 9.9] * 10, [20.0, 20.1, 19.9] * 10])
    assert calm.low <= calm.median <= calm.high
    assert calm.high - calm.low < 0.2
    assert split.low < 11 < 19 < split.high
    assert split == bootstrap_median([[10.0, 10.1, 9.9] * 10, [20.0, 20.1, 19.9] * 10])


@pytest.mark.parametrize(
    ("low", "high", "said"), [(1.1, 1.3, "faster"), (0.7, 0.9, "slower"), (0.9, 1.0, "tie")]
)
def test_a_ratio_whose_interval_holds_1_is_a_tie(low: float, high: float, said: str) -> None:
    assert verdict(Interval((low + high) / 2, low, high)) == said
