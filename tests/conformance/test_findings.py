"""Findings: does the framework still have the defects that FINDINGS.md lists?

Where it no longer shows one, the test of that finding fails: workaround and section can go.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import pytest

from bakeoff import backends

_PAGE = Path(__file__).with_name("FINDINGS.md")
_REQUIREMENTS = Path(backends.__file__).with_name("requirements")
_LAST_IF_IT_DIES = "\nshown = False\n"


class _Finding(NamedTuple):
    """A section of the page: its heading, `<backend>: <what is wrong>`, its text, its block."""

    heading: str
    text: str
    code: str

    @property
    def backend(self) -> str:
        return self.heading.partition(":")[0]

    @property
    def id(self) -> str:
        return re.sub(r"\W+", "-", self.heading.partition(": ")[2]).strip("-")

    @property
    def pins(self) -> list[str]:
        """What it was measured with, as pinned: `paddlepaddle==3.3.1`."""
        return re.findall(r"`([\w-]+==[\w.]+)`", self.text)

    def installed(self) -> str:
        names = [pin.partition("==")[0] for pin in self.pins]
        return ", ".join(f"{name} {metadata.version(name)}" for name in names)


def _findings() -> Iterator[_Finding]:
    for section in _PAGE.read_text("utf-8").split("\n## ")[1:]:
        heading, _, rest = section.partition("\n")
        if ": " in heading:
            text, code = rest.split("```python\n")
            yield _Finding(heading, text, code.partition("```")[0])


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "finding" in metafunc.fixturenames:
        backend = metafunc.config.getoption("--backend")
        own = [finding for finding in _findings() if finding.backend == backend]
        metafunc.parametrize("finding", own, ids=[finding.id for finding in own])


def test_the_framework_still_shows_it(finding: _Finding, tmp_path: Path) -> None:
    process = _run(finding.code, tmp_path / "reproducer.py")
    died = process.returncode < 0 and finding.code.endswith(_LAST_IF_IT_DIES)
    if process.returncode and not died:
        pytest.fail(f"FINDINGS.md, {finding.heading}: its block fails\n{process.stderr}")
    shown = died or process.stdout.endswith("True\n")
    assert shown, (
        f"FINDINGS.md, {finding.heading}: no longer shown by {finding.installed()}; remove the "
        f"workaround in backends/{finding.backend}/, or where the section says, and the section"
    )


def _run(code: str, path: Path) -> subprocess.CompletedProcess[str]:
    """Run a block with nothing in the environment that an adapter has put there."""
    path.write_text(f"{code}print(shown)\n", "utf-8")  # a file: to_static reads its source
    needed = {"PATH", "HOME", "LD_LIBRARY_PATH"} & os.environ.keys()
    environment = {name: os.environ[name] for name in needed} | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(path)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def test_its_block_is_short_and_needs_the_framework_alone(finding: _Finding) -> None:
    assert sum(bool(line) for line in finding.code.splitlines()) < 15
    known = {*backends.FRAMEWORKS[finding.backend], "numpy", "msgspec"}
    assert _imported(finding.code) <= known | sys.stdlib_module_names


def _imported(code: str) -> set[str]:
    names: list[str] = []
    for statement in ast.walk(ast.parse(code)):
        if isinstance(statement, ast.ImportFrom):
            names.append(statement.module or "")
        elif isinstance(statement, ast.Import):
            names += [alias.name for alias in statement.names]
    return {name.partition(".")[0] for name in names}


def test_it_says_which_kind_it_is(finding: _Finding) -> None:
    """And which issue upstream tells of it, if one was found: `owner/name#number`."""
    kind = r"\n\*\*(Defect|Precision|Choice|Speed)\*\*(, (since )?[\w-]+/[\w-]+#\d+)?\.\n"
    assert re.match(kind, finding.text)


def test_its_versions_are_those_pinned(finding: _Finding) -> None:
    pinned = (_REQUIREMENTS / f"{finding.backend}.txt").read_text("utf-8").splitlines()
    assert finding.pins
    assert set(finding.pins) <= set(pinned)


def test_every_finding_is_of_a_backend() -> None:
    assert {finding.backend for finding in _findings()} <= set(backends.NAMES)
