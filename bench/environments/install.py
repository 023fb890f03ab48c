"""Make one virtual environment per backend, with plain pip, from `backends/requirements/`, and one
for all of `bench/rivals/peers`.

An environment is complete when it holds the requirements that made it, word for word; any other is
made anew. It has the framework, numpy and msgspec: the code itself travels with each run.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import filelock
import platformdirs

from ...backends import NAMES
from ...models import InputError
from .process import tethered

ENVIRONMENTS = (*NAMES, "peers")
_STAMP = "bakeoff-requirements.txt"


class InstallError(Exception):
    """pip or venv failed; the message says in one line what, and where the log is."""


def environment(name: str) -> Path:
    """Return the folder of an environment, in the user's data folder."""
    return platformdirs.user_data_path("bakeoff") / "environments" / name


def interpreter(name: str) -> Path:
    """Return the interpreter of an environment."""
    return environment(name) / "bin" / "python"


def requirements(name: str) -> str:
    """Return the pins of an environment: the content of its requirements file."""
    file = files("bakeoff.backends") / "requirements" / f"{name}.txt"
    return file.read_text(encoding="utf-8")


def is_complete(name: str) -> bool:
    """Say whether the environment was made to the end, by these very requirements."""
    stamp = environment(name) / _STAMP
    return (
        interpreter(name).is_file()
        and stamp.is_file()
        and stamp.read_text(encoding="utf-8") == requirements(name)
    )


def install(name: str, progress: Callable[[str], None]) -> Path:
    """Make an environment unless it is complete, and return its interpreter.

    `progress` gets the lines that pip prints. Raises InstallError, InputError when the folder
    cannot be written. Nothing half-made is ever taken for complete.
    """
    folder = environment(name)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder.with_suffix(".lock")):
            if not is_complete(name):
                _make(name, folder, progress)
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written ({error.strerror}); free space or make it writable, "
            "or set XDG_DATA_HOME to another folder"
        ) from None
    return interpreter(name)


def _make(name: str, folder: Path, progress: Callable[[str], None]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    pins = folder / "requirements.txt"
    log = folder.with_suffix(".log")
    log.write_bytes(b"")
    progress(f"making {folder}")
    _run([sys.executable, "-m", "venv", str(folder)], log, progress)
    pins.write_text(requirements(name), encoding="utf-8")
    pip = [str(interpreter(name)), "-m", "pip", "install", "--disable-pip-version-check"]
    _run([*pip, "--no-input", "--requirement", str(pins)], log, progress)
    pins.rename(folder / _STAMP)


def _run(command: list[str], log: Path, progress: Callable[[str], None]) -> None:
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
        raise InstallError(f"{' '.join(command[1:4])} failed: {last}; the log is {log}")
