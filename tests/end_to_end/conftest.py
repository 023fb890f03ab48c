"""End to end: the installed command, environments that it made itself, real data.

`bakeoff install` makes the environments once, in this suite's own data folder, and keeps them for
the next time.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import platformdirs
import pytest

from bakeoff.backends import NAMES

_ROOT = Path(__file__).parents[2]
BAKEOFF = Path(sys.executable).with_name("bakeoff")


class Command:
    """The command line in a folder of its own."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder, self._environment = folder, environment

    def __call__(
        self, *arguments: str | Path, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [BAKEOFF, *map(str, arguments)],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if check:
            assert done.returncode == 0, done.stdout + done.stderr
        return done

    def rows(self, *arguments: str | Path) -> dict[tuple[str, str], Any]:
        """Run and return the rows of the summary by (workload, backend)."""
        summary = json.loads(self("run", *arguments, "--json").stdout)
        return {(row["workload"], row["backend"]): row for row in summary["rows"]}


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """Variables under which environments and data are this suite's own, but for what pip keeps."""
    home = _ROOT / ".tox" / "end-to-end-home"
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "BAKEOFF"))}
    return {
        "PIP_CACHE_DIR": platformdirs.user_cache_dir("pip"),
        **kept,
        "XDG_DATA_HOME": str(home / "data"),
        "XDG_CACHE_HOME": str(home / "cache"),
    }


@pytest.fixture(scope="session")
def installed(environment: dict[str, str]) -> None:
    done = subprocess.run(
        [BAKEOFF, "install", *NAMES], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.fail(done.stderr, pytrace=False)


@pytest.fixture
def bakeoff(tmp_path: Path, environment: dict[str, str], installed: None) -> Command:
    return Command(tmp_path, environment)


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout, so that builds leave nothing in it."""
    copy = tmp_path_factory.mktemp("source") / "bakeoff"
    ignore = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "bakeoff-runs")
    shutil.copytree(_ROOT, copy, ignore=ignore)
    return copy
