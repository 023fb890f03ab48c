"""Processes that judge: what is called there, how they end, and whose script they do not run."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from bakeoff.bench.parity.judges import judges
from bakeoff.models import InputError


def _interrupted() -> None:
    with judges(2) as executor:
        for _ in range(9):
            executor.submit(signal.pause)
        raise KeyboardInterrupt


def _children() -> set[int]:
    return {child.pid for child in psutil.Process().children()}


def test_calls_are_answered_by_processes_of_one_thread() -> None:
    before = _children()
    with judges(2) as executor:
        futures = [executor.submit(math.factorial, n) for n in range(9)]
        assert [future.result() for future in futures] == [math.factorial(n) for n in range(9)]
        assert executor.submit(os.getpid).result() in _children() - before
        assert executor.submit(os.getenv, "OPENBLAS_NUM_THREADS").result() == "1"
    assert _children() == before


def test_an_error_is_raised_where_its_result_is_asked_for() -> None:
    with judges(2) as executor:
        with pytest.raises(ValueError, match="factorial") as raised:
            executor.submit(math.factorial, -1).result()
        assert "Traceback" in raised.value.__notes__[0]
        assert executor.submit(math.factorial, 3).result() == 6


def test_what_is_printed_is_no_answer() -> None:
    with judges(2) as executor:
        assert executor.submit(os.system, "echo noise").result() == 0
        assert executor.submit(print, "noise").result() is None


def test_one_that_is_killed_is_the_users_to_hear_of() -> None:
    with judges(2) as executor:
        death = executor.submit(os.kill, 0, signal.SIGKILL)  # its whole session
        with pytest.raises(InputError, match="out of memory"):
            death.result()


def test_what_is_not_done_is_dropped_and_other_children_live() -> None:
    other = multiprocessing.get_context("spawn").Process(target=signal.pause)
    other.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            _interrupted()
        assert other.is_alive()
    finally:
        other.kill()
        other.join()


@pytest.mark.parametrize("source", ["file", "stdin"])
def test_a_script_that_guards_nothing_is_run_once(source: str, tmp_path: Path) -> None:
    script = (
        "import math\n"
        "from bakeoff.bench.parity.judges import judges\n"
        "print('once')\n"
        "with judges(2) as executor:\n"
        "    print(executor.submit(math.factorial, 4).result())\n"
    )
    path = tmp_path / "script.py"
    path.write_text(script, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, path if source == "file" else "-"],
        input=script,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("once\n24\n", "")
