"""What `bakeoff explain` knows: every construct, and the words that several of them share.

The norm of a word is a docstring. What the frameworks do by default, and what they do otherwise, is
in `claims/`, each claim with a check that a test runs in the framework itself.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any, NamedTuple, get_args

import msgspec

from . import initializers, layers, losses, optimizers, schedules
from .layers import recurrent

Claims = dict[str, dict[str, str]]  # by framework: what is claimed, and its check

_SHARED: dict[str, Any] = {
    "clip_norm": optimizers._Optimizer,
    "clip_value": optimizers._Optimizer,
    "weight_decay": optimizers,
    "schedule": schedules,
    "warmup_steps": schedules._Schedule,
    "bidirectional": recurrent,
    "fan_in": initializers,
    "pads": layers.Conv2D.pads,
}
_ALSO = {
    "coupled": "weight_decay",
    "decoupled": "weight_decay",
    "warmup": "warmup_steps",
    "fan_out": "fan_in",
    "fans": "fan_in",
    "padding": "pads",
    "same": "pads",
}


class Word(NamedTuple):
    """What has the norm of a word as its docstring (`constant` is two), and what is claimed."""

    norms: list[Any]
    claims: Claims


def words() -> dict[str, Word]:
    """Return all that can be explained."""
    unions = (
        layers.Layer,
        losses.Loss,
        optimizers.Optimizer,
        schedules.Schedule,
        initializers.Initializer,
    )
    norms = {word: [norm] for word, norm in _SHARED.items()}
    for spec in (spec for union in unions for spec in get_args(union)):
        norms.setdefault(spec.__struct_config__.tag, []).append(spec)
    claims = _claims()
    known = {word: Word(found, claims.get(word, {})) for word, found in norms.items()}
    return known | {word: known[same] for word, same in _ALSO.items()}


def _claims() -> dict[str, Claims]:
    folder = files(__package__) / "claims"
    of_all: dict[str, Claims] = {}
    for name in ("layers.toml", "training.toml"):
        text = (folder / name).read_bytes()
        of_all |= msgspec.toml.decode(text, type=dict[str, Claims])
    return of_all
