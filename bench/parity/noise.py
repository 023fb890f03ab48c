"""How far rounding alone takes each tensor: Monte Carlo arithmetic on the formulas (`rounding`).

Noise is measured along the oracle's own training, once for all backends. Where that is not enough
for one, it is measured again at its own state, with more draws and with kicks across the kinks.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

from ...backends.contract import DType
from ...models import Model
from ..worker.evidence import Probe, digest
from .formulas import Batch, Formulas, State, Values, largest
from .rounding import PATTERNS, Kick, Roundings, Source

UNIT = {"float32": 2.0**-24, "float64": 2.0**-53}  # unit roundoffs
MULTIPLE = 6  # times the noise: a framework's kernels have their own orders, blocks and functions

_DRAWS, _CAREFUL_DRAWS = 3, 12
# In float64 the oracle itself rounds: what is between it and a backend are the roundings of both.
# And u r ξ alone would itself be rounded away, where r is next to a power of two.
_ROUND = {"float32": 1, "float64": 2}
_KICK = MULTIPLE  # roundings of a sum: as far as a backend may be off, it may cross a kink


class Noise(NamedTuple):
    """Of one tensor: the largest distance of a draw, and of what was kicked, both ways."""

    rounding: float
    kink: float = 0.0


Noises = dict[str, Noise]


class Meter:
    """Measures the noise of a model's tensors in a precision."""

    def __init__(self, model: Model, dtype: DType, *, careful: bool) -> None:
        self._formulas, self._careful = Formulas(model), careful
        self._unit = _ROUND[dtype] * UNIT[dtype]

    def training(self, state: State, batches: Sequence[Batch]) -> list[Noises]:
        """Return the noise of what each step derives, in a training from a state.

        Behind the first step, each draw has gone by itself.
        """
        here, strays = state, [(source, state) for source in self._sources()]
        found = []
        for batch in batches:
            exact = self._formulas.derivatives(here, batch)
            of_strays = [
                self._formulas.disturbed_derivatives(stray, batch, source)
                for source, stray in strays
            ]
            found.append(self._distances(exact, of_strays))
            here = self._formulas.after(here, exact)
            strays = [
                (source, self._formulas.after(stray, values))
                for (source, stray), values in zip(strays, of_strays, strict=True)
            ]
        return found

    def evaluation(self, state: State, batch: Batch) -> Noises:
        """Return the noise of the logits in evaluation mode."""
        exact = self._formulas.evaluation(state, batch)
        return self._distances(
            exact,
            [
                self._formulas.disturbed_evaluation(state, batch, source)
                for source in self._sources()
            ],
        )

    def _sources(self) -> list[Source]:
        if not self._careful:
            return [Roundings(self._unit, seed) for seed in range(_DRAWS)]
        kicks = [Kick(sign * _KICK * self._unit, p) for p in PATTERNS for sign in (1, -1)]
        return [*(Roundings(self._unit, seed) for seed in range(_CAREFUL_DRAWS)), *kicks]

    def _distances(self, exact: Values, drawn: list[Values]) -> Noises:
        """A kick is one way; of what flips either way, any part may."""
        draws = _CAREFUL_DRAWS if self._careful else _DRAWS
        found = {}
        for name, value in exact.items():
            distances = [largest(values[name] - value) for values in drawn]
            kicks = distances[draws:]
            kink = max(
                (up + down for up, down in zip(kicks[::2], kicks[1::2], strict=True)), default=0.0
            )
            found[name] = Noise(max(distances[:draws]), kink)
        return found


class SharedMeter:
    """Measures the noise along the oracle's own training on a probe, each part once.

    Its states stand for those of any backend that is right: they differ by rounding.
    """

    def __init__(self, probe: Probe, dtype: DType) -> None:
        self._probe = probe
        self._meter = Meter(probe.model, dtype, careful=False)
        self._steps: dict[tuple[int, int], list[Noises]] = {}
        self._evaluation: Noises | None = None

    def training(self, state: State, batches: Sequence[Batch]) -> list[Noises]:
        """Return the noise of what each step derives; of `state`, the step count says where."""
        step = min(max(state.step, 0), len(self._states) - 1)
        place = step, len(batches)
        if place not in self._steps:
            self._steps[place] = self._meter.training(self._states[step], batches)
        return self._steps[place]

    def evaluation(self, state: State, batch: Batch) -> Noises:
        """Return the noise of the logits after the last step."""
        if self._evaluation is None:
            self._evaluation = self._meter.evaluation(self._states[-1], batch)
        return self._evaluation

    @cached_property
    def _states(self) -> list[State]:
        formulas = Formulas(self._probe.model)
        states = [State.start(self._probe.model, self._probe.weights)]
        for batch in self._probe.batches:
            states.append(formulas.trained(states[-1], batch))
        return states


AnyMeter = Meter | SharedMeter
_SHARED: OrderedDict[tuple[str, DType], SharedMeter] = OrderedDict()
_MOST_SHARED = 8


def shared(probe: Probe, dtype: DType) -> SharedMeter:
    """Return the meter of a probe that every judge in this process shares."""
    key = digest(probe), dtype
    meter = _SHARED.pop(key, None) or SharedMeter(probe, dtype)
    _SHARED[key] = meter
    if len(_SHARED) > _MOST_SHARED:
        _SHARED.popitem(last=False)
    return meter
