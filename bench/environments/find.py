"""Where a backend's interpreter comes from, and what the backend says of itself there.

First hit wins: `--python NAME=PATH`, an environment made by `bakeoff install`, `.tox/NAME` of the
checkout that is the current folder, the current interpreter if it can find the framework.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from ...backends import FRAMEWORKS, NAMES, USUAL, framework, name_of
from ...models import InputError
from ...models.synonyms import closest
from ..worker.describe import Description
from . import install
from . import pythons as pythons_here
from .code import write_zip
from .process import clean_environment, worker_variables
from .requirements import environment_of, is_known, read

_PEERS = ("sklearn", "mygrad", "autograd", "pydynet", "neuralnetlib", "pureml")
_NEEDED = ("numpy", "msgspec")
_OLDEST = (3, 11)
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", re.ASCII)
_PROBE_SECONDS = 60
_DESCRIBE_SECONDS = 300

_PROBE = """
import importlib.util, json, sys
lacking = [name for name in sys.argv[1:] if importlib.util.find_spec(name) is None]
print(json.dumps([sys.version_info[:2], lacking]))
"""

_PACKAGES = """
import importlib.metadata, json, platform
names = {d.name: d.version for d in importlib.metadata.distributions()}
print(json.dumps({"python": platform.python_version(), **names}, sort_keys=True))
"""


class Backend(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A backend and the interpreter that has it; without one, `reason` and `fix` say what to do.

    `name` is what tables show, `adapter` what `backends.load` takes, `source` where the interpreter
    was found.
    """

    name: str
    adapter: str
    python: str | None = None
    source: str | None = None
    reason: str | None = None
    fix: str | None = None

    @property
    def advice(self) -> str:
        """What to tell of one without an interpreter."""
        return f"{self.name}: {self.reason}; make one: {self.fix}"


def find(adapter: str, pythons: Mapping[str, Path]) -> Backend:
    """Find the interpreter of a backend: a name of ours, the path of an adapter, or a module.

    `torch@2.11.0` is torch in the environment of that version, `torch-a` in the interpreter that
    `pythons` gives it. Raises InputError for an unknown backend, or a `--python` that is no
    interpreter of it.
    """
    name = _shown_name(adapter, pythons)
    if name == adapter:
        adapter = framework(name) or name
    modules = _modules(adapter)
    if adapter.endswith(".py"):
        adapter = str(Path(adapter).resolve())
    if python := pythons.get(name):
        if lacking := lacking_modules(python, modules):
            raise InputError(
                f"--python {name}={python}: this interpreter has no {lacking[0]}; "
                f"install it there, or drop --python and run: bakeoff install {name}"
            )
        return Backend(name=name, adapter=adapter, python=str(python), source="--python")
    for python, source in _candidates(name):
        if _has(python, modules):
            return Backend(name=name, adapter=adapter, python=str(python), source=source)
    reason = f"no interpreter with {' and '.join(modules[len(_NEEDED) :] or modules)} was found"
    fix = f"bakeoff install {name}" if is_known(name) else f"--python {name}=PATH"
    if is_known(name):
        reason, fix = _why_none(name, reason, fix)
    return Backend(name=name, adapter=adapter, reason=reason, fix=fix)


def _why_none(name: str, reason: str, fix: str) -> tuple[str, str]:
    """Say why a backend of ours has no environment, and how to mend it, if more is known."""
    now, needed = install.look(name), read(name)
    if now.state != "absent":
        reason = f"its environment is {now.state}" + (f", {now.why}" if now.why else "")
    elif "@" in name:
        reason = f"there is no environment of {name}"
    if lacking := pythons_here.lacking(needed):
        reason, fix = lacking, f"{pythons_here.how_to_get(needed)} && {fix}"
    return reason, fix


def find_all(
    asked: tuple[str, ...] | None, pythons: Mapping[str, Path], tell: Callable[[str], object]
) -> Iterator[Backend]:
    """Yield the backends asked for that have an interpreter; `tell` gets a line of each without.

    Two environments of one framework go by names of their own. InputError for one that was asked
    for by name and has none.
    """
    aliases = tuple(name for name in pythons if is_alias(name))
    names = asked or aliases or USUAL
    if unknown := sorted(set(pythons) - {_shown_name(name, pythons) for name in names}):
        raise InputError(f"--python {unknown[0]}=...: no such backend in this run")
    for name in names:
        backend = find(name, pythons)
        if backend.python:
            yield backend
        elif asked:
            raise InputError(f"{name}: {backend.reason}; run: {backend.fix}")
        else:
            tell(backend.advice)


