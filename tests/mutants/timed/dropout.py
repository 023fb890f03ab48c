"""What is wrong with masks that the trainer draws itself: the laboratory supplies them.

Left out: a seed that is ignored, and masks that come again after a restart, show in no process by
itself; an inverted mask at a rate of 0.5 is a mask.
"""

from __future__ import annotations

import numpy as np
from msgspec import structs

from bakeoff.backends.contract import Masks
from bakeoff.models.init import dropout_masks
from bakeoff.models.layers import Dropout

from .wrapper import Array, Rows, Wrapper, mutant


class Drawing(Wrapper):
    """Draws the masks that it is not given: a mutant overrides `draw`."""

    drawn = 0

    def draw(self, samples: int) -> Masks:
        """Return the masks of one batch."""
        self.drawn += 1
        return dropout_masks(self.model, samples, seed=self.seed, step=self.drawn)

    def native(self, rows: Rows) -> object:
        masks = self.draw(len(rows)) if rows.masks is None else rows.masks
        return self.real.stage(rows.x, rows.y, masks)

    def use_rate(self, factor: float, *names: str) -> None:
        """Multiply the rate of the dropouts so named from now on; of all if none is."""
        layers = [
            structs.replace(layer, rate=layer.rate * factor)
            if isinstance(layer, Dropout) and (not names or layer.name in names)
            else layer
            for layer in self.model.layers
        ]
        self.model = structs.replace(self.model, layers=tuple(layers))
        self.go_on()


@mutant("dropout")
class KeepsWhatItShouldDrop(Drawing):
    """Keeps what it should drop, and drops what it should keep."""

    def draw(self, samples: int) -> Masks:
        return {key: ~mask for key, mask in super().draw(samples).items()}


@mutant("dropout")
class OneMaskForEver(Drawing):
    """Draws one mask for ever."""

    def draw(self, samples: int) -> Masks:
        return dropout_masks(self.model, samples, seed=self.seed, step=0)


@mutant("dropout")
class OneMaskPerBlock(Drawing):
    """Draws a mask for each call of `train`, and uses it in all steps of it."""

    def block(self, block: list[Rows]) -> Array:
        self.drawn += 1
        return super().block(block)

    def draw(self, samples: int) -> Masks:
        return dropout_masks(self.model, samples, seed=self.seed, step=self.drawn)


@mutant("dropout")
class SameMasksInEveryBlock(Drawing):
    """Seeds its generator anew at each call of `train`."""

    def block(self, block: list[Rows]) -> Array:
        self.drawn = 0
        return super().block(block)


@mutant("dropout")
class NoDropout(Drawing):
    """Drops nothing."""

    def draw(self, samples: int) -> Masks:
        if not self.drawn:
            self.use_rate(0.0)
        return super().draw(samples)


@mutant("dropout")
class LastDropoutLeftOut(Drawing):
    """Drops nothing in the last of its dropouts."""

    def draw(self, samples: int) -> Masks:
        if not self.drawn:
            self.use_rate(0.0, list(super().draw(samples))[-1])
        return super().draw(samples)


@mutant("dropout")
class ScaledAndNotDropped(Drawing):
    """Multiplies by 1 / (1 - rate) what it keeps, and keeps everything."""

    def draw(self, samples: int) -> Masks:
        return {key: np.ones_like(mask) for key, mask in super().draw(samples).items()}


@mutant("dropout")
class DroppedAndNotScaled(Drawing):
    """Does not multiply by 1 / (1 - rate) what it keeps."""

    def draw(self, samples: int) -> Masks:
        if not self.drawn:
            self.right = self.model
            self.use_rate(0.0)
        self.drawn += 1
        return dropout_masks(self.right, samples, seed=self.seed, step=self.drawn)


@mutant("dropout")
class HalfTheRate(Drawing):
    """Drops half as many as it should, and scales accordingly."""

    def draw(self, samples: int) -> Masks:
        if not self.drawn:
            self.use_rate(0.5)
        return super().draw(samples)


@mutant("dropout")
class DropsTooFew(Drawing):
    """Drops a sixth less than it should, and scales as it should."""

    def draw(self, samples: int) -> Masks:
        masks = super().draw(samples)
        rng = np.random.default_rng(self.drawn)
        return {key: mask | (rng.random(mask.shape) < 1 / 6) for key, mask in masks.items()}


@mutant("dropout")
class SameForAllSamples(Drawing):
    """Draws one mask for all samples of a batch."""

    def draw(self, samples: int) -> Masks:
        masks = super().draw(samples)
        return {key: np.repeat(mask[:1], samples, axis=0) for key, mask in masks.items()}


@mutant("dropout")
class SameForAllFeatures(Drawing):
    """Drops a sample's features all together, or none."""

    def draw(self, samples: int) -> Masks:
        masks = super().draw(samples)
        return {
            key: np.repeat(mask.reshape(samples, -1)[:, :1], mask[0].size, 1).reshape(mask.shape)
            for key, mask in masks.items()
        }


@mutant("dropout")
class SameInAllLayers(Drawing):
    """Draws one mask for all dropouts of one shape."""

    def draw(self, samples: int) -> Masks:
        first: dict[tuple[int, ...], Array] = {}
        masks = super().draw(samples)
        return {key: first.setdefault(mask.shape, mask) for key, mask in masks.items()}


@mutant("dropout")
class EightSamplesDropped(Drawing):
    """Drops from the first eight samples of a batch; the others are scaled and kept whole."""

    def draw(self, samples: int) -> Masks:
        behind = np.arange(samples) >= 8
        return {
            key: mask | behind.reshape(-1, *[1] * (mask.ndim - 1))
            for key, mask in super().draw(samples).items()
        }


@mutant("dropout")
class ActiveInEvaluation(Drawing):
    """Drops while it predicts more than 8 samples."""

    def predict(self, x: Array) -> Array:
        if len(x) <= 8:
            return super().predict(x)
        outputs = self.activations(Rows(x, np.zeros(len(x)), None))
        return outputs[self.model.nodes[-1].key]
