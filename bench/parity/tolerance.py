"""What the oracle computes, and how far rounding alone may take a backend from it: see the package.

`Expected` is a value in float64 with the distance that is allowed in each of its elements.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from msgspec import structs

from ...backends import reference
from ...backends.contract import Deviation, DType, Weights
from ...models import Model
from ...models.optimizers import SGD, AdamW
from ..worker.evidence import under
from .formulas import Batch, Formulas, State, Values, largest
from .noise import MULTIPLE, UNIT, Noise, Noises

_KINK = 8  # times the smooth bound: the least that a kick does, up and down, if it meets a kink
_UPDATE = 3  # roundings of what is added to a weight: Adam's nine of independent signs


class Expected(NamedTuple):
    """A value and what is allowed beside it, by element."""

    value: np.ndarray
    allowed: np.ndarray


class Oracle:
    """The reference adapter, in float64, on one model; what it allows is for backends in `dtype`.

    Another `adapter` is the reference with something about it changed: see `ablation`. The noise of
    each tensor is given: see `noise`.
    """

    def __init__(
        self,
        model: Model,
        dtype: DType,
        adapter: Any = reference,
        deviations: Sequence[Deviation] = (),
    ) -> None:
        self.model, self.dtype = model, dtype
        self._formulas = Formulas(model, adapter)
        optimizer = model.optimizer.__struct_config__.tag
        self.deviations = [d for d in deviations if d.dtype == dtype and optimizer in d.optimizers]

    def derivatives(self, state: State, batch: Batch, noises: Noises) -> dict[str, Expected]:
        """Expect `forward/<key>`, `loss`, `gradients/<weight>`, `statistics/<weight>`."""
        return self._expected(self._formulas.derivatives(state, batch), noises)

    def evaluation(self, state: State, batch: Batch, noises: Noises) -> dict[str, Expected]:
        """Expect `evaluation`: the logits in evaluation mode."""
        return self._expected(self._formulas.evaluation(state, batch), noises)

    def after(
        self, state: State, batches: Sequence[Batch], noises: Sequence[Noises]
    ) -> dict[str, Expected]:
        """Expect `losses`, `weights/<name>`, `state/<slot>` after one update per batch.

        Beside the oracle's own training, two are followed whose gradients are moved by all that is
        allowed, up and down. Every optimizer's update is monotone in the gradient, so they enclose
        what a backend within its tolerance can do. What an update brings with it and what its own
        gradients add might cancel, and need not: they count apart. Each update adds its roundings,
        those of the longest of these updates; the two go on from one that they made longer, and
        from one that they made shorter.
        """
        here, moved = state, [state, state]
        rounding = {name: np.zeros_like(a) for name, a in state.arrays.items()}
        losses: list[Expected] = []
        undecided: set[str] = set()
        for batch, noise in zip(batches, noises, strict=True):
            exact = self._formulas.derivatives(here, batch)
            centre, loss = self._expected(exact, noise), exact["loss"]
            undecided |= self._undecided(centre)
            derivatives = [
                exact if way is here else self._formulas.derivatives(way, batch) for way in moved
            ]
            spread = max(abs(values["loss"] - loss) for values in derivatives)
            losses.append(Expected(loss, centre["loss"].allowed + spread))
            reached = self._step(here, exact)
            ways = list(zip(moved, derivatives, (1, -1), strict=True))
            brought = [self._step(way, values) for way, values, _ in ways]
            added = [self._step(here, exact, sign, centre) for _, _, sign in ways]
            own_rounding = {
                name: np.max(
                    [
                        self._own_rounding(name, old, end.arrays[name], reached.step)
                        for end in (reached, *added)
                    ],
                    axis=0,
                )
                for name, old in here.arrays.items()
            }
            rounding = {name: rounding[name] + own_rounding[name] for name in rounding}
            moved = [
                self._step(way, values, sign, centre).farther(
                    way, {name: sign * off for name, off in own_rounding.items()}
                )
                for way, values, sign in ways
            ]
            for name in self._formulas.running:
                rounding[f"weights/{name}"] += centre[f"statistics/{name}"].allowed
            here = reached
        return {
            "losses": Expected(*(np.stack(part) for part in zip(*losses, strict=True))),
            "state/step": Expected(np.array(here.step), np.zeros(())),
        } | {
            name: Expected(
                value,
                np.full(value.shape, np.inf)
                if name in undecided
                else rounding[name]
                + _farthest(brought, name, value)
                + _farthest(added, name, value),
            )
            for name, value in here.arrays.items()
        }

    def with_deviations(self, start: State, expected: dict[str, Expected]) -> dict[str, Expected]:
        """Allow, of weights and slots, what the backend is known to deviate by."""
        before = start.arrays
        return {
            name: Expected(value, allowed + self._deviating(name, before[name], value))
            for name, (value, allowed) in expected.items()
        }

    def _undecided(self, derivatives: dict[str, Expected]) -> set[str]:
        """Return the weights whose update rounding decides: those whose gradient is nothing else,
        as it is of a bias in front of batch norm, if the optimizer divides by its size.
        """
        if isinstance(self.model.optimizer, SGD):
            return set()
        gradients = {name: derivatives[f"gradients/{name}"] for name in self.model.trainable}
        return {
            f"weights/{name}"
            for name, (value, allowed) in gradients.items()
            if np.min(allowed) > 0 and largest(value) <= np.min(allowed)
        }

    def _expected(self, exact: Values, noises: Noises) -> dict[str, Expected]:
        return {name: self._allowed(value, noises[name]) for name, value in exact.items()}

    def _allowed(self, value: np.ndarray, noise: Noise) -> Expected:
        smooth = MULTIPLE * max(noise.rounding, UNIT[self.dtype] * largest(value))
        kink = noise.kink if noise.kink > _KINK * smooth else 0.0
        return Expected(value, np.full(value.shape, smooth + kink))

    def _own_rounding(self, name: str, old: np.ndarray, new: np.ndarray, t: int) -> np.ndarray:
        """Return what the roundings of update t may do, and what the backend's deviations do.

        Scalars are float64 in every execution; a bias correction 1 - βᵗ magnifies their rounding.
        """
        allowed: np.ndarray = MULTIPLE * UNIT[self.dtype] * (np.abs(old) + np.abs(new))
        if name.startswith("weights/"):
            betas = (getattr(self.model.optimizer, beta, 0.0) for beta in ("beta1", "beta2"))
            magnified = sum(1 / (1 - beta**t) for beta in betas)
            per_update = _UPDATE * UNIT[self.dtype] + UNIT["float64"] * magnified
            allowed = allowed + MULTIPLE * per_update * np.abs(new - old)
        allowed += self._deviating(name, old, new)
        return allowed

    def _deviating(self, name: str, old: np.ndarray, new: np.ndarray) -> np.ndarray:
        allowed = np.zeros(new.shape)
        for deviation in self.deviations:
            if name.endswith(f".{deviation.slot}"):
                allowed += deviation.relative * np.abs(new)
            elif name.startswith("weights/"):
                allowed += deviation.relative * np.abs(new - old)
        return allowed

    def _step(
        self,
        state: State,
        derivatives: Values,
        sign: int = 0,
        measured: dict[str, Expected] | None = None,
    ) -> State:
        """Take a step with the gradients found; moved, with a sign, by all that is allowed."""
        gradients = under("gradients", derivatives)
        clipped = self._formulas.clip(gradients)
        if measured:
            off = {name: measured[f"gradients/{name}"].allowed for name in gradients}
            off = self._off_when_clipped(gradients, clipped, off)
            off = self._off_when_decayed(clipped, off, state.weights)
            clipped = {name: g + sign * off[name] for name, g in clipped.items()}
        return self._formulas.step(state, clipped, under("statistics", derivatives))

    def _off_when_clipped(self, gradients: Weights, clipped: Weights, off: Weights) -> Weights:
        """Return how far clipped gradients may be off: they share a norm, and so its error.

        With s = min(1, c / ‖g‖), and s' the same of a norm that is anywhere within ‖δ‖ of ‖g‖, δ
        being what g may be off by, g s is off by δ s' + |g| |s' - s|. No element is beyond c.
        Clipping by value brings nothing further apart.
        """
        optimizer = self.model.optimizer
        by_value = self._formulas.adapter.clip(
            structs.replace(optimizer, clip_norm=None), gradients
        )
        norm, norm_off, most = _norm(by_value), _norm(off), optimizer.clip_norm
        if not most or norm + norm_off <= most:
            return off
        shortest, longest = max(norm - norm_off, 0.0), norm + norm_off
        least, scale, largest = (most / max(n, most) for n in (longest, norm, shortest))
        moved = max(largest - scale, scale - least)
        return {
            name: np.minimum(largest * off[name] + np.abs(by_value[name]) * moved, most + np.abs(g))
            for name, g in clipped.items()
        }

    def _off_when_decayed(self, clipped: Weights, off: Weights, weights: Weights) -> Weights:
        """Return how far g + λw may be off: both terms are rounded, and may cancel."""
        optimizer = self.model.optimizer
        coupled = not isinstance(optimizer, AdamW)
        decay = optimizer.weight_decay if coupled else 0.0
        unit = MULTIPLE * UNIT[self.dtype]
        return {
            name: off[name] + unit * (np.abs(g) + decay * np.abs(weights[name]))
            for name, g in clipped.items()
        }


def _farthest(states: list[State], name: str, value: np.ndarray) -> np.ndarray:
    distances = [np.abs(state.arrays[name] - value) for state in states]
    farthest: np.ndarray = np.max(distances, axis=0)
    return farthest


def _norm(arrays: Weights) -> float:
    return math.sqrt(sum(float(np.sum(a * a)) for a in arrays.values()))
