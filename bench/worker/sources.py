"""Which source files a process has loaded: what a certificate that it earned holds for."""

from __future__ import annotations

import hashlib
import os
import site
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from zipimport import zipimporter


def loaded() -> dict[str, str]:
    """Return the SHA-256 of every file that a module was loaded from, by path.

    The files of Python and of installed distributions are left out, whose versions are known;
    those of a zip, which are ours, are named from its root: `bakeoff/backends/contract.py`.
    """
    return {
        name: hashlib.sha256(content).hexdigest() for name, content in sorted(_files()) if content
    }


def _files() -> Iterator[tuple[str, bytes]]:
    paths = sysconfig.get_paths()
    folders = [paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    installed = tuple(
        os.path.join(os.path.realpath(folder), "")  # noqa: PTH118  with the slash at its end
        for folder in (*folders, *site.getsitepackages(), site.getusersitepackages())
    )
    for module in list(sys.modules.values()):
        # Not by getattr: to ask a lazy module (TensorFlow has some) would load it.
        has = vars(module) if isinstance(module, ModuleType) else {}
        file, loader = has.get("__file__"), has.get("__loader__")
        if not file:
            continue
        if isinstance(loader, zipimporter):
            yield os.path.relpath(file, loader.archive), bytes(loader.get_data(file))
        elif not os.path.realpath(file).startswith(installed) and Path(file).is_file():
            yield os.path.realpath(file), Path(file).read_bytes()
