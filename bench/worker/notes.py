"""Notes of a timed process: where its training stood before and behind a block that was timed.

They are written outside the clock, and judged by the parent (`parity.audit`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...backends.contract import Batch, Trainer, Weights
from ...models import Model, Node
from ...models.layers import Dropout, Layer
from .evidence import prefixed, under
from .files import read_arrays, write_arrays

FOLDER = "notes"  # of a process, in its folder
ASKED_AGAIN = 1024  # rows of the test split that are predicted twice, at most


class Note(NamedTuple):
    """Weights and optimizer slots before and after a block; `seen` is what else was noted."""

    before: Weights
    after: Weights
    seen: Weights


def dropouts(model: Model) -> list[tuple[str, str]]:
    """Return the keys of every dropout and of what its input is the output of ("": the model's)."""
    return list(_dropouts(model.nodes, ""))


def _dropouts(nodes: Sequence[Node[Layer]], before: str) -> Iterator[tuple[str, str]]:
    for node in nodes:
        if isinstance(node.layer, Dropout):
            yield before, node.key
        for branch in node.branches.values():
            yield from _dropouts(branch, before)
        before = node.key


def orders(batch: int) -> list[np.ndarray]:
    """Return in which orders the rows of a batch are predicted: as they are timed; turned by one,
    which has the same sum; the first in its place and the others turned; backwards.
    """
    rows = np.arange(batch)
    return [rows, np.roll(rows, 1), np.concatenate([rows[:1], np.roll(rows[1:], 1)]), rows[::-1]]


def masked(model: Model, trainer: Trainer, batch: Batch) -> Weights:
    """Return what goes into every dropout and comes out, the framework drawing its masks."""
    wanted = {key for pair in dropouts(model) for key in pair}
    outputs = trainer.activations(batch) if wanted else {}
    return {key: output for key, output in outputs.items() if key in wanted}


def write(path: Path, before: Weights, after: Weights, seen: Weights) -> None:
    """Write what was noted around one block."""
    path.parent.mkdir(exist_ok=True)
    noted = prefixed("before", before) | prefixed("after", after) | prefixed("seen", seen)
    write_arrays(path, noted)


def read(path: Path) -> Note:
    """Read what `write` wrote. Raises OSError, ValueError."""
    arrays = read_arrays(path)
    return Note(*(under(part, arrays) for part in ("before", "after", "seen")))
