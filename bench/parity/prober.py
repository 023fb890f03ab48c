"""The parity worker: one process that collects the evidence of one backend, task by task.

Run as `python -P -m bakeoff.bench.parity.prober FOLDER`, in the backend's own interpreter. It
goes on behind the tasks that were begun before: one that kills the process does not stop the rest.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from msgspec import Struct

from ... import backends
from ...backends.contract import Deviation, Execution, Unsupported
from ...models import Model
from ..files import write_whole
from ..worker import one_line
from . import evidence


class Task(Struct, frozen=True):
    """One model in one execution; `probe` is the name of a file of arrays in the folder."""

    id: str
    model: Model
    probe: str
    execution: Execution


class Tasks(Struct, frozen=True):
    """`tasks.json`: what one worker does."""

    adapter: str
    tasks: list[Task]


class Answer(Struct, frozen=True):
    """`<id>.json`: how a task ended; the evidence, if any, is in `<id>.npz`."""

    status: Literal["ok", "unsupported", "error"]
    reason: str = ""
    version: str = ""
    deviations: list[Deviation] = []


def main(folder: Path) -> None:
    """Do what is left to do."""
    work = msgspec.json.decode((folder / "tasks.json").read_bytes(), type=Tasks)
    for task in work.tasks:
        begun = folder / f"{task.id}.begun"
        if not begun.exists():
            begun.touch()
            answer = _answer(work.adapter, task, folder)
            write(answer, folder / f"{task.id}.json")


def _answer(adapter_name: str, task: Task, folder: Path) -> Answer:
    try:
        adapter = backends.load(adapter_name)
        found = evidence.collect(
            adapter, evidence.read(task.model, folder / task.probe), task.execution
        )
    except Unsupported as refusal:
        return Answer("unsupported", str(refusal))
    except Exception as error:
        return Answer("error", one_line(error))
    np.savez(folder / f"{task.id}.npz", **found)  # type: ignore[arg-type]
    return Answer("ok", "", adapter.version(), list(adapter.DEVIATIONS.values()))


def write(answer: Answer, path: Path) -> None:
    """Write an answer, whole or not at all."""
    write_whole(path, msgspec.json.encode(answer))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
