"""Make one virtual environment per backend, with plain pip, from `backends/requirements/`, and one
for all of `bench/rivals/peers`; look at what is there, and remove it.

An environment is complete when it holds the pins that made it, line for line; any other is made
anew. It has the framework, numpy and msgspec: the code itself travels with each run.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import filelock
import platformdirs
from msgspec import Struct

from ...models import InputError
from . import builds, pythons
from .process import tethered
from .pythons import Python
from .requirements import ENVIRONMENTS, environment_of, is_known, pins_of, read

_STAMP = "bakeoff-requirements.txt"
_NO_WHEEL = re.compile(r"that satisfies the requirement .*\(from versions: (.*)\)")

State = Literal["ready", "stale", "broken", "absent"]
Progress = Callable[[str], None]


class InstallError(Exception):
    """pip or venv failed; the message says in one line what, and where the log is."""


class _NoWheelError(InstallError):
    """pip found what it was asked for, but not for this Python; the message says what it found."""


class Environment(Struct, frozen=True):
    """An environment as it is now. `why` says of a stale one what it was made for."""

    name: str
    state: State
    why: str = ""


def folder_of_all() -> Path:
    """Return the folder of all environments, in the user's data folder."""
    return platformdirs.user_data_path("bakeoff") / "environments"


def environment(name: str) -> Path:
    """Return the folder of an environment."""
    return folder_of_all() / (environment_of(name) if is_known(name) else name)


def interpreter(name: str) -> Path:
    """Return the interpreter of an environment."""
    return environment(name) / "bin" / "python"


def requirements(name: str) -> str:
    """Return the pins of an environment, as pip reads them."""
    return read(name).text


def look(name: str) -> Environment:
    """Say whether an environment was made to the end, by these very pins.

    It is `stale` if it was by others, as before an upgrade, and `broken` if it was not, or its
    interpreter is gone.
    """
    stamp = environment(name) / _STAMP
    if not environment(name).is_dir():
        return Environment(name, "absent")
    if not (stamp.is_file() and interpreter(name).is_file()):
        return Environment(name, "broken")
    then = pins_of(stamp.read_text(encoding="utf-8"))
    now = read(name).pins if is_known(name) else ()
    if then == now:
        return Environment(name, "ready")
    others = ", ".join(pin for pin in then if pin not in now) or "fewer packages"
    pinned = ", ".join(pin for pin in now if pin not in then) or "not pinned here"
    return Environment(name, "stale", f"made for {others}, now it is {pinned}")


def is_complete(name: str, *, cuda: bool = False) -> bool:
    """Say whether an environment is ready; `cuda`: with a build for GPUs, where there are two."""
    return look(name).state == "ready" and not (cuda and _is_for_cpus(name))


def there() -> list[str]:
    """Return the names of the environments that are there, whole or not."""
    order = {name: i for i, name in enumerate(ENVIRONMENTS)}
    names = [path.name for path in folder_of_all().glob("*/")]
    return sorted(names, key=lambda name: (order.get(name, len(order)), name))


def versions_there() -> list[str]:
    """Return the names of the environments of versions, such as `torch@2.11.0`."""
    return [name for name in there() if "@" in name and is_known(name)]


def install(name: str, progress: Progress, *, cuda: bool = False) -> Path:
    """Make an environment unless it is complete, and return its interpreter.

    `progress` gets the lines that pip prints. Raises InstallError, InputError when the folder
    cannot be written. Nothing half-made is ever taken for complete.
    """
    folder = environment(name)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(_beside(name, "lock")):
            if not is_complete(name, cuda=cuda):
                _make(name, folder, progress, cuda=cuda)
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written ({error.strerror}); free space or make it writable, "
            "or set XDG_DATA_HOME to another folder"
        ) from None
    return interpreter(name)


