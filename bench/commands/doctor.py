"""`bakeoff doctor`: is this machine ready, and if not, which command mends it."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import platformdirs
from msgspec import Struct
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ...backends import NAMES
from ...datasets.loading import cache_folder, default_cache
from ..environments import install, machine
from ..environments.find import describe, find
from .install import told, what_to_do

_ENOUGH_MB = 2048


class Check(Struct, frozen=True):
    """One thing looked at: `fix` says what to do when it is not well.

    If that is a `warning`, the machine can be used all the same.
    """

    what: str
    well: bool
    found: str
    fix: str = ""
    warning: bool = False


def examine(console: Console) -> int:
    """Print every check; return 0 if all is well but for warnings, else 1."""
    table = Table("check", "", "found", "what to do", box=box.SIMPLE_HEAD, pad_edge=False)
    checks = []
    with console.status("looking"):
        for check in _checks():
            checks.append(check)
            table.add_row(
                check.what,
                _mark(check),
                escape(check.found),
                escape("" if check.well else check.fix),
            )
    console.print(table)
    _print_storage(console)
    return int(not all(check.well or check.warning for check in checks))


def _print_storage(console: Console) -> None:
    """Print what lies on the disk, and how to clear it."""
    table = Table("on the disk", "", "where", "to clear it", box=box.SIMPLE_HEAD, pad_edge=False)
    for what, folder, command in _stored():
        table.add_row(what, _megabytes(folder), escape(str(folder)), escape(command))
    console.print(table)


def _stored() -> Iterator[tuple[str, Path, str]]:
    """Yield what there is, its folder, and the command that clears it."""
    if install.there():
        yield "environments", install.folder_of_all(), "bakeoff uninstall --all"
    data = platformdirs.user_data_path("bakeoff")
    folders = [
        *(("tools of bakeoff conform", path) for path in data.glob("conformance-tools-*")),
        *((f"cache of {path.name}", path) for path in sorted(cache_folder().glob("*/"))),
        *(("a run", path) for path in sorted(Path("bakeoff-runs").glob("*/"))),
    ]
    for what, folder in folders:
        yield what, folder, f"rm -r {shlex.quote(str(folder))}"


def _megabytes(folder: Path) -> str:
    return f"{install.size(folder) / 1e6:,.0f} MB"


def _mark(check: Check) -> str:
    if check.well:
        return "[green]ok[/green]"
    return "[yellow]warning[/yellow]" if check.warning else "[red]no[/red]"


def _checks() -> Iterator[Check]:
    here = machine.look()
    yield Check(
        "Python",
        sys.version_info >= (3, 11),
        here.python,
        "run bakeoff with Python 3.11 or newer",
    )
    yield Check("machine", True, f"{here.cpu}, {here.cores} cores, {here.memory_mb:,} MB")
    yield Check(
        "load",
        here.load < here.cores / 2,
        f"{here.load:.2f} on {here.cores} cores",
        "speeds will be disturbed: wait until the machine is quiet",
        warning=True,
    )
    yield _folder("cache folder", default_cache(), "BAKEOFF_CACHE")
    yield _folder("data folder", platformdirs.user_data_path("bakeoff"), "XDG_DATA_HOME")
    compiler = os.environ.get("CXX", "g++")
    yield Check(
        "C++ compiler",
        shutil.which(compiler) is not None,
        shutil.which(compiler) or f"{compiler} is not on the PATH",
        "torch --mode compiled needs one: install g++, or set CXX",
    )
    for name in (*NAMES, *install.versions_there()):
        yield _backend(name)
    for now in map(install.look, install.there()):
        if now.state != "ready":
            found = f"{told(now)}, {_megabytes(install.environment(now.name))}"
            yield Check(f"environment {now.name}", False, found, what_to_do(now), warning=True)


def _folder(what: str, folder: Path, variable: str) -> Check:
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(existing).free // 2**20
    writable = os.access(existing, os.W_OK)
    return Check(
        what,
        writable and free >= _ENOUGH_MB,
        f"{folder}, {free:,} MB free" + ("" if writable else ", not writable"),
        f"free {_ENOUGH_MB:,} MB, or set {variable} to another folder",
    )


def _backend(name: str) -> Check:
    backend = find(name, {})
    if backend.python is None:
        return Check(name, False, str(backend.reason), str(backend.fix))
    described = describe(backend)
    if isinstance(described, str):
        broken = f"{backend.python}: {described}"
        return Check(name, False, broken, f"bakeoff install {name}")
    return Check(
        name, True, f"{described.version}, {' '.join(described.devices)}, {backend.python}"
    )
