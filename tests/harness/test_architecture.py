"""Who may import whom, and what lies where: read from the source with `ast`."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib import metadata
from pathlib import Path

import pytest

from bakeoff.backends import FRAMEWORKS, NAMES, package
from bakeoff.bench.environments import requirements

_ROOT = Path(__file__).parents[2]
_PACKAGES = ("models", "datasets", "backends", "bench")
_MAY_IMPORT = {
    "models": {"models"},
    "datasets": {"datasets", "models"},
    "backends": {"backends", "models"},
    "bench": set(_PACKAGES),
}
# A room may import those on later lines; what lies beside rooms is one of its own. The rivals are
# imported by name, in their own process.
_FLOORS = (
    {"cli"},
    {"options"},
    {"commands"},
    {"training", "timing"},
    {"parity", "report"},
    {"workload", "checks", "interrupts", "printing"},
    {"results"},
    {"environments"},
    {"worker"},
    {"rivals"},
)
_FLOOR = {room: floor for floor, rooms in enumerate(_FLOORS) for room in rooms}
_NATIVE = Path("bench/rivals/native")
_FRAMEWORKS = {module for modules in FRAMEWORKS.values() for module in modules} - {"numpy"}
_GONE = (
    "asynchat", "asyncore", "cgi", "distutils", "imp", "importlib.abc.ResourceReader",
    "importlib.abc.Traversable", "importlib.abc.TraversableResources", "pipes", "pkg_resources",
)  # fmt: skip
_FILES = [
    path.relative_to(_ROOT) for package in _PACKAGES for path in (_ROOT / package).rglob("*.py")
]
_INTERFACE = Path("bench/interface")  # the top of the package, which imports all, and none imports


def _package(path: Path) -> list[str]:
    """Return the names of the package that a file lies in."""
    return ["bakeoff", *(() if path.parent == _INTERFACE else path.parent.parts)]


def _name(path: Path) -> str:
    return ".".join(_package(path) + ([path.stem] if path.stem != "__init__" else []))


_MODULES = {_name(path): path for path in _FILES}
_ROOMS = [path for path in _FILES if path.parts[0] == "bench" and path.parent != _INTERFACE]


@cache
def _imports(path: Path) -> list[str]:
    """Return all that a file imports, relative names resolved: `bakeoff.models.layers`.

    What is imported for a type checker alone is not among them.
    """
    tree = ast.parse((_ROOT / path).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    parents = _package(path)
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = parents[: len(parents) + 1 - node.level] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            names += [f"{module}.{alias.name}" for alias in node.names]
    return names


def _modules(path: Path) -> set[str]:
    """Return the modules of ours that a file imports, or imports something of."""
    ours = (name for name in _imports(path) if name.startswith("bakeoff."))
    return {name if name in _MODULES else name.rpartition(".")[0] for name in ours}


def _external(path: Path) -> set[str]:
    """Return the libraries that a file imports."""
    roots = {name.partition(".")[0] for name in _imports(path)}
    return roots - sys.stdlib_module_names - {"bakeoff"}


@pytest.mark.parametrize("path", [p for p in _FILES if p.parent != _INTERFACE], ids=str)
def test_imports_go_one_way(path: Path) -> None:
    allowed = _MAY_IMPORT[path.parts[0]]
    for name in _imports(path):
        root, _, rest = name.partition(".")
        if root == "bakeoff":
            assert rest.partition(".")[0] in allowed, name


@pytest.mark.parametrize("path", _ROOMS, ids=str)
def test_the_rooms_of_bench_import_downwards(path: Path) -> None:
    if path == Path("bench/__init__.py"):
        assert not _imports(path)
        return
    room = Path(path.parts[1]).stem
    for module in _modules(path):
        if module.startswith("bakeoff.bench."):
            other = module.split(".")[2]
            assert other == room or _FLOOR[other] > _FLOOR[room], module


def test_every_room_has_its_floor() -> None:
    rooms = {Path(path.parts[1]).stem for path in _ROOMS} - {"__init__"}
    assert rooms == set(_FLOOR)


def test_the_map_of_bench_is_true() -> None:
    """Every room stands in it, and whatever it names is there."""
    text = ast.get_docstring(ast.parse((_ROOT / "bench/__init__.py").read_text(encoding="utf-8")))
    named = set(re.findall(r"`([a-z_.]+)`", text or ""))
    assert named >= set(_FLOOR)
    for name in named - {*_PACKAGES, _INTERFACE.name}:
        assert f"bakeoff.bench.{name}" in _MODULES, name


def test_no_import_comes_round_to_its_beginning() -> None:
    graph = {module: _modules(path) - {module} for module, path in _MODULES.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


def test_a_worker_needs_numpy_and_msgspec_alone() -> None:
    """It is started by the framework's interpreter, in which nothing else is installed."""
    open_ones = [module for module in _MODULES if module.startswith("bakeoff.bench.worker")]
    closure: set[str] = set()
    while open_ones:
        module = open_ones.pop()
        closure.add(module)
        open_ones += _modules(_MODULES[module]) - closure
    for module in sorted(closure):
        allowed = ("bakeoff.models", "bakeoff.backends", "bakeoff.bench.worker")
        assert module.startswith(allowed), module
        assert _external(_MODULES[module]) <= {"numpy", "msgspec"}, module


