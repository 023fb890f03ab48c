"""The worker that describes an adapter, in the adapter's own interpreter.

Run as `python -P -m bakeoff.bench.worker.describe ADAPTER ANSWER`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
from msgspec import Struct

from ... import backends
from ...backends.contract import Adapter, Execution, Gap
from .parent import end_with_parent


class Description(Struct, frozen=True):
    """What an adapter says of itself in its own interpreter.

    `gaps` gives the reason for what is unsupported, by the spec's word, or `lstm (compiled)`.
    """

    version: str
    devices: list[str]
    modes: list[str]
    gaps: dict[str, str]
    deviations: dict[str, str]


def _describe(adapter: Adapter) -> Description:
    return Description(
        version=adapter.version(),
        devices=adapter.devices(),
        modes=list(adapter.MODES),
        gaps={_word(gap): reason for gap, reason in adapter.UNSUPPORTED.items()},
        deviations={name: d.reason for name, d in adapter.DEVIATIONS.items()},
    )


def _word(gap: Gap) -> str:
    if isinstance(gap, tuple):
        return f"{_word(gap[1])} ({gap[0]})"
    return gap if isinstance(gap, str) else str(gap.__struct_config__.tag)  # type: ignore[attr-defined]


def settings(adapter: Adapter, execution: Execution) -> dict[str, str]:
    """Return what an adapter fixes that matters for speed or numerics, if it says so."""
    fixed: dict[str, str] = getattr(adapter, "settings", lambda _: {})(execution)
    return fixed


if __name__ == "__main__":
    end_with_parent()
    adapter, answer = sys.argv[1:]
    Path(answer).write_bytes(msgspec.json.encode(_describe(backends.load(adapter))))
