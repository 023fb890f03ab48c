"""`bakeoff install`: make environments; one that cannot be made does not stop the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import structs
from rich.console import Console
from rich.markup import escape

from ...backends import NAMES
from ...models import InputError
from ...models.synonyms import closest
from ..environments import install as installer
from ..environments.find import Backend
from ..printing import Screen


def install_all(names: tuple[str, ...], console: Console) -> int:
    """Make the environments of `names`, or of every backend; return 1 if one cannot be made.

    It does not stop the others. Raises InputError.
    """
    for name in names:
        if name not in installer.ENVIRONMENTS:
            known = closest(name, installer.ENVIRONMENTS)
            raise InputError(f'no environment "{name}" to install; {known}')
    names = names or NAMES
    failures = install(names, console)
    ready = [name for name in names if name not in failures]
    count = f"{len(ready)} of {len(names)} environments are ready: {', '.join(ready) or 'none'}"
    console.print(count, highlight=False, soft_wrap=True)
    for name, why in failures.items():
        Screen(stderr=True).say(f"bakeoff: {name} could not be installed: {why}")
    return int(bool(failures))


def install(names: Sequence[str], console: Console) -> dict[str, str]:
    """Make what environments can be made; return why by the names of those that cannot."""
    failures = {}
    for name in names:
        try:
            _install_one(name, console)
        except installer.InstallError as error:
            failures[name] = str(error)
            console.print(f"{name}: failed", style="yellow", highlight=False)
    return failures


def _install_one(name: str, console: Console) -> None:
    if not console.is_terminal:
        console.print(f"{name}: installing")
    with console.status(f"{name}: installing") as status:
        python = installer.install(
            name, lambda line: status.update(f"{name}: {escape(line[:100])}")
        )
    console.print(f"{name}: ready, {python}", markup=False, highlight=False, soft_wrap=True)


def explained(backend: Backend, failures: Mapping[str, str]) -> Backend:
    """Say of a backend without an interpreter why none could be made for it."""
    if backend.python or backend.name not in failures:
        return backend
    reason = f"{backend.reason}, and it could not be installed: {failures[backend.name]}"
    return structs.replace(backend, reason=reason)