@pytest.mark.parametrize("path", _FILES, ids=str)
def test_a_file_is_read_in_a_sitting(path: Path) -> None:
    assert len((_ROOT / path).read_text(encoding="utf-8").splitlines()) <= 500


def test_the_packages_that_are_installed_are_those_in_the_folders() -> None:
    with (_ROOT / "pyproject.toml").open("rb") as file:
        listed = tomllib.load(file)["tool"]["setuptools"]["packages"]
    folders = {name for name, path in _MODULES.items() if path.stem == "__init__"}
    assert listed == sorted({*folders, "bakeoff.conformance"})


def _own(path: Path) -> set[str]:
    """Return the frameworks of an adapter's file or of a loop by hand: what engines of Keras share
    is of Keras alone.
    """
    if path.parent == _NATIVE:
        return set(FRAMEWORKS.get(path.stem.replace("_", "-"), ()))
    inside = ".".join(path.parent.parts[1:])
    whose = [set(FRAMEWORKS[n]) for n in NAMES if f"{package(n)}.".startswith(f"{inside}.")]
    return set.intersection(*whose) if path.parts[0] == "backends" and whose else set()


@pytest.mark.parametrize("path", _FILES, ids=str)
def test_a_framework_is_imported_in_its_own_files_alone(path: Path) -> None:
    """Its adapter's, and the loop written by hand."""
    assert not _external(path) & (_FRAMEWORKS - _own(path))


_PEERS = [
    path for path in _FILES if path.match("bench/rivals/peers/*.py") and path.stem != "__init__"
]


@pytest.mark.parametrize("path", _PEERS, ids=str)
def test_a_peer_imports_numpy_and_its_own_library_alone(path: Path) -> None:
    assert len(_external(path) - {"numpy"}) == 1
    assert not _modules(path)


@pytest.mark.parametrize("path", [path for path in _FILES if path.parent == _NATIVE], ids=str)
def test_a_loop_by_hand_has_no_code_of_ours(path: Path) -> None:
    assert _external(path) <= {*_own(path), "numpy"}
    assert not _modules(path)


def test_the_checks_above_see_imports() -> None:
    assert "torch" in _external(Path("backends/torch/layers.py"))
    assert "bakeoff.models.Model" in _imports(Path("backends/torch/__init__.py"))
    assert "bakeoff.backends.contract" in _modules(Path("backends/torch/layers.py"))


@pytest.mark.parametrize("path", _FILES, ids=str)
def test_nothing_is_imported_that_a_later_python_has_no_more(path: Path) -> None:
    """Python 3.11 has it still, and does not warn of all of it."""
    for name in _imports(path):
        assert not any(f"{name}.".startswith(f"{gone}.") for gone in _GONE), name


def test_nothing_deprecated_is_imported() -> None:
    """By any module that can be imported without a framework."""
    free = [
        name
        for name, path in _MODULES.items()
        if not any(part in {*_FRAMEWORKS, "native", "peers"} for part in path.parts)
    ]
    imports = "\n".join(f"import {name}" for name in free)
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning", "-c", imports],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", _FILES, ids=str)
def test_every_module_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(ast.parse((_ROOT / path).read_text(encoding="utf-8")))


@pytest.mark.parametrize("backend", [*NAMES, "reference"])
def test_every_backend_has_the_same_files(backend: str) -> None:
    """Those of an engine of Keras lie in its folder, or beside it."""
    folder = Path("backends", *(package(backend) if backend in NAMES else backend).split("."))
    folders = {folder, *([folder.parent] if "." in package(backend) else [])}
    files = {path.stem for path in _FILES if path.parent in folders}
    assert files >= {"__init__", "layers", "losses", "optimizers", "trainer"}


@pytest.mark.parametrize("backend", NAMES)
def test_a_backend_is_pinned_and_says_for_which_pythons(backend: str) -> None:
    needed = requirements.read(backend)
    assert needed.pins
    assert all("==" in pin for pin in needed.pins)
    assert 11 <= needed.oldest <= needed.newest


def test_the_package_carries_its_licence() -> None:
    (path,) = (file for file in metadata.files("bakeoff") or () if file.name == "LICENSE")
    assert path.read_text().startswith("MIT License\n\nCopyright (c) 2026 the bakeoff developers\n")


def test_the_package_imports_nothing_before_it_is_asked_for() -> None:
    script = (
        "import importlib, sys, types, typing; before = set(sys.modules)\n"
        "import bakeoff; dir(bakeoff)\n"
        "sys.exit(' '.join({*sys.modules} - before) or None)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert set(done.stderr.split()) == {"__future__", "bakeoff", "bakeoff.bench"}


@pytest.mark.parametrize("command", [["--help"], ["run", "--help"], ["show", "lenet5"]])
def test_the_command_line_imports_nothing_heavy(command: list[str]) -> None:
    heavy = _FRAMEWORKS | {
        "bakeoff.calls",
        "pandas",
        "matplotlib",
        "altair",
        "sklearn",
        "scipy",
        "mlxtend",
    }
    if "--help" in command:
        heavy |= {"numpy", "msgspec", "filelock", "bakeoff.models"}
    script = (
        "import sys; from bakeoff.bench.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"sys.exit(' '.join({heavy} & sys.modules.keys()) or None)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout or "conv1" in done.stdout
