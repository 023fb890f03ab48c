"""Claims: is what `bakeoff explain` says of a framework true of the one that is installed?

`models/claims/` has them, each with its check. They are evaluated in a fresh process, as an adapter
changes what its framework does by default.
"""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bakeoff import backends
from bakeoff.models.words import words

_VALUE = re.compile(r" = (-?[\d.]+(?:e-?\d+)?|True|False|'[^']*')$")
_EVALUATE = Path(__file__).with_name("claimed.py")


def test_the_framework_does_as_is_claimed(request: pytest.FixtureRequest) -> None:
    backend = request.config.getoption("--backend")
    own = {
        (word, claim): check
        for word, (_, claims) in words().items()
        for claim, check in claims.get(backend, {}).items()
    }
    if not own:
        pytest.skip("nothing is claimed of it")
    found = _evaluated(backend, list(own.values()))
    wrong = [
        f"[{word}] {backend}: {claim}: {value}"
        for (word, claim), value in zip(own, found, strict=True)
        if not _holds(claim, value)
    ]
    assert not wrong, "\n".join(["models/claims/ says what its checks do not give:", *wrong])


def _evaluated(backend: str, checks: list[str]) -> list[str]:
    """Evaluate with nothing in the environment that an adapter has put there."""
    needed = {"PATH", "HOME", "LD_LIBRARY_PATH"} & os.environ.keys()
    process = subprocess.run(
        [sys.executable, str(_EVALUATE), backend],
        input=json.dumps(checks),
        env={name: os.environ[name] for name in needed} | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert process.returncode == 0, process.stderr
    found: list[str] = json.loads(process.stdout.splitlines()[-1])
    return found


def _holds(claim: str, found: str) -> bool:
    """`what = value` holds if the check gives the value, any other claim if it gives true."""
    value = _VALUE.search(claim)
    expected: Any = ast.literal_eval(value[1]) if value else True
    try:
        return bool(ast.literal_eval(found) == expected)
    except (SyntaxError, ValueError):  # what a check raised, or no literal
        return False


def test_only_what_is_not_installed_is_unchecked() -> None:
    for word, (_, claims) in words().items():
        for framework, of_it in claims.items():
            installed = framework in backends.NAMES
            assert all(bool(check) == installed for check in of_it.values()), (word, framework)
