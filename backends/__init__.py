"""By whom it is trained: one package per framework, named as the framework is; Keras's has one in
it per engine.

`contract.py` says what an adapter defines. Each package has the same files: `__init__.py` (tables,
gaps, deviations, `build`, `settings`), `layers.py`, `losses.py`, `optimizers.py`, `trainer.py`, and
others where it needs them; what goes by formula in place of a framework's own kernel is named in
`settings`. `reference/` is the plain NumPy formulas that all are held to; `aligned.py` and
`blocks.py` are about memory that frameworks take as it is. A framework is imported in its own
package and nowhere else, and `requirements/<name>.txt` is the one place where its version is
pinned.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast, get_args

from ..models import InputError
from .contract import Adapter, AskedMode, Mode

FRAMEWORKS = {  # backend -> the modules that it is made of
    "numpy": ("numpy",),
    "torch": ("torch",),
    "keras": ("keras", "tensorflow"),
    "paddle": ("paddle",),
    "mxnet": ("mxnet",),
    "jax": ("jax", "optax"),
    "keras-jax": ("keras", "jax"),
    "keras-torch": ("keras", "torch"),
}
NAMES = tuple(FRAMEWORKS)
ENGINES = {"keras-jax": "jax", "keras-torch": "torch"}  # Keras's -> the same by itself
USUAL = tuple(name for name in NAMES if name not in ENGINES)  # those of a run that names none
_PACKAGES = {"keras": "keras.tensorflow", "keras-jax": "keras.jax", "keras-torch": "keras.torch"}


def framework(name: str) -> str | None:
    """Return the backend of ours that a name is a variant of: torch of `torch@2.11.0`, which is a
    version, and of `torch-a`, which is one of two environments; None if there is none.
    """
    of_it = [backend for backend in NAMES if re.match(f"{backend}($|[@-])", name)]
    return max(of_it, key=len, default=None)  # keras-jax rather than a variant of keras


def package(backend: str) -> str:
    """Return the package of one of ours, by its name in this one: an engine's is in Keras's."""
    return _PACKAGES.get(backend, backend)


def source_folders(backend: str) -> list[Path]:
    """Return where the source of one of ours lies, with that of its engine by itself."""
    folders = [package(backend).partition(".")[0], ENGINES.get(backend)]
    return [Path(__file__).with_name(folder) for folder in folders if folder]


def name_of(path: Path) -> str:
    """Return the name of an adapter that is a file: that of its folder, if it is a package."""
    return path.resolve().parent.name if path.name == "__init__.py" else path.stem


def typical(adapter: str) -> tuple[Mode, str]:
    """Return an adapter's `TYPICAL`; of one that says nothing, that it is eager. InputError."""
    match _literal(adapter, "TYPICAL"):
        case None:
            return "eager", "the adapter does not say"
        case ("eager" | "compiled") as mode, str(why):
            return mode, why
        case said:
            raise InputError(f"{adapter}: TYPICAL is {said!r}; expected a mode of it, and why")


def modes(adapter: str, asked: Sequence[AskedMode]) -> tuple[Mode, ...]:
    """Return in which modes an adapter is run: those asked for by name, the one that is typical of
    it, or, as the best of them is wanted, all that it has.
    """
    if "best" in asked:
        return tuple(_literal(adapter, "MODES") or get_args(Mode))
    if "typical" in asked:
        return (typical(adapter)[0],)
    return tuple(cast("Sequence[Mode]", asked))


def _literal(adapter: str, name: str) -> Any:
    """Return the literal that an adapter assigns to a name, read from its source; None if there is
    none, or no source that can be read: of that, the adapter's own process will tell.
    """
    path = Path(adapter)
    if adapter in NAMES:
        path = Path(__file__).parent.joinpath(*package(adapter).split("."), "__init__.py")
    if path.suffix != ".py":
        return None
    with suppress(OSError, SyntaxError, ValueError):
        for node in ast.parse(path.read_bytes()).body:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", 0)]
            if [getattr(target, "id", "") for target in targets] == [name]:
                return ast.literal_eval(cast("ast.Assign", node).value)
    return None


def load(adapter: str, mode: Mode | None = None) -> Adapter:
    """Import an adapter: a name of ours, a path to a .py file, or an importable module; with a
    mode, what its framework would load in the first block too.

    Raises InputError when a path is not a file, ImportError when the framework is not there.
    """
    module = _imported(adapter)
    if mode:
        getattr(module, "preload", lambda mode: None)(mode)
    return module


def _imported(adapter: str) -> Adapter:
    if adapter in NAMES:
        return cast("Adapter", importlib.import_module(f".{package(adapter)}", __package__))
    if not adapter.endswith(".py"):
        return cast("Adapter", importlib.import_module(adapter))
    path = Path(adapter)
    if not path.is_file():
        raise InputError(f"no adapter at {path}; give the path of a .py file")
    spec = importlib.util.spec_from_file_location(f"bakeoff_adapter_{name_of(path)}", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return cast("Adapter", module)
