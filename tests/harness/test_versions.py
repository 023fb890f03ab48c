"""`torch@2.11.0`: what such a name asks for, in which environment, and that all goes by it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bakeoff import backends
from bakeoff.bench.environments import find, folders, install, pythons
from bakeoff.bench.environments.requirements import environment_of, read
from bakeoff.models import InputError

_MSGSPEC = read("numpy").pins[-1]
_PINNED = read("numpy").pins[0].replace("==", "@")


def _make(name: str) -> Path:
    """Make an environment out of this interpreter."""
    python = install.interpreter(name)
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    (install.environment(name) / "bakeoff-requirements.txt").write_text(read(name).text)
    return python


@pytest.mark.parametrize(
    ("name", "pins"),
    [
        ("numpy@2.1.0", ("numpy==2.1.0", _MSGSPEC)),
        ("numpy@99.1.0", ("numpy==99.1.0", _MSGSPEC)),
        ("torch@2.11", ("torch==2.11.*", "numpy<=", _MSGSPEC)),
        ("torch@2.11.0+cpu", ("torch==2.11.0+cpu", "numpy<=", _MSGSPEC)),
        ("torch@99.0.0", ("torch==99.0.0", "numpy>=", _MSGSPEC)),
        ("torch@numpy-2.1.0", ("torch<=", "numpy==2.1.0", _MSGSPEC)),
        ("jax@0.7.2", ("jax==0.7.2", "jaxlib<=", "optax<=", "numpy<=", _MSGSPEC)),
        ("keras@3.11.3", ("keras==3.11.3", "tensorflow-cpu<=", "numpy<=", _MSGSPEC)),
        ("keras-jax@3.11.3", ("keras==3.11.3", "jax<=", "jaxlib<=", "numpy<=", _MSGSPEC)),
        ("keras-jax@jax-0.9.2", ("keras<=", "jax==0.9.2", "jaxlib<=", "numpy<=", _MSGSPEC)),
        ("keras-torch@torch-2.11.0", ("keras<=", "torch==2.11.0", "numpy<=", _MSGSPEC)),
        ("keras@tensorflow-2.18.1", ("keras<=", "tensorflow-cpu==2.18.1", "numpy<=", _MSGSPEC)),
    ],
)
def test_a_version_replaces_the_pin_and_the_rest_goes_with_it(
    name: str, pins: tuple[str, ...]
) -> None:
    asked = read(name)
    assert len(asked.pins) == len(pins)
    assert all(map(str.startswith, asked.pins, pins))
    assert environment_of(name) == name
    assert pythons.words(asked) == "Python 3.11 or newer"


@pytest.mark.parametrize("name", backends.NAMES)
def test_the_pinned_version_is_the_environment_of_the_backend(name: str) -> None:
    version = read(name).pins[0].partition("==")[2]
    assert environment_of(f"{name}@{version}") == name


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("torch@", "torch@torch- is no version"),
        ("torch@new", "is no version: expected such as torch@2"),
        ("torch@v2.1.0", "is no version"),
        ("torch@2.9.1@2", "is no version"),
        ("torch@../../x", "is no version"),
        ("jax@flax-0.1.0", "or jax@optax-VERSION"),
        ("numpy@msgspec-0.20.0", "is no version"),
        ("keras@2.15.0", "for keras 3.0 and newer"),
        ("peers@1.0", "of numpy, torch, keras, paddle, mxnet, jax, keras-jax, keras-torch alone"),
        ("torch-a@1.0", "of numpy, torch, keras, paddle, mxnet, jax, keras-jax, keras-torch alone"),
        ("mine@1.0", "of numpy, torch, keras, paddle, mxnet, jax, keras-jax, keras-torch alone"),
    ],
)
def test_what_is_no_version_is_one_line(bakeoff: Callable[..., Any], name: str, words: str) -> None:
    for command in (["install", name], ["run", "line-linear", "--backend", name]):
        outcome = bakeoff(*command)
        assert outcome.code == 2
        assert outcome.err.startswith(f'bakeoff: "{name}"')
        assert words.replace("torch@torch- ", "") in outcome.err
        assert outcome.err.count("\n") == 1


def test_a_version_is_found_in_its_own_environment_alone(home: Path) -> None:
    missing = find.find("numpy@2.1.0", {})
    assert missing.advice == (
        "numpy@2.1.0: there is no environment of numpy@2.1.0; make one: bakeoff install numpy@2.1.0"
    )
    python = _make("numpy@2.1.0")
    found = find.find("numpy@2.1.0", {})
    assert (found.name, found.adapter, found.python) == ("numpy@2.1.0", "numpy", str(python))
    assert find.find("numpy", {}).source == "current"
    assert install.versions_there() == ["numpy@2.1.0"]
    pinned = _make("numpy")
    assert find.find(_PINNED, {}).python == str(pinned)
    given = find.find("numpy@1.2.3", {"numpy@1.2.3": python})
    assert (given.adapter, given.source) == ("numpy", "--python")


def test_a_run_from_elsewhere_goes_on_in_the_environment_of_the_version(home: Path) -> None:
    then = find.Backend(name="numpy@2.1.0", adapter="numpy", python="/elsewhere/bin/python")
    with pytest.raises(InputError, match=r"run: bakeoff install numpy@2\.1\.0"):
        folders.interpreters([then], {}, print, own=False)
    python = _make("numpy@2.1.0")
    (now,) = folders.interpreters([then], {}, print, own=False)
    assert (now.name, now.python) == ("numpy@2.1.0", str(python))


def test_a_run_goes_by_the_version(bakeoff: Callable[..., Any], home: Path, workload: Path) -> None:
    _make("numpy@2.1.0")
    asked = ("--backend", "numpy,numpy@2.1.0,numpy@2.0.0", "--seeds", 1, "--output", "out")
    summary = bakeoff("run", workload, *asked, "--json").json()
    rows = {row["backend"]: row for row in summary["rows"]}
    assert rows["numpy@2.1.0"]["comparable"]
    assert rows["numpy@2.0.0"]["status"] == "missing"
    assert "bakeoff install numpy@2.0.0" in rows["numpy@2.0.0"]["reason"]
    assert Path("out/certificates/tiny/numpy@2.1.0-eager-float32.json").is_file()
    assert "numpy@2.1.0" in Path("out/report.html").read_text(encoding="utf-8")
    assert "numpy@2.1.0" in bakeoff("compare", "out", "out").out
    assert "numpy@2.1.0" in bakeoff("list").out


def test_a_version_without_a_wheel_for_one_python_is_tried_with_the_next(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = [pythons.Python(home / f"python3.{minor}", minor) for minor in (33, 32, 31)]
    monkeypatch.setattr(pythons, "fitting", lambda needed: iter(here))
    has_wheels = 32

    def pretend(command: list[str], log: Path, progress: object) -> None:
        if "venv" in command:
            python = Path(command[-1], "bin", "python")
            python.parent.mkdir(parents=True)
            python.write_text(command[0])
        elif install.interpreter("numpy@2.1").read_text() != str(home / f"python3.{has_wheels}"):
            assert command[-4:-2] == ["--only-binary", ":all:"]
            wanted = (
                "that satisfies the requirement numpy==2.1.* (from versions: 1.0, 2.2.0, 2.2.1)"
            )
            log.write_text(f"ERROR: Could not find a version {wanted}\n")
            raise install.InstallError("pip install failed")

    monkeypatch.setattr(install, "_run", pretend)
    install.install("numpy@2.1", lambda line: None)
    assert install.interpreter("numpy@2.1").read_text() == str(here[1].path)
    assert {path.name for path in install.folder_of_all().iterdir()} == {
        "numpy@2.1", "numpy@2.1.lock", "numpy@2.1.log"
    }  # fmt: skip
    install.remove("numpy@2.1")
    has_wheels = 0
    with pytest.raises(install.InstallError) as failed:
        install.install("numpy@2.1", lambda line: None)
    assert str(failed.value).startswith(
        "no wheel of it for Python 3.33, 3.32, 3.31, which are here; pip finds 1.0, 2.2.0, 2.2.1; "
    )
    assert install.look("numpy@2.1").state == "absent"
