"""What the oracle computes, and how far rounding alone may take a backend from it: see the package.

`Expected` is a value in float64 with the distance that is allowed in each of its elements.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from msgspec import structs

from ...backends import reference
from ...backends.contract import Deviation, DType, Execution, Masks, Trainer, Weights
from ...models import Model
from ...models.optimizers import AdamW
from .rounding import ORDERS, PATTERNS, Order, as_it_comes, rounded

MULTIPLE = 16  # times the noise: a framework's kernels have their own orders, blocks and functions
_KICK = MULTIPLE  # roundings of a sum: as far as a backend may be off, it may cross a kink
_KINK = 8  # times the smooth bound: the least that a kick does, up and down, if it meets a kink
UNIT = {"float32": 2.0**-24, "float64": 2.0**-53}  # unit roundoffs

Batch = tuple[np.ndarray, np.ndarray, Masks]
Values = dict[str, np.ndarray]
Ask = Callable[[Trainer, Batch], Values]


class Expected(NamedTuple):
    """A value and what is allowed beside it, by element."""

    value: np.ndarray
    allowed: np.ndarray


class State(NamedTuple):
    """Where a training stands, in float64: all weights, optimizer slots, steps taken."""

    weights: Weights
    slots: Weights
    step: int

    @property
    def arrays(self) -> Values:
        """All of it as `weights/<name>` and `state/<slot>`."""
        weights = {f"weights/{name}": a for name, a in self.weights.items()}
        return weights | {f"state/{name}": a for name, a in self.slots.items()}

    def farther(self, start: State, by: Values) -> State:
        """Return this state with every weight moved on, in the direction that it took."""
        weights = {
            name: w + np.copysign(1.0, w - start.weights[name]) * by[f"weights/{name}"]
            for name, w in self.weights.items()
        }
        return self._replace(weights=weights)

    @classmethod
    def of(cls, weights: Weights, state: Weights) -> State:
        """Take over what a backend reports."""
        as64 = {name: value.astype(np.float64) for name, value in weights.items()}
        slots = {n: v.astype(np.float64) for n, v in state.items() if n != "step"}
        return cls(as64, slots, int(state["step"]))

    @classmethod
    def start(cls, model: Model, weights: Weights) -> State:
        """Before the first step: every slot is zero."""
        as64 = {name: value.astype(np.float64) for name, value in weights.items()}
        names = (f"{name}.{slot}" for name in model.trainable for slot in model.optimizer.slots())
        slots = {name: np.zeros_like(as64[name.rpartition(".")[0]]) for name in names}
        return cls(as64, slots, 0)


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
    n_u = steps * terms * UNIT["float64"]
    return n_u / (1 - n_u)


class Oracle:
    """The reference adapter, in float64, on one model; what it allows is for backends in `dtype`.

    Another `adapter` is the reference with something about it changed: see `ablation`.
    """

    def __init__(
        self,
        model: Model,
        dtype: DType,
        adapter: Any = reference,
        deviations: Sequence[Deviation] = (),
    ) -> None:
        self.model, self._dtype, self._adapter = model, dtype, adapter
        optimizer = model.optimizer.__struct_config__.tag
        self.deviations = [d for d in deviations if d.dtype == dtype and optimizer in d.optimizers]
        self._running = [name for name in model.weights if name not in model.trainable]

    def derivatives(self, state: State, batch: Batch) -> dict[str, Expected]:
        """Expect `forward/<key>`, `loss`, `gradients/<weight>`, `statistics/<weight>`."""
        return self._measured(state, batch, self._ask_derivatives, self._strays(state))[0]

    def evaluation(self, state: State, batch: Batch) -> dict[str, Expected]:
        """Expect the logits in evaluation mode, as `evaluation`."""

        def ask(trainer: Trainer, staged: Batch) -> Values:
            return {"evaluation": trainer.predict(staged[0])}

        return self._measured(state, batch, ask, self._strays(state))[0]

    def after(self, state: State, batches: list[Batch]) -> dict[str, Expected]:
        """Expect `losses`, `weights/<name>`, `state/<slot>` after one update per batch.

        Beside the oracle's own training, two are followed whose gradients are moved by all that is
        allowed, up and down. Every optimizer's update is monotone in the gradient, so they enclose
        what a backend within its tolerance can do. What an update brings with it and what its own
        gradients add might cancel, and need not: they count apart. Each update adds its roundings;
        the two go on from an update that these made longer, and shorter. Behind the first update,
        the noise is measured where each rounding has gone by itself.
        """
        here, moved = state, [state, state]
        strays = self._strays(state)
        rounding = {name: np.zeros_like(a) for name, a in state.arrays.items()}
        losses: list[Expected] = []
        for batch in batches:
            centre, of_strays = self._measured(here, batch, self._ask_derivatives, strays)
            if len(losses) + 1 < len(batches):
                strays = [
                    stray._replace(state=self._step(stray.state, values))
                    for stray, values in zip(strays, of_strays, strict=True)
                ]
            exact, loss = _values(centre), centre["loss"]
            derivatives = [exact if way is here else self._exact(way, batch) for way in moved]
            spread = max(abs(values["loss"] - loss.value) for values in derivatives)
            losses.append(Expected(loss.value, loss.allowed + spread))
            reached = self._step(here, exact)
            ways = list(zip(moved, derivatives, (1, -1), strict=True))
            brought = [self._step(way, values) for way, values, _ in ways]
            added = [self._step(here, exact, sign, centre) for _, _, sign in ways]
            own_rounding = {
                name: self._own_rounding(name, here.arrays[name], new, reached.step)
                for name, new in reached.arrays.items()
            }
            rounding = {name: rounding[name] + own_rounding[name] for name in rounding}
            moved = [
                self._step(way, values, sign, centre).farther(
                    way, {name: sign * off for name, off in own_rounding.items()}
                )
                for way, values, sign in ways
            ]
            for name in self._running:
                rounding[f"weights/{name}"] += centre[f"statistics/{name}"].allowed
            here = reached
        return {
            "losses": Expected(*(np.stack(part) for part in zip(*losses, strict=True))),
            "state/step": Expected(np.array(here.step), np.zeros(())),
        } | {
            name: Expected(
                value,
                rounding[name] + _farthest(brought, name, value) + _farthest(added, name, value),
            )
            for name, value in here.arrays.items()
        }

    def _own_rounding(self, name: str, old: np.ndarray, new: np.ndarray, t: int) -> np.ndarray:
        """Return what the roundings of update t may do, and what the backend's deviations do.

        Scalars are float64 in every execution; a bias correction 1 - βᵗ magnifies their rounding.
        """
        allowed: np.ndarray = MULTIPLE * UNIT[self._dtype] * (np.abs(old) + np.abs(new))
        is_weight = name.startswith("weights/")
        if is_weight:
            betas = (getattr(self.model.optimizer, beta, 0.0) for beta in ("beta1", "beta2"))
            magnified = sum(1 / (1 - beta**t) for beta in betas)
            allowed = allowed + MULTIPLE * UNIT["float64"] * magnified * np.abs(new - old)
        for deviation in self.deviations:
            if name.endswith(f".{deviation.slot}"):
                allowed = allowed + deviation.relative * np.abs(new)
            elif is_weight:
                allowed = allowed + deviation.relative * np.abs(new - old)
        return allowed

    def _step(
        self,
        state: State,
        derivatives: Values,
        sign: int = 0,
        measured: dict[str, Expected] | None = None,
    ) -> State:
        """Take a step with the gradients found; moved, with a sign, by all that is allowed."""
        optimizer = self.model.optimizer
        gradients = {name: derivatives[f"gradients/{name}"] for name in self.model.trainable}
        clipped = self._adapter.clip(optimizer, gradients)
        if measured:
            off = {name: measured[f"gradients/{name}"].allowed for name in gradients}
            off = self._off_when_clipped(gradients, clipped, off)
            off = self._off_when_decayed(clipped, off, state.weights)
            clipped = {name: g + sign * off[name] for name, g in clipped.items()}
        weights = {name: weight.copy() for name, weight in state.weights.items()}
        slots = {name: slot.copy() for name, slot in state.slots.items()}
        unclipped = structs.replace(optimizer, clip_value=None, clip_norm=None)
        self._adapter.take_step(unclipped, weights, clipped, slots, state.step)
        weights |= {name: derivatives[f"statistics/{name}"] for name in self._running}
        return State(weights, slots, state.step + 1)

    def _off_when_clipped(self, gradients: Weights, clipped: Weights, off: Weights) -> Weights:
        """Return how far clipped gradients may be off: they share a norm, and so its error.

        g s, s = min(1, c / ‖g‖), is off by δ s + |g s| ‖δ‖ / ‖g‖ to first order, δ being what g may
        be off by. Clipping by value brings nothing further apart.
        """
        optimizer = self.model.optimizer
        by_value = self._adapter.clip(structs.replace(optimizer, clip_norm=None), gradients)
        norm, norm_off = _norm(by_value), _norm(off)
        if not optimizer.clip_norm or norm + norm_off <= optimizer.clip_norm:
            return off
        scale = _norm(clipped) / norm
        return {
            name: scale * off[name] + np.abs(g) * norm_off / norm for name, g in clipped.items()
        }

    def _off_when_decayed(self, clipped: Weights, off: Weights, weights: Weights) -> Weights:
        """Return how far g + λw may be off: both terms are rounded, and may cancel."""
        optimizer = self.model.optimizer
        coupled = not isinstance(optimizer, AdamW)
        decay = optimizer.weight_decay if coupled else 0.0
        unit = MULTIPLE * UNIT[self._dtype]
        return {
            name: off[name] + unit * (np.abs(g) + decay * np.abs(weights[name]))
            for name, g in clipped.items()
        }

    def _exact(self, state: State, batch: Batch) -> Values:
        return self._ask_derivatives(self._trainer(state, "float64"), batch)

    def _ask_derivatives(self, trainer: Trainer, batch: Batch) -> Values:
        batch = trainer.stage(*batch)
        values = {f"forward/{key}": a for key, a in trainer.activations(batch).items()}
        loss, gradients = trainer.gradients(batch)
        values["loss"] = np.array(loss)
        values |= {f"gradients/{name}": gradient for name, gradient in gradients.items()}
        if self._running:
            trainer.train([batch])
            moved = trainer.weights()
            values |= {f"statistics/{name}": moved[name] for name in self._running}
        return values

    def _strays(self, state: State) -> list[_Stray]:
        """Return the roundings of the formulas in float32 that measure the noise, at a state."""
        strays = [_Stray(order, 0.0, PATTERNS[0], state) for order in ORDERS]
        if self._dtype == "float32":
            kick = _KICK * UNIT["float32"]
            for pattern in PATTERNS:
                strays += [_Stray(as_it_comes, kick, pattern, state),
                           _Stray(as_it_comes, -kick, pattern, state)]  # fmt: skip
        return strays

    def _measured(
        self, state: State, batch: Batch, ask: Ask, strays: list[_Stray]
    ) -> tuple[dict[str, Expected], list[Values]]:
        """Return what is expected at a state, and what each stray found at its own."""
        exact = ask(self._trainer(state, "float64"), batch)
        of_strays = [self._ask_stray(stray, batch, ask) for stray in strays]
        a_priori = MULTIPLE * UNIT["float32"]
        if self._dtype == "float64":
            a_priori = gamma(self.model, len(batch[0]))
        expected = {}
        for name, value in exact.items():
            noise, kinks = 0.0, dict.fromkeys(PATTERNS, 0.0)
            for stray, values in zip(strays, of_strays, strict=True):
                distance = _largest(values[name] - value)
                if stray.disturbance:
                    kinks[stray.pattern] += distance  # of what flips either way, any part may
                else:
                    noise = max(noise, distance)
            smooth = MULTIPLE * UNIT[self._dtype] / UNIT["float32"] * noise
            smooth = max(smooth, a_priori * _largest(value))
            kink = max(kinks.values())
            allowed = smooth + (kink if kink > _KINK * smooth else 0.0)
            expected[name] = Expected(value, np.full(value.shape, allowed))
        return expected, of_strays

    def _ask_stray(self, stray: _Stray, batch: Batch, ask: Ask) -> Values:
        how, state = stray[:3], stray.state
        x, y, masks = batch
        weights: Weights = {n: rounded(w, *how) for n, w in state.weights.items()}
        targets = y if y.dtype.kind == "i" else y.astype(np.float32)
        trainer = self._trainer(State(weights, state.slots, state.step), "float32")
        values = ask(trainer, (rounded(x, *how), targets, masks))
        return {name: np.asarray(value) for name, value in values.items()}

    def _trainer(self, state: State, dtype: DType) -> Trainer:
        execution = Execution(device="cpu", dtype=dtype, mode="eager", threads=1)
        slots = {**state.slots, "step": np.array(state.step)}
        trainer: Trainer = self._adapter.build(
            self.model, state.weights, execution, seed=0, state=slots
        )
        return trainer


class _Stray(NamedTuple):
    """A rounding, and where it has gone by itself."""

    order: Order
    disturbance: float
    pattern: float
    state: State


def _values(expected: dict[str, Expected]) -> Values:
    return {name: each.value for name, each in expected.items()}


def _farthest(states: list[State], name: str, value: np.ndarray) -> np.ndarray:
    distances = [np.abs(state.arrays[name] - value) for state in states]
    farthest: np.ndarray = np.max(distances, axis=0)
    return farthest


def _norm(arrays: Weights) -> float:
    return math.sqrt(sum(float(np.sum(a * a)) for a in arrays.values()))


def _largest(value: np.ndarray) -> float:
    return float(np.max(np.abs(value), initial=0.0))
