"""The harness is tested with backends that misbehave, in folders of the test's own."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bakeoff.bench import cli
from bakeoff.bench.environments import builds

_FAKE = Path(__file__).with_name("fake.py")


@pytest.fixture(scope="session")
def session_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One dataset cache for all tests, so that each dataset is made once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def home(tmp_path: Path, session_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh working folder; environments and caches are not the user's."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("BAKEOFF_CACHE", str(session_cache))
    monkeypatch.delenv("BAKEOFF_DATA", raising=False)
    monkeypatch.setattr(builds, "is_reachable", lambda index: False)
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def fake(home: Path) -> Callable[[str], str]:
    """Make a backend that behaves as its name says (see fake.py); returns its path."""

    def make(behaviour: str) -> str:
        path = home.parent / f"{behaviour}.py"
        shutil.copy(_FAKE, path)
        return str(path)

    return make


class Outcome:
    """What a command printed, and its exit code."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def bakeoff(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Outcome]:
    """Run the command line in this process."""

    def call(*arguments: str | Path) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["bakeoff", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return Outcome(int(ended.value.code or 0), captured.out, captured.err)

    return call


@pytest.fixture
def workload(home: Path) -> Path:
    """A user's own workload in one file: small enough to train in no time."""
    path = home / "tiny.toml"
    path.write_text(
        """
        name = "tiny"
        dataset = "line"
        batch_size = 1
        epochs = 3
        metric = "mse"

        [model]
        name = "tiny-model"
        input = [1]
        layers = [{ type = "dense", name = "output", units = 1 }]
        loss = { type = "mse" }
        optimizer = { type = "sgd", learning_rate = 0.0625 }
        """,
        encoding="utf-8",
    )
    return path
