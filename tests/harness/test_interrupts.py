"""Signals that end a command, what must not outlive it, and what a child must not inherit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import sleep

import numpy as np
import psutil
import pytest

from bakeoff.bench.worker.memory import peak_rss_mb
from harness.processes import children_with, mind_interrupts, wait_until

_Started = subprocess.Popen[str]
Fake = Callable[[str], str]


@contextmanager
def _bakeoff(*words: object) -> Iterator[_Started]:
    """Start a command in a session of its own, as a terminal does."""
    with subprocess.Popen(
        [sys.executable, "-m", "bakeoff.bench.cli", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=mind_interrupts,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _wait_for_child(parent: _Started, word: str) -> psutil.Process:
    """Wait until a process is started, by it or by its own, with a word in its command."""
    found: list[psutil.Process] = []

    def look() -> bool:
        found.extend(children_with(word, parent.pid))
        return bool(found)

    assert wait_until(look), f"no child with {word}"
    return found[0]


def _ends(process: psutil.Process) -> bool:
    def gone() -> bool:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE

    return wait_until(gone, 10)


def _to_the_command(process: _Started, number: signal.Signals) -> None:
    process.send_signal(number)


def _to_its_group(process: _Started, number: signal.Signals) -> None:
    os.killpg(process.pid, number)


def _to_both(process: _Started, number: signal.Signals) -> None:
    """What `timeout` of GNU does."""
    process.send_signal(number)
    os.killpg(process.pid, number)


def _several(workload: Path) -> list[Path]:
    """More certificates than one process judges alone."""
    text = workload.read_text(encoding="utf-8")
    names = [workload.with_name(f"tiny-{i}.toml") for i in range(3)]
    for name in names:
        name.write_text(text.replace('"tiny"', f'"{name.stem}"'), encoding="utf-8")
    return names


@pytest.mark.parametrize("send", [_to_the_command, _to_its_group, _to_both])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_judges_and_all(
    workload: Path, home: Path, number: signal.Signals, send: Callable[[_Started, int], None]
) -> None:
    with _bakeoff("parity", *_several(workload), "--backend", "numpy", "--no-cache") as process:
        judge = _wait_for_child(process, "bakeoff.bench.parity.judges")
        send(process, number)
        out, err = process.communicate(timeout=20)
        assert process.returncode == 130, out + err
        assert err.splitlines()[0].startswith("bakeoff: stopping")
        assert err.splitlines()[-1] == "bakeoff: interrupted"
        assert "Traceback" not in out + err
        assert _ends(judge)


def test_a_second_signal_ends_at_once(fake: Fake, workload: Path) -> None:
    words = ("run", workload, "--backend", fake("hangs"), "--seeds", 1, "--output", "out")
    with _bakeoff(*words) as process:
        worker = _wait_for_child(process, "bakeoff.bench.worker.train")
        _wait_for_child(process, "sleep")
        process.send_signal(signal.SIGTERM)
        sleep(0.3)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=5)
        assert process.returncode == 130
        assert "Traceback" not in err
        assert _ends(worker)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_an_installation_ends_with_the_command(home: Path, number: signal.Signals) -> None:
    with _bakeoff("install", "numpy") as process:
        program = _wait_for_child(process, "venv")
        process.send_signal(number)
        process.communicate(timeout=10)
        assert process.returncode == {signal.SIGTERM: 130, signal.SIGKILL: -signal.SIGKILL}[number]
        assert _ends(program)


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    program = (
        "import signal; from bakeoff.bench import interrupts;"
        "signal.signal(signal.SIGINT, signal.SIG_IGN); interrupts.listen();"
        "signal.raise_signal(signal.SIGINT); print('on')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "on\n", "")


def test_a_signal_at_the_very_end_changes_nothing() -> None:
    program = (
        "import atexit, signal; from bakeoff.bench import interrupts;"
        "atexit.register(signal.raise_signal, signal.SIGINT); interrupts.listen()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=mind_interrupts,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_judge_that_is_killed_is_one_line(workload: Path, home: Path) -> None:
    with _bakeoff("parity", *_several(workload), "--backend", "numpy", "--no-cache") as process:
        _wait_for_child(process, "bakeoff.bench.parity.judges").kill()
        _, err = process.communicate(timeout=20)
        assert process.returncode == 2
        assert err.startswith("bakeoff: a process that judges was killed")
        assert len(err.splitlines()) == 1


def test_the_peak_of_a_process_is_its_own() -> None:
    held = np.ones(2**28, np.uint8)  # 256 MiB, which `ru_maxrss` of a child would begin at
    program = "from bakeoff.bench.worker.memory import peak_rss_mb; print(peak_rss_mb())"
    child = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert 1 < float(child.stdout) < 128 < held.nbytes / 2**20 < peak_rss_mb()
