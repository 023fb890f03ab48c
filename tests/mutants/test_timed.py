"""The audits are tested with backends that are wrong where they are timed, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bakeoff import backends
from bakeoff.backends.contract import Trainer, Weights
from bakeoff.bench.parity import probes
from bakeoff.bench.parity.ladder import climb
from bakeoff.bench.worker.draw import draw
from bakeoff.bench.worker.evidence import Evidence, Probe, collect
from bakeoff.models import Model
from bakeoff.models.init import initial_weights
from mutants.driving import BATCH, DROPPING, FLOAT32, NORMALIZED
from mutants.timed import CONTROLS, MUTANTS, adapter, mutants_of, write
from mutants.timed.wrapper import Phase

_STEPS = 22  # of the laboratory: 20 one by one, and two in one call
_SPLIT = 5 * BATCH
_BLOCKS = (1, 5, 30, 2, 40, 25)
_VISIBLE = 2.0**-15  # of the largest number of an array: far from rounding, near to float16's

_MODELS = {model.name: model for model in (NORMALIZED, DROPPING)}


def _model_of(phase: Phase) -> Model:
    return _MODELS["dropping" if phase == "dropout" else "normalized"]


@cache
def _probe(model: str) -> Probe:
    return probes.of_model(_MODELS[model], _STEPS)


@cache
def _evidence_of_the_real(model: str) -> Evidence:
    return collect(backends.load("numpy"), _probe(model), FLOAT32)


def test_there_are_enough_mutants() -> None:
    assert len(MUTANTS) >= 50
    assert all(mutant.words and mutants_of(mutant.phase) for mutant in MUTANTS.values())


@pytest.mark.parametrize("model", _MODELS)
def test_the_laboratory_passes_what_is_right(model: str) -> None:
    found = _evidence_of_the_real(model)
    assert all(check.passes for check in climb(_probe(model), found, "float32"))


@pytest.mark.parametrize("name", [*MUTANTS, *CONTROLS])
def test_the_laboratory_passes_a_mutant(name: str) -> None:
    model = _model_of((MUTANTS | CONTROLS)[name].phase).name
    found = collect(adapter(name), _probe(model), FLOAT32)
    assert all(check.passes for check in climb(_probe(model), found, "float32"))


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_wrong_in_its_phase(name: str) -> None:
    phase = MUTANTS[name].phase
    right = adapter("draws_its_own" if phase == "dropout" else "only_wrapped")
    assert _distance(_HISTORIES[phase](adapter(name)), _HISTORIES[phase](right)) > _VISIBLE


@pytest.mark.parametrize("name", CONTROLS)
def test_a_control_is_right(name: str) -> None:
    phase = CONTROLS[name].phase
    right = adapter("draws_its_own" if phase == "dropout" else "only_wrapped")
    assert _distance(_HISTORIES[phase](adapter(name)), _HISTORIES[phase](right)) <= _VISIBLE


@pytest.mark.parametrize("name", ["losses_turned_by_one", "draws_its_own"])
def test_a_mutant_is_loaded_by_its_path(name: str, tmp_path: Path) -> None:
    path = write(name, tmp_path)
    loaded = backends.load(path)
    assert backends.name_of(Path(path)) == name
    phase = (MUTANTS | CONTROLS)[name].phase
    assert _distance(_HISTORIES[phase](loaded), _HISTORIES[phase](adapter(name))) == 0


def _distance(one: list[Weights], other: list[Weights]) -> float:
    """Return how far two histories are apart where they are farthest, against the largest there."""
    return max(
        np.abs(a[name] - b[name]).max() / max(np.abs(b[name]).max(), np.finfo(np.float32).tiny)
        for a, b in zip(one, other, strict=True)
        for name in b
    )


def _build(adapter: Any, phase: Phase, state: Weights | None = None) -> Trainer:
    model = _model_of(phase)
    weights = initial_weights(model, 1, "float32")
    if state:
        weights = {name: state.pop(name) for name in weights}
    return adapter.build(model, weights, FLOAT32, seed=0, state=state)


def _split(model: Model) -> tuple[np.ndarray, np.ndarray]:
    x, y = draw(model, _SPLIT, step=0)
    return x.astype(np.float32), y


def _look(trainer: Trainer) -> Weights:
    return trainer.weights() | trainer.state()


def _trained(adapter: Any, phase: Phase, feed_of: Any, state: Weights | None = None) -> list[Any]:
    """Return the losses of a few blocks, and what is there before the first and after each."""
    trainer = _build(adapter, phase, state)
    x, y = _split(_model_of(phase))
    feed, rng = feed_of(trainer, x, y), np.random.default_rng(0)
    history = [_look(trainer)]
    for steps in _BLOCKS:
        order = np.stack([rng.permutation(_SPLIT)[:BATCH] for _ in range(steps)])
        history += [{"losses": trainer.train(feed(order))}, _look(trainer)]
        history.append({"logits": trainer.predict(x[:BATCH])})
    return history


def _staging(trainer: Trainer, x: np.ndarray, y: np.ndarray) -> Any:
    return lambda order: [trainer.stage(x[rows], y[rows], None) for rows in order]


def _holding(trainer: Any, x: np.ndarray, y: np.ndarray) -> Any:
    return trainer.hold(x, y)


def _predicted(adapter: Any) -> list[Weights]:
    """Return what is predicted for other rows each time, and for the same in another order."""
    trainer, (x, _) = _build(adapter, "infer"), _split(_model_of("infer"))
    chosen = [x[:BATCH], x[-BATCH:], x[:BATCH], x[:BATCH][::-1], np.roll(x[:BATCH], -1, 0)]
    chosen[4][0] = chosen[0][0]  # another input that begins alike
    return [{"logits": logits} for logits in [trainer.predict(rows.copy()) for rows in chosen]]


@cache
def _checkpoint() -> Weights:
    trainer = _build(adapter("only_wrapped"), "resume")
    x, y = _split(_model_of("resume"))
    trainer.train([trainer.stage(x[:BATCH], y[:BATCH], None)] * 40)
    return _look(trainer)


_HISTORIES: dict[Phase, Callable[[Any], list[Weights]]] = {
    "train": lambda adapter: _trained(adapter, "train", _staging),
    "fed": lambda adapter: _trained(adapter, "fed", _holding),
    "infer": _predicted,
    "resume": lambda adapter: _trained(adapter, "resume", _staging, dict(_checkpoint())),
    "dropout": lambda adapter: _trained(adapter, "dropout", _staging),
}
