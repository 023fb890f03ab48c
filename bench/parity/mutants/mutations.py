"""The ways in which a backend goes wrong, as edits of the reference's source: the TOML files here.

Most are what some framework does by default, or did: the docstrings in `models` say which. Each is
a mutant that the ladder must catch (`selftest`); and each that has words is a suspect, with which
the oracle is run again when a backend fails (`ablation`).
"""

from __future__ import annotations

import ast
import importlib
import itertools
import sys
from collections.abc import Iterator, Sequence
from functools import cached_property
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.resources import files
from importlib.util import spec_from_loader
from threading import Lock
from types import CodeType, ModuleType
from typing import Any, get_args

from msgspec import Struct

from ....backends import reference
from ....backends.contract import DType
from ....models import Model, layers, losses, optimizers
from ....models.toml import decode
from ..ladder import RUNGS, RungName

LEAK = "something is computed in float32"  # words of "float32-inside", and of more: see `ablation`

_TAGS = {
    spec.__struct_config__.tag
    for union in (layers.Layer, losses.Loss, optimizers.Optimizer)
    for spec in get_args(union)
}


class Edit(Struct, frozen=True, forbid_unknown_fields=True, rename={"place": "in"}):
    """In a function or class of the reference, "recurrent.lstm", every `old` gives way to `new`."""

    place: str
    old: str
    new: str


class Mutation(
    Struct,
    frozen=True,
    kw_only=True,
    dict=True,
    forbid_unknown_fields=True,
    rename={"edits": "edit"},
):
    """One way to go wrong.

    `words` complete "matches if ..."; they are empty where the oracle cannot imitate it, as with a
    result that is read too early. `rung` is the first that must fail, on the `model` and in each of
    `dtypes`. `about` are tags of specs: one of these is in a model, or it has no effect there. The
    edits of one place are made in their order.
    """

    name: str
    words: str = ""
    rung: RungName
    model: str
    about: tuple[str, ...] = ()
    edits: tuple[Edit, ...] = ()
    dtypes: tuple[DType, ...] = ("float64", "float32")

    def __post_init__(self) -> None:
        if unknown := set(self.about) - _TAGS:
            raise ValueError(f"{self.name}: no spec has the tag {min(unknown)}")

    def applies(self, model: Model) -> bool:
        """Return whether it can have an effect on this model."""
        specs = [model.loss, model.optimizer, *(node.layer for node in model.walk())]
        return not self.about or any(spec.__struct_config__.tag in self.about for spec in specs)

    @cached_property
    def adapter(self) -> Any:
        """The reference with this about it changed: a package of its own, of the same modules."""
        return _import(f"{reference.__name__}_{self.name}", _edited_sources(self.edits))


def _edited_sources(edits: Sequence[Edit]) -> dict[str, str]:
    """Return the reference's modules by name, edited; ValueError when an edit does not apply."""
    sources = {
        file.name.removesuffix(".py"): file.read_text(encoding="utf-8")
        for file in files(reference).iterdir()
        if file.name.endswith(".py")
    }
    for place in dict.fromkeys(edit.place for edit in edits):
        module = place.partition(".")[0]
        before = after = _definition(sources, place)
        for edit in edits:
            if edit.place == place:
                if edit.old not in after:
                    raise ValueError(f"{place} of the reference has no {edit.old!r}")
                after = after.replace(edit.old, edit.new)
        sources[module] = sources[module].replace(before, after)
    return sources


def _definition(sources: dict[str, str], place: str) -> str:
    """Return the lines of a function or class, given as "module.name"."""
    module, _, name = place.partition(".")
    source = sources.get(module, "")
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.FunctionDef | ast.ClassDef) and statement.name == name:
            lines = source.splitlines(keepends=True)
            return "".join(lines[statement.lineno - 1 : statement.end_lineno])
    raise ValueError(f"the reference has no {place}")


class _Sources(MetaPathFinder, InspectLoader):
    """Finds and loads the modules whose sources it has, by their full names."""

    def __init__(self, package: str, sources: dict[str, str]) -> None:
        self._package, self.sources = package, sources

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return spec_from_loader(fullname, self) if fullname in self.sources else None

    def is_package(self, fullname: str) -> bool:
        return fullname == self._package

    def get_source(self, fullname: str) -> str:
        return self.sources[fullname]

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.sources[fullname], f"<{fullname}>")


_NUMBERS = itertools.count()
_IMPORTING = Lock()  # threads that look for a cause share the mutants, and `sys.meta_path`


def _import(package: str, sources: dict[str, str]) -> ModuleType:
    """Import a package of these sources. It stays in `sys.modules`, under a name that is new."""
    package = f"{package}_{next(_NUMBERS)}"
    by_name = {f"{package}.{name}".removesuffix(".__init__"): sources[name] for name in sources}
    finder = _Sources(package, by_name)
    with _IMPORTING:
        sys.meta_path.insert(0, finder)
        try:
            return importlib.import_module(package)
        except BaseException:
            for name in by_name:
                sys.modules.pop(name, None)
            raise
        finally:
            sys.meta_path.remove(finder)


class _File(Struct, forbid_unknown_fields=True, rename={"mutations": "mutation"}):
    mutations: list[Mutation]


def _read() -> Iterator[Mutation]:
    for file in sorted(files(__package__).iterdir(), key=lambda file: file.name):
        if file.name.endswith(".toml"):
            yield from decode(file, _File).mutations


MUTATIONS = tuple(sorted(_read(), key=lambda mutation: RUNGS.index(mutation.rung)))
