"""What is wrong with predictions: of more than 8 samples, or from the second one on.

Left out: one that remembers by all of its input is right, and only its time is not.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bakeoff.backends.contract import Trainer
from bakeoff.models.losses import SoftmaxCrossEntropy

from .wrapper import Array, Rows, Wrapper, bfloat16, each, float16, mutant


class LargePrediction(Wrapper):
    """Predicts otherwise for more than `over` samples."""

    over = 8

    def large(self, x: Array) -> Array:
        raise NotImplementedError

    def predict(self, x: Array) -> Array:
        return self.large(x) if len(x) > self.over else super().predict(x)


class Remembering(Wrapper):
    """Predicts once for all inputs of one key."""

    def key(self, x: Array) -> Any:
        raise NotImplementedError

    def predict(self, x: Array) -> Array:
        kept = self.__dict__.setdefault("kept", {})
        key = self.key(x)
        if key not in kept:
            kept[key] = super().predict(x)
        return kept[key].copy()


@mutant("infer")
class PredictsOncePerShape(Remembering):
    """Predicts once per shape of its input, and remembers."""

    def key(self, x: Array) -> Any:
        return x.shape


@mutant("infer")
class PredictsOncePerSum(Remembering):
    """Remembers predictions by the sum of the input, whatever the order of its rows."""

    def key(self, x: Array) -> Any:
        return x.shape, round(float(x.sum(dtype=np.float64)), 6)


@mutant("infer")
class PredictsOncePerFirstRow(Remembering):
    """Remembers predictions by the first row of the input."""

    def key(self, x: Array) -> Any:
        return x.shape, x[0].tobytes()


@mutant("infer")
class OnePredictionBehind(Wrapper):
    """Returns, from the second on, the prediction before, if it has the same shape."""

    last: Array | None = None

    def predict(self, x: Array) -> Array:
        logits, last = super().predict(x), self.last
        self.last = logits.copy()
        return logits if last is None or last.shape != logits.shape else last


@mutant("infer")
class OneArrayForAll(Wrapper):
    """Returns the same array for every prediction of one shape: the next one overwrites it."""

    def predict(self, x: Array) -> Array:
        logits = super().predict(x)
        kept = self.__dict__.setdefault("kept", {}).setdefault(logits.shape, logits)
        np.copyto(kept, logits)
        return kept


@mutant("train")
class PredictsWithOldWeights(Wrapper):
    """Predicts for ever with the weights that it had at its first prediction."""

    then: Trainer | None = None

    def predict(self, x: Array) -> Array:
        self.then = self.then or self.fresh()
        return self.then.predict(x)


@mutant("infer")
class RowsInSortedOrder(LargePrediction):
    """Sorts the rows of a large input by their first number, and leaves the logits so."""

    def large(self, x: Array) -> Array:
        return self.real.predict(x[np.argsort(x.reshape(len(x), -1)[:, 0])])


@mutant("infer")
class RowsReversed(LargePrediction):
    """Returns the logits of a large input from the last row to the first."""

    def large(self, x: Array) -> Array:
        return self.real.predict(x)[::-1].copy()


@mutant("infer")
class LogitsOffByOne(LargePrediction):
    """Returns for every row of a large input the logits of the row before."""

    def large(self, x: Array) -> Array:
        return np.roll(self.real.predict(x), 1, axis=0)


@mutant("infer")
class LastRowLeftOut(LargePrediction):
    """Does not compute the last row of a large input: it has the logits of the row before."""

    def large(self, x: Array) -> Array:
        logits = self.real.predict(x[:-1])
        return np.concatenate([logits, logits[-1:]])


@mutant("infer")
class QuarterPredicted(LargePrediction):
    """Predicts the first quarter of more than 32 rows, and repeats it for the others."""

    over = 32

    def large(self, x: Array) -> Array:
        logits = self.real.predict(x[: len(x) // 4])
        return np.resize(logits, (len(x), *logits.shape[1:]))


@mutant("infer")
class Probabilities(LargePrediction):
    """Returns probabilities for a large input, and not logits."""

    def large(self, x: Array) -> Array:
        logits = self.real.predict(x)
        exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
        return exponentials / exponentials.sum(axis=-1, keepdims=True)


@mutant("infer")
class ClassesTurned(LargePrediction):
    """Returns the logits of a large input with the classes turned by one."""

    def large(self, x: Array) -> Array:
        return np.roll(self.real.predict(x), 1, axis=-1)


@mutant("infer")
class StatisticsOfTheBatch(LargePrediction):
    """Normalizes a large input by its own statistics, as if it trained."""

    def large(self, x: Array) -> Array:
        outputs = self.real.activations(self.native(Rows(x, np.zeros(len(x)), None)))
        return outputs[self.model.nodes[-1].key]


@mutant("infer")
class PredictionMovesStatistics(LargePrediction):
    """Moves the running statistics with every large input that it predicts."""

    def large(self, x: Array) -> Array:
        logits, other = self.real.predict(x), self.fresh()
        y: Array = np.zeros((len(x), *self.model.output_shape), x.dtype)
        if isinstance(self.model.loss, SoftmaxCrossEntropy):
            y = np.zeros(len(x), np.int64)
        other.train([self.native(Rows(x, y, None))])
        moved = other.weights()
        self.go_on(weights={name: moved[name] for name in self.statistics()})
        return logits


@mutant("infer")
class PredictedInputsThroughFloat16(LargePrediction):
    """Passes inputs of more than 16 rows through float16."""

    over = 16

    def large(self, x: Array) -> Array:
        return self.real.predict(float16(x))


@mutant("infer")
class PredictedProductsInBfloat16(LargePrediction):
    """Multiplies in bfloat16 above 16 rows."""

    over = 16

    def large(self, x: Array) -> Array:
        rounded = each(bfloat16, self.real.weights(), self.model.trainable)
        return self.fresh(weights=rounded).predict(bfloat16(x))


@mutant("infer")
class LogitsThroughFloat16(LargePrediction):
    """Returns the logits of a large input by way of float16."""

    def large(self, x: Array) -> Array:
        return float16(self.real.predict(x))
