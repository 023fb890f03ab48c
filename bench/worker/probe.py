"""The parity worker: one process that collects the evidence of one backend, question by question.

Run as `python -P -m bakeoff.bench.worker.probe FOLDER`, in the backend's own interpreter.
It goes on behind the questions that were begun before: one that kills the process does not stop
the rest.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from ... import backends
from ...backends.contract import Deviation, Execution, Unsupported
from ...models import Model
from . import evidence, sources
from .files import write_arrays, write_whole
from .parent import end_with_parent
from .records import one_line


class Question(Struct, frozen=True):
    """One model in one execution; `probe` is the name of a file of arrays in the folder."""

    id: str
    model: Model
    probe: str
    execution: Execution


class Questions(Struct, frozen=True):
    """`questions.json`: what one worker is asked."""

    adapter: str
    questions: list[Question]


class Answer(Struct, frozen=True):
    """`<id>.json`: how a question ended; the evidence, if any, is in `<id>.npz`.

    `sources` are the files that the process had loaded then, with their hashes: see `sources`.
    """

    status: Literal["ok", "unsupported", "error"]
    reason: str = ""
    version: str = ""
    deviations: list[Deviation] = []
    sources: dict[str, str] = {}


def main(folder: Path) -> None:
    """Do what is left to do."""
    work = msgspec.json.decode((folder / "questions.json").read_bytes(), type=Questions)
    for question in work.questions:
        begun = folder / f"{question.id}.begun"
        if not begun.exists():
            begun.touch()
            answer = _answer(work.adapter, question, folder)
            write(answer, folder / f"{question.id}.json")


def _answer(adapter_name: str, question: Question, folder: Path) -> Answer:
    try:
        adapter = backends.load(adapter_name)
        found = evidence.collect(
            adapter, evidence.read(question.model, folder / question.probe), question.execution
        )
    except Unsupported as refusal:
        return Answer("unsupported", str(refusal), sources=sources.loaded())
    except Exception as error:
        return Answer("error", one_line(error))
    write_arrays(folder / f"{question.id}.npz", found)
    deviations = list(adapter.DEVIATIONS.values())
    return Answer("ok", "", adapter.version(), deviations, sources.loaded())


def write(answer: Answer, path: Path) -> None:
    """Write an answer, whole or not at all."""
    write_whole(path, msgspec.json.encode(answer))


if __name__ == "__main__":
    end_with_parent()
    main(Path(sys.argv[1]))