def remove(name: str) -> int:
    """Remove an environment; return how many bytes that frees. InputError if it is being made."""
    folder = environment(name)
    try:
        with filelock.FileLock(_beside(name, "lock"), timeout=0):
            freed = size(folder)
            shutil.rmtree(folder)
            for suffix in ("log", "lock"):
                _beside(name, suffix).unlink(missing_ok=True)
    except filelock.Timeout:
        raise InputError(f"{folder} is being made now; wait for the end of that") from None
    except OSError as error:
        raise InputError(f"{folder} cannot be removed ({error.strerror})") from None
    return freed


def size(folder: Path) -> int:
    """Return how many bytes a folder takes on the disk."""
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*"))


def _beside(name: str, suffix: str) -> Path:
    return environment(name).with_name(f"{environment(name).name}.{suffix}")


def _is_for_cpus(name: str) -> bool:
    return any(environment(name).glob("lib/python*/site-packages/*+cpu.dist-info"))


def _make(name: str, folder: Path, progress: Progress, *, cuda: bool) -> None:
    """Make an environment by the first Python for which there are wheels of what was asked."""
    log = _beside(name, "log")
    tried = []
    for python in _pythons(name, log, progress):
        try:
            return _make_by(python, name, folder, log, progress, cuda=cuda)
        except _NoWheelError as error:
            tried.append(f"3.{python.minor}")
            found = str(error)
    found = "none at all: is it the name, or the network?" if found == "none" else found
    raise InstallError(
        f"no wheel of it for Python {', '.join(tried)}, which are here; pip finds {found}; "
        f"the log is {log}"
    )


def _make_by(
    python: Python, name: str, folder: Path, log: Path, progress: Progress, *, cuda: bool
) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    pins = folder / "requirements.txt"
    log.write_bytes(b"")
    progress(f"making {folder} with {python}")
    _run([str(python.path), "-m", "venv", str(folder)], log, progress)
    pins.write_text(requirements(name), encoding="utf-8")
    pip = [str(interpreter(name)), "-m", "pip", "install", "--disable-pip-version-check"]
    options = builds.choose(read(name), cuda=cuda).options
    if "@" in name:  # an old version's source would be built, for minutes, and fail
        options += ("--only-binary", ":all:")
    try:
        _run([*pip, "--no-input", *options, "--requirement", str(pins)], log, progress)
    except InstallError:
        shutil.rmtree(folder, ignore_errors=True)
        if "@" in name and (found := _NO_WHEEL.search(log.read_text(encoding="utf-8"))):
            raise _NoWheelError(", ".join(found[1].split(", ")[-4:])) from None
        raise
    pins.rename(folder / _STAMP)


def _pythons(name: str, log: Path, progress: Progress) -> Iterator[Python]:
    """Yield what Pythons there are to make an environment with; uv, where it is, may have to bring
    one.
    """
    needed = read(name)
    fitting = list(pythons.fitting(needed))
    if fitting:
        yield from fitting if "@" in name else fitting[:1]
        return
    if uv := pythons.uv():
        between = f">=3.{needed.oldest},<3.{needed.newest + 1}"
        try:
            _run([uv, "python", "install", between], log, progress)
        except InstallError as error:
            why = f"it needs {pythons.words(needed)}, and none is here"
            raise InstallError(f"{why}; {error}") from None
        if python := next(pythons.fitting(needed), None):
            yield python
            return
        raise InstallError(f"uv brought no {pythons.words(needed)}; the log is {log}")
    get_it = f"{pythons.how_to_get(needed)} && bakeoff install {name}"
    raise InstallError(f"{pythons.lacking(needed)}; run: {get_it}")


def _run(command: list[str], log: Path, progress: Progress) -> None:
    with (
        log.open("a", encoding="utf-8") as record,
        tethered(command) as process,
    ):
        assert process.stdout
        last = ""
        for line in process.stdout:
            record.write(line)
            last = line.strip() or last
            progress(line.strip())
        process.wait()
    if process.returncode:
        raise InstallError(
            f"{Path(command[0]).name} {' '.join(command[1:4])} failed: {last}; the log is {log}"
        )
