"""Who may import whom: read from the source with `ast`."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

from bakeoff.backends import FRAMEWORKS, NAMES

_ROOT = Path(__file__).parents[2]
_PACKAGES = ("models", "datasets", "backends", "bench")
_MAY_IMPORT = {
    "models": {"models"},
    "datasets": {"datasets", "models"},
    "backends": {"backends", "models"},
    "bench": set(_PACKAGES),
}
_NATIVE = Path("bench/rivals/native")
_FRAMEWORKS = {module for modules in FRAMEWORKS.values() for module in modules} - {"numpy"}
_GONE = (
    "asynchat", "asyncore", "cgi", "distutils", "imp", "importlib.abc.ResourceReader",
    "importlib.abc.Traversable", "importlib.abc.TraversableResources", "pipes", "pkg_resources",
)  # fmt: skip
_FILES = [
    path.relative_to(_ROOT) for package in _PACKAGES for path in (_ROOT / package).rglob("*.py")
]


def _imports(path: Path) -> Iterator[str]:
    """Yield every module that a file imports, relative ones resolved: `bakeoff.models.layers`."""
    parents = ["bakeoff", *path.parent.parts]
    for node in ast.walk(ast.parse((_ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = parents[: len(parents) + 1 - node.level] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", _FILES, ids=str)
def test_imports_go_one_way(path: Path) -> None:
    allowed = _MAY_IMPORT[path.parts[0]]
    for name in _imports(path):
        if name.startswith("bakeoff."):
            assert name.split(".")[1] in allowed, name


@pytest.mark.parametrize("path", _FILES, ids=str)
def test_a_framework_is_imported_in_its_own_files_alone(path: Path) -> None:
    """Its adapter's, and the loop written by hand."""
    backend = path.parts[1] if path.parts[0] == "backends" else path.stem
    has_own = path.parts[0] == "backends" or path.parent == _NATIVE
    own = set(FRAMEWORKS.get(backend, ())) if has_own else set()
    for name in _imports(path):
        assert name.partition(".")[0] not in _FRAMEWORKS - own, name


_PEERS = [
    path for path in _FILES if path.match("bench/rivals/peers/*.py") and path.stem != "__init__"
]


@pytest.mark.parametrize("path", _PEERS, ids=str)
def test_a_peer_imports_numpy_and_its_own_library_alone(path: Path) -> None:
    imported = {name.partition(".")[0] for name in _imports(path)}
    assert len(imported - sys.stdlib_module_names - {"numpy"}) == 1


@pytest.mark.parametrize("path", [path for path in _FILES if path.parent == _NATIVE], ids=str)
def test_a_loop_by_hand_has_no_code_of_ours(path: Path) -> None:
    own = {*FRAMEWORKS.get(path.stem, ()), *sys.stdlib_module_names, "numpy"}
    for name in _imports(path):
        assert name.partition(".")[0] in own, name


def test_the_checks_above_see_imports() -> None:
    assert "torch" in {
        name.partition(".")[0] for name in _imports(Path("backends/torch/layers.py"))
    }
    assert "bakeoff.models.Model" in set(_imports(Path("backends/torch/__init__.py")))


@pytest.mark.parametrize("path", _FILES, ids=str)
def test_nothing_is_imported_that_a_later_python_has_no_more(path: Path) -> None:
    """Python 3.11 has it still, and does not warn of all of it."""
    for name in _imports(path):
        assert not any(f"{name}.".startswith(f"{gone}.") for gone in _GONE), name


def test_nothing_deprecated_is_imported() -> None:
    """By any module that can be imported without a framework."""
    free = [
        path.parent if path.stem == "__init__" else path.with_suffix("")
        for path in _FILES
        if path.stem not in set(NAMES) - {"numpy"} and path.parent.name not in ("native", "peers")
    ]
    imports = "\n".join(f"import bakeoff.{'.'.join(path.parts)}" for path in free)
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


def test_one_file_per_backend() -> None:
    for name in NAMES:
        assert (_ROOT / "backends" / name / "__init__.py").is_file()
        pins = (_ROOT / "backends" / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
        assert all("==" in line for line in pins.splitlines())


def test_the_package_carries_its_licence() -> None:
    (path,) = (file for file in metadata.files("bakeoff") or () if file.name == "LICENSE")
    assert path.read_text().startswith("MIT License\n\nCopyright (c) 2026 the bakeoff developers\n")


@pytest.mark.parametrize("command", [["--help"], ["run", "--help"], ["show", "lenet5"]])
def test_the_command_line_imports_nothing_heavy(command: list[str]) -> None:
    heavy = _FRAMEWORKS | {"pandas", "matplotlib", "altair", "sklearn", "scipy", "mlxtend"}
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