def find_peers(pythons: Mapping[str, Path]) -> Backend:
    """Find the NumPy backend in the environment of its peers. Raises InputError."""
    python = pythons.get("peers") or install.interpreter("peers")
    if "peers" not in pythons and not install.is_complete("peers"):
        none = "there is no environment of the peers"
        reason, fix = _why_none("peers", none, "bakeoff install peers")
        raise InputError(f"{reason}; run: {fix}")
    if lacking := lacking_modules(python, (*_NEEDED, *_PEERS)):
        raise InputError(
            f"--python peers={python}: this interpreter has no {lacking[0]}; "
            "install it there, or drop --python and run: bakeoff install peers"
        )
    return Backend(name="numpy", adapter="numpy", python=str(python), source="peers")


def is_alias(name: str) -> bool:
    """Say whether a name is a backend's with a suffix: `torch-a`, one of two environments of it."""
    suffix = name.removeprefix(framework(name) or name)
    return suffix.startswith("-") and suffix != "-"


def lacking_modules(python: Path, modules: tuple[str, ...]) -> list[str]:
    """Return which modules an interpreter cannot find. InputError if it is no Python >= 3.11."""
    try:
        answer = subprocess.run(
            [python, "-P", "-c", _PROBE, *modules],
            capture_output=True,
            check=True,
            timeout=_PROBE_SECONDS,
            text=True,
            env=clean_environment(),
        ).stdout
        version, lacking = json.loads(answer)
    except (OSError, ValueError, subprocess.SubprocessError):
        raise InputError(
            f"{python} is not a Python interpreter of 3.11 or newer; expected the path of one, "
            "such as ENVIRONMENT/bin/python"
        ) from None
    if tuple(version) < _OLDEST:
        raise InputError(f"{python} is Python {version[0]}.{version[1]}, expected 3.11 or newer")
    return [str(module) for module in lacking]


def packages(python: str) -> str:
    """Return an interpreter's version and those of all its packages, as JSON."""
    command = [python, "-P", "-c", _PACKAGES]
    done = subprocess.run(command, capture_output=True, text=True, env=clean_environment())
    return done.stdout


def describe(backend: Backend) -> Description | str:
    """Ask an adapter, in its own interpreter, for version, devices and modes; or say what broke."""
    assert backend.python
    with tempfile.TemporaryDirectory() as folder:
        code, answer = Path(folder, "code.zip"), Path(folder, "answer.json")
        write_zip(code)
        command = [backend.python, "-P", "-m", "bakeoff.bench.worker.describe"]
        try:
            outcome = subprocess.run(
                [*command, backend.adapter, str(answer)],
                env=clean_environment() | worker_variables(1, str(code)),
                capture_output=True,
                timeout=_DESCRIBE_SECONDS,
                text=True,
            )
        except subprocess.TimeoutExpired:
            return f"did not answer within {_DESCRIBE_SECONDS} s"
        if outcome.returncode == 0:
            return msgspec.json.decode(answer.read_bytes(), type=Description)
        lines = outcome.stderr.strip().splitlines()
        return lines[-1] if lines else f"exit code {outcome.returncode}"


def _shown_name(adapter: str, pythons: Mapping[str, Path]) -> str:
    """Return the name that tables show and folders have; InputError if there can be none."""
    name = _name(adapter, pythons)
    is_ours = name == adapter  # and has been checked, if it is that of a version
    if not _NAME.fullmatch(re.sub("[@+!]", "-", name) if is_ours else name):
        raise InputError(
            f'"{name}" cannot name a backend: expected letters, digits, ".", "_" and "-", '
            "64 of them at most"
        )
    return name


def _name(adapter: str, pythons: Mapping[str, Path]) -> str:
    if is_alias(adapter) and adapter in pythons:
        return adapter
    if "@" in adapter and not adapter.endswith(".py"):
        environment_of(adapter)
        return adapter
    if adapter.endswith(".py"):
        if not Path(adapter).is_file():
            raise InputError(f"no adapter at {adapter}; give the path of a .py file")
        return name_of(Path(adapter))
    if adapter not in NAMES and not _MODULE.fullmatch(adapter):
        raise InputError(
            f'no backend "{adapter}": {closest(adapter, NAMES)}, '
            "or the path of an adapter (.py), or a module (package.module)"
        )
    return adapter.rpartition(".")[2]


def _modules(adapter: str) -> tuple[str, ...]:
    """Return the modules that an adapter's interpreter must have."""
    if adapter in FRAMEWORKS:
        return (*_NEEDED, *FRAMEWORKS[adapter])
    return _NEEDED if adapter.endswith(".py") else (*_NEEDED, adapter.partition(".")[0])


def _candidates(name: str) -> Iterator[tuple[Path, str]]:
    if is_known(name) and install.is_complete(name):
        yield install.interpreter(name), "bakeoff install"
    if "@" in name:
        return  # what else there is may be of any version
    in_tox = Path.cwd() / ".tox" / name / "bin" / "python"
    if Path("backends", "contract.py").is_file() and os.access(in_tox, os.X_OK):
        yield in_tox, ".tox"
    yield Path(sys.executable), "current"


def _has(python: Path, modules: tuple[str, ...]) -> bool:
    try:
        return not lacking_modules(python, modules)
    except InputError:  # a broken candidate is no candidate
        return False
