"""Which Pythons are found to make environments with; those here are scripts that say they are."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bakeoff import backends
from bakeoff.bench.environments import find, install, pythons
from bakeoff.bench.environments.requirements import Requirements

_HERE = sys.version_info.minor
_FUTURE = Requirements(pins=("numpy==1",), oldest=31, newest=33)


def _pretend(path: Path, minor: int, implementation: str = "cpython") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho {implementation} 3 {minor}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.fixture
def places(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folders in which interpreters are looked for, and nowhere else: `path`, `pyenv`, `uv`."""
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.setenv("UV_PYTHON_INSTALL_DIR", str(tmp_path / "uv"))
    monkeypatch.setattr(pythons, "uv", lambda: None)
    return tmp_path


def test_this_interpreter_is_the_first_choice(places: Path) -> None:
    _pretend(places / "path" / "python3.99", 99)
    needed = Requirements(pins=(), oldest=_HERE, newest=99)
    assert [python.minor for python in pythons.fitting(needed)] == [_HERE, 99]
    assert next(pythons.fitting(needed)).path == Path(sys.executable)


def test_interpreters_come_from_the_path_from_pyenv_and_from_uv(places: Path) -> None:
    _pretend(places / "path" / "python3.31", 31)
    _pretend(places / "pyenv" / "versions" / "3.32.1" / "bin" / "python3.32", 32)
    _pretend(places / "uv" / "cpython-3.33.0-linux" / "bin" / "python3.33", 33)
    _pretend(places / "path" / "python3.34", 34)
    assert [python.minor for python in pythons.fitting(_FUTURE)] == [33, 32, 31]


def test_a_shim_that_fails_and_what_is_not_what_it_is_called_are_passed_over(places: Path) -> None:
    shim = _pretend(places / "path" / "python3.33", 33)
    shim.write_text("#!/bin/sh\nexit 127\n", encoding="utf-8")
    _pretend(places / "path" / "python3.32", 33)
    _pretend(places / "path" / "python3.31", 31, "pypy")
    _pretend(places / "path" / "python3.31-config", 31)
    assert list(pythons.fitting(_FUTURE)) == []
    pyenv = _pretend(places / "pyenv" / "versions" / "3.33.0" / "bin" / "python3.33", 33)
    assert [python.path for python in pythons.fitting(_FUTURE)] == [pyenv]


@pytest.fixture
def torch_of_the_future(places: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make torch one that has wheels for no Python here; return the reason."""
    needed = Requirements(pins=("torch==9",), oldest=31, newest=31)
    monkeypatch.setattr(find, "read", lambda name: needed)
    monkeypatch.setattr(install, "read", lambda name: needed)
    monkeypatch.setitem(backends.FRAMEWORKS, "torch", ("a_framework_that_is_not_there",))
    return f"it needs Python 3.31, and none is here (only 3.{_HERE})"


def test_without_a_fitting_python_that_is_the_reason(
    places: Path, torch_of_the_future: str
) -> None:
    uv = f"{sys.executable} -m pip install uv && bakeoff install torch"
    found = find.find("torch", {})
    assert (found.reason, found.fix) == (torch_of_the_future, uv)
    with pytest.raises(install.InstallError) as failed:
        install.install("torch", lambda line: None)
    assert str(failed.value) == f"{torch_of_the_future}; run: {uv}"
    _pretend(places / "path" / "pyenv", 0)
    assert find.find("torch", {}).fix == "pyenv install 3.31 && bakeoff install torch"


def test_a_run_says_the_reason_once_and_goes_on(
    bakeoff: Callable[..., Any], workload: Path, torch_of_the_future: str
) -> None:
    asked = ("--backend", "numpy,torch", "--install", "--seeds", 1, "--no-parity", "--json")
    outcome = bakeoff("run", workload, *asked)
    rows = {row["backend"]: row for row in outcome.json()["rows"]}
    assert (rows["numpy"]["status"], rows["torch"]["status"]) == ("ok", "missing")
    assert rows["torch"]["reason"].startswith(f"{torch_of_the_future}; ")
    assert rows["torch"]["reason"].count("none is here") == 1


def test_uv_brings_a_python_that_is_not_here(
    places: Path, torch_of_the_future: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    uv = places / "path" / "uv"
    brought = places / "uv" / "cpython-3.31.0" / "bin" / "python3.31"
    commands: list[list[str]] = []

    def pretend(command: list[str], log: Path, progress: object) -> None:
        commands.append(command)
        if command[0] == str(uv):
            _pretend(brought, 31)
        elif "venv" in command:
            _pretend(Path(command[-1], "bin", "python"), 31)

    monkeypatch.setattr(install, "_run", pretend)
    monkeypatch.setattr(pythons, "uv", lambda: str(uv))
    assert find.find("torch", {}).fix == "bakeoff install torch"
    install.install("torch", lambda line: None)
    assert commands[0] == [str(uv), "python", "install", ">=3.31,<3.32"]
    assert commands[1][0] == str(brought)
