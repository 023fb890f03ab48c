"""The engine that Keras runs on in this process, as its folder beside this file."""

from __future__ import annotations

import importlib
from typing import Any

import keras


def own(name: str) -> Any:
    """Return the engine's module of this name: `operators` or `optimizers`."""
    return importlib.import_module(f".{keras.config.backend()}.{name}", __package__)
