"""Workers import together and work in turn: who waits for whom, what one does to the others."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from bakeoff.bench.environments import process
from bakeoff.bench.environments.process import Worker, work_in_turn
from bakeoff.bench.worker import records
from bakeoff.bench.worker.records import Failed, Finished, Record, TimedOut

_PROGRAM = """
import os, signal, sys, time
from contextlib import contextmanager
from pathlib import Path
from bakeoff.bench.worker.parent import wait_for_turn
from bakeoff.bench.worker.records import Finished, Started, emitter

behaviour = sys.argv[1]

@contextmanager
def noted(what):
    began = time.monotonic()
    yield
    Path(what).write_text(f"[{began}, {time.monotonic()}]")

with emitter(Path("records.jsonl")) as emit:
    with noted("import"):
        if behaviour == "dies early":
            os._exit(3)
        time.sleep({"slow": 3, "hangs": 600}.get(behaviour, 0.3))
    emit(Started(python="3", framework_version="1", numpy_version="2", import_seconds=0, pid=1))
    if behaviour == "dies waiting":
        os.kill(os.getpid(), signal.SIGKILL)
    wait_for_turn()
    with noted("work"):
        time.sleep(0.3)
    emit(Finished(metrics={"mse": 1.0}, peak_rss_mb=1.0, files={}))
"""

Made = Callable[..., list[Worker]]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """Make workers that behave as they are told, in folders 0, 1, ..."""

    def make(
        *behaviours: str, show: Callable[[Record], None] = lambda record: None
    ) -> list[Worker]:
        workers = []
        for number, behaviour in enumerate(behaviours):
            (folder := tmp_path / str(number)).mkdir()
            command = [sys.executable, "-c", _PROGRAM, behaviour]
            path = {"PYTHONPATH": process.same_modules()["PYTHONPATH"]}
            workers.append(Worker(command, folder, path, show))
        return workers

    return make


def _endings(folder: Path) -> list[Any]:
    journals = sorted(folder.glob("*/records.jsonl"))
    return [records.ending(records.read(journal)) for journal in journals]


def test_they_import_together_and_work_one_after_another(made: Made, tmp_path: Path) -> None:
    work_in_turn(made("soon", "soon", "soon", "soon"), 30, importing=2)
    assert [type(end) for end in _endings(tmp_path)] == [Finished] * 4
    imports = [json.loads(path.read_text()) for path in sorted(tmp_path.glob("*/import"))]
    works = [json.loads(path.read_text()) for path in sorted(tmp_path.glob("*/work"))]
    assert max(end for _, end in imports) <= works[0][0], "one worked while another imported"
    assert all(before[1] <= after[0] for before, after in pairwise(works))
    assert imports[0][1] > imports[1][0], "the first two import together"
    assert imports[2][0] > min(imports[0][1], imports[1][1]), "the third waits for one of them"


def test_one_that_waits_longer_than_it_may_work_is_not_late(made: Made, tmp_path: Path) -> None:
    work_in_turn(made("soon", "slow"), 2.5, importing=2)
    assert [type(end) for end in _endings(tmp_path)] == [Finished, TimedOut]


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [("dies early", "exit code 3"), ("dies waiting", "SIGKILL"), ("hangs", None)],
)
def test_one_that_never_works_does_not_stop_the_others(
    behaviour: str, reason: str | None, made: Made, tmp_path: Path
) -> None:
    work_in_turn(made("soon", behaviour, "soon"), 2.5, importing=2)
    first, bad, last = _endings(tmp_path)
    assert isinstance(first, Finished)
    assert isinstance(last, Finished)
    if reason:
        assert isinstance(bad, Failed)
        assert reason in bad.reason
    else:
        assert bad == TimedOut(seconds=2.5)


def test_one_that_cannot_be_started_does_not_stop_the_others(made: Made, tmp_path: Path) -> None:
    (tmp_path / "lost").mkdir()
    lost = Worker([str(tmp_path / "nobody")], tmp_path / "lost", {}, lambda record: None)
    work_in_turn([lost, *made("soon")], 30, importing=2)
    finished, failed = _endings(tmp_path)
    assert isinstance(finished, Finished)
    assert "cannot be started" in failed.reason


def test_an_interrupt_leaves_those_that_wait_as_if_they_had_not_been_run(
    made: Made, tmp_path: Path
) -> None:
    def interrupt(record: Record) -> None:
        if isinstance(record, Finished):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work_in_turn(made("soon", "soon", "soon", show=interrupt), 30, importing=2)
    assert [path.parent.name for path in tmp_path.glob("*/records.jsonl")] == ["0"]
    assert not list(tmp_path.glob("[12]/work"))
