"""The comparison from the user's end: find or make interpreters, run, report, print."""

from __future__ import annotations

import sys
import webbrowser
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.progress import DownloadColumn, Progress, TaskID

from ..backends import NAMES
from ..models import InputError
from ..models.toml import closest
from . import aggregate, environments, plan, run
from . import install as installation
from . import summary as summaries
from .environments import Backend
from .parity.of_run import certify_run
from .plan import DownloadProgress, Request
from .prepare import prepare
from .progress import display
from .report import terminal
from .report import write as write_report
from .speeds import is_benchmark
from .summary import Summary


def start(request: Request, console: Console, *, install: bool, as_json: bool) -> int:
    """Prepare and run a new comparison; return the exit code."""
    with _downloads(console) as download_progress:
        work = plan.check(request, download_progress)
    names = request.backends or NAMES
    backends = _find(names, request)
    if install:
        missing = [b.name for b in backends if b.python is None and b.name in NAMES]
        failures = _install(missing, console)
        backends = [_explained(backend, failures) for backend in _find(names, request)]
    if not any(backend.python for backend in backends):
        raise InputError(f"no backend can run: {backends[0].reason}; run: {backends[0].fix}")
    folder = prepare(request, work, backends)
    for backend in backends:
        if backend.python is None:
            line = f"{backend.name}: {backend.reason}; make one: {backend.fix}"
            console.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)
    _run(folder, console, seeds=len(request.seeds), parity=request.parity)
    summary = _finish(folder, console, as_json=as_json)
    if request.checkpoint and request.checkpoint.exists():
        console.print(f"checkpoint: {request.checkpoint}", highlight=False, soft_wrap=True)
    return _exit_code(summary, asked=request.backends or ())


def resume(folder: Path, console: Console, *, as_json: bool) -> int:
    """Go on with a run; return the exit code."""
    with _downloads(console) as download_progress:
        spec = run.check_resumable(folder, download_progress)
    certified = (folder / "certificates").exists()
    _run(folder, console, seeds=len(spec.seeds), parity=certified)
    return _exit_code(_finish(folder, console, as_json=as_json), asked=())


def report(folder: Path, console: Console, *, open_page: bool) -> None:
    """Write the report of a run or a benchmark again; of a run, the summary too."""
    if is_benchmark(folder):
        show(summaries.read(folder / "summary.json"), folder, console, as_json=False)
    else:
        _finish(folder, console, as_json=False)
    if open_page:
        webbrowser.open((folder / "report.html").resolve().as_uri())


def install_all(names: tuple[str, ...], console: Console) -> int:
    """Make the environments of `names`, or of every backend; return 1 if one cannot be made.

    It does not stop the others. Raises InputError.
    """
    for name in names:
        if name not in installation.ENVIRONMENTS:
            known = closest(name, installation.ENVIRONMENTS)
            raise InputError(f'no environment "{name}" to install; {known}')
    names = names or NAMES
    failures = _install(names, console)
    ready = [name for name in names if name not in failures]
    count = f"{len(ready)} of {len(names)} environments are ready: {', '.join(ready) or 'none'}"
    console.print(count, highlight=False, soft_wrap=True)
    for name, why in failures.items():
        line = f"bakeoff: {name} could not be installed: {why}"
        Console(stderr=True).print(line, markup=False, highlight=False, soft_wrap=True)
    return int(bool(failures))


def _install(names: Sequence[str], console: Console) -> dict[str, str]:
    """Make what environments can be made; return why by the names of those that cannot."""
    failures = {}
    for name in names:
        try:
            _make(name, console)
        except installation.InstallError as error:
            failures[name] = str(error)
            console.print(f"{name}: failed", style="yellow", highlight=False)
    return failures


def _make(name: str, console: Console) -> None:
    if not console.is_terminal:
        console.print(f"{name}: installing")
    with console.status(f"{name}: installing") as status:
        python = installation.install(
            name, lambda line: status.update(f"{name}: {escape(line[:100])}")
        )
    console.print(f"{name}: ready, {python}", highlight=False, soft_wrap=True)


def _explained(backend: Backend, failures: Mapping[str, str]) -> Backend:
    """Say of a backend without an interpreter why none could be made for it."""
    if backend.python or backend.name not in failures:
        return backend
    reason = f"{backend.reason}, and it could not be installed: {failures[backend.name]}"
    return msgspec.structs.replace(backend, reason=reason)


def _find(names: tuple[str, ...], request: Request) -> list[Backend]:
    backends = [environments.find(name, request.pythons) for name in names]
    if unknown := set(request.pythons) - {backend.name for backend in backends}:
        raise InputError(
            f"--python {min(unknown)}=...: no such backend in this run; "
            f"it has {', '.join(backend.name for backend in backends)}"
        )
    return backends


def _run(folder: Path, console: Console, *, seeds: int, parity: bool) -> None:
    console.print(f"run folder: {folder}", highlight=False, soft_wrap=True)
    try:
        if parity:
            (folder / "certificates").mkdir(exist_ok=True)
            certify_run(folder, console)
        run.run(folder, display(console, jobs_per_line=seeds))
    except KeyboardInterrupt:
        _finish(folder, console, as_json=False)
        console.print(f"interrupted; go on with: bakeoff run --resume {folder}", soft_wrap=True)
        raise


def _finish(folder: Path, console: Console, *, as_json: bool) -> Summary:
    summary = aggregate.summarize(folder)
    show(summary, folder, console, as_json=as_json)
    return summary


def show(summary: Summary, folder: Path, console: Console, *, as_json: bool) -> None:
    """Write `summary.json` and the reports into a folder, and print the tables, or the JSON.

    Raises InputError when they cannot be written.
    """
    try:
        summaries.write(summary, folder / "summary.json")
        write_report(summary, folder)
    except OSError as error:
        raise InputError(
            f"the report of {folder} cannot be written ({error.strerror}); the records are kept: "
            f"free space, then bakeoff report {folder}"
        ) from None
    if as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(summary)).decode() + "\n")
    else:
        for table in terminal.tables(summary):
            console.print(table)
        console.print(f"report: {folder / 'report.html'}", highlight=False, soft_wrap=True)


def _exit_code(summary: Summary, asked: tuple[str, ...]) -> int:
    """Return 1 if a job or a certificate failed, a backend asked for by name is missing, or no
    backend finished.
    """
    bad = {"failed", "timeout", "interrupted"} | ({"missing"} if asked else set())
    wrong = any(row.parity and row.parity.verdict in ("fail", "error") for row in summary.rows)
    nothing = all(row.status != "ok" for row in summary.rows)
    return int(wrong or nothing or any(row.status in bad for row in summary.rows))


@contextmanager
def _downloads(console: Console) -> Iterator[DownloadProgress]:
    """Give a callback that shows the download of data files, if there is any."""
    bars = Progress(*Progress.get_default_columns(), DownloadColumn(), console=console)
    tasks: dict[str, TaskID] = {}

    def show(name: str, done: int, total: int) -> None:
        if name not in tasks:
            bars.start()
            tasks[name] = bars.add_task(name, total=total or None)
        bars.update(tasks[name], completed=done)

    try:
        yield show
    finally:
        if tasks:
            bars.stop()
