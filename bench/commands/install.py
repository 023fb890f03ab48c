"""`bakeoff install`, `bakeoff uninstall`: make environments, side by side, list and remove them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from threading import Event

from msgspec import structs
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn
from rich.table import Table

from ...backends import USUAL
from ...models import InputError
from ...models.synonyms import closest
from ..environments import builds, machine, pythons
from ..environments import install as installer
from ..environments.find import Backend
from ..environments.process import end_tethered
from ..environments.requirements import ENVIRONMENTS, Size, environment_of, is_known, read
from ..printing import Screen, say


def install_all(names: tuple[str, ...], console: Console, *, cuda: bool) -> int:
    """Make the environments of `names`, or of the usual backends; return 1 if one cannot be made.

    It does not stop the others. Raises InputError.
    """
    names = tuple(map(environment_of, names)) or USUAL
    failures = install(names, console, cuda=cuda)
    ready = [name for name in names if name not in failures]
    count = f"{len(ready)} of {len(names)} environments are ready: {', '.join(ready) or 'none'}"
    say(console, count)
    for name, why in failures.items():
        Screen(stderr=True).say(f"bakeoff: {name} could not be installed: {why}")
    return int(bool(failures))


def install(
    names: Sequence[str],
    console: Console,
    *,
    cuda: bool,
    ready: Callable[[str], object] = lambda name: None,
) -> dict[str, str]:
    """Make what environments can be made, as many at once as there are cores; return why by the
    names of those that cannot. `ready` is called with each that is made, while others are.
    """
    failures = {}
    _announce([name for name in names if not installer.is_complete(name, cuda=cuda)], console, cuda)
    with _made_side_by_side(names, console, cuda) as made:
        for future in as_completed(made):
            name = made[future]
            try:
                say(console, f"{name}: ready, {future.result()}")
                ready(name)
            except installer.InstallError as error:
                failures[name] = str(error)
                console.print(f"{name}: failed", style="yellow", highlight=False)
    return {name: failures[name] for name in names if name in failures}


Made = dict[Future[object], str]


@contextmanager
def _made_side_by_side(names: Sequence[str], console: Console, cuda: bool) -> Iterator[Made]:
    """Give what is being made, by name. If anything else is raised meanwhile, all of it ends."""
    bars = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    stopped = Event()

    def make(name: str) -> object:
        task = bars.add_task(name)
        try:
            return installer.install(name, _shown(bars, task, name, stopped), cuda=cuda)
        finally:
            bars.remove_task(task)

    with bars, ThreadPoolExecutor(machine.usable_cores()) as pool:
        try:
            yield {pool.submit(make, name): name for name in names}
        except BaseException:
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            end_tethered()
            raise


def _shown(bars: Progress, task: TaskID, name: str, stopped: Event) -> Callable[[str], None]:
    def show(line: str) -> None:
        if stopped.is_set():
            raise installer.InstallError("interrupted")
        bars.update(task, description=f"{name}: {escape(line[:100])}")

    return show


def _announce(names: Sequence[str], console: Console, cuda: bool) -> None:
    """Say what will be made, by which Python, and what it takes."""
    sizes = []
    for name in names:
        needed = read(name)
        python = next(pythons.fitting(needed), None)
        if python is None and not pythons.uv():
            continue  # said when it fails
        build = builds.choose(needed, cuda=cuda)
        size = str(build.size) if build.size else "of a size that was not measured"
        sizes.append(build.size)
        by = str(python) if python else f"{pythons.words(needed)}, which uv will bring"
        say(console, "; ".join(filter(None, [f"{name}: {by}", size, build.words])))
    if len(sizes) > 1:
        known = [size for size in sizes if size]
        least = "" if all(size and size.disk for size in sizes) else "at least "
        total = Size(sum(s.download for s in known), sum(s.disk or 0 for s in known))
        say(console, f"in all {least}{total}, in {installer.folder_of_all()}")


def list_environments(console: Console) -> int:
    """Print what environments there are, and what the others would take; return 0."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("environment", no_wrap=True)
    table.add_column("MB", justify="right", no_wrap=True)
    for heading in ("", "what to do"):
        table.add_column(heading, overflow="fold")
    for name in dict.fromkeys([*ENVIRONMENTS, *installer.there()]):
        table.add_row(*map(escape, _row(name)))
    console.print(table)
    return 0


def _row(name: str) -> list[str]:
    now = installer.look(name)
    megabytes = f"{installer.size(installer.environment(name)) / 1e6:,.0f}"
    if now.state == "absent":
        needed = read(name)
        if lacking := pythons.lacking(needed):
            return [name, "–", lacking, pythons.how_to_get(needed)]
        return [name, "–", f"not made: {needed.size}", f"bakeoff install {name}"]
    if now.state == "ready":
        return [name, megabytes, f"ready, {installer.interpreter(name)}", ""]
    return [name, megabytes, told(now), what_to_do(now)]


def told(now: installer.Environment) -> str:
    """Say in what state an environment is."""
    return f"{now.state}: {now.why}" if now.why else now.state


def what_to_do(now: installer.Environment) -> str:
    """Return the command that mends an environment that is not ready."""
    return f"bakeoff {'install' if is_known(now.name) else 'uninstall'} {now.name}"


def uninstall(names: tuple[str, ...], console: Console, *, all_of_them: bool) -> int:
    """Remove environments and say what that frees; return 0. Raises InputError."""
    there = installer.there()
    if bool(names) == all_of_them:
        raise InputError(
            "name what to uninstall, or give --all, and not both; "
            f"there is {', '.join(there) or 'no environment'}"
        )
    names = tuple(environment_of(name) if is_known(name) else name for name in names)
    if unknown := [name for name in names if name not in there]:
        raise InputError(
            f'there is no environment "{unknown[0]}" to remove; '
            + (closest(unknown[0], there) if there else "none was made")
        )
    freed = 0
    for name in there if all_of_them else dict.fromkeys(names):
        bytes_freed = installer.remove(name)
        freed += bytes_freed
        say(console, f"{name}: removed, {bytes_freed / 1e6:,.0f} MB")
    say(console, f"{freed / 1e6:,.0f} MB freed in {installer.folder_of_all()}")
    return 0


def explained(backend: Backend, failures: Mapping[str, str]) -> Backend:
    """Say of a backend without an interpreter why none could be made for it."""
    if backend.python or backend.name not in failures:
        return backend
    why = failures[backend.name]
    if why.startswith(str(backend.reason)):  # there is no Python to make one with
        return backend
    reason = f"{backend.reason}, and it could not be installed: {why}"
    return structs.replace(backend, reason=reason)
