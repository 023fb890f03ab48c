"""`bakeoff run`: find or make interpreters, certify, train, report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import DownloadColumn, Progress, TaskID

from ...backends import USUAL
from ...datasets.dataset import Dataset
from ...models import InputError
from .. import workload
from ..environments.find import Backend, find
from ..environments.folders import check_confined
from ..printing import say
from ..results.summary import Summary
from ..training import aggregate, audits, jobs, plan, predictions
from ..training.certificates import certify_run
from ..training.plan import DownloadProgress, RunRequest
from ..training.prepare import prepare
from ..training.progress import display
from ..training.resume import make_ready
from ..training.run_folder import RunSpec, locked, read_run
from ..worker.files import remove
from . import first
from .report import Shown, show
from .warn import nothing_of, tell, warn

RESUMED = ("--resume", "--json", "--python")  # what may be given with --resume


def start(request: RunRequest, console: Console, *, make_missing: bool, shown: Shown) -> int:
    """Prepare and run a new comparison; return the exit code."""
    with _downloads(console) as download_progress:
        work = plan.check(request, download_progress)
    for each in work:
        warn(workload.warnings(*each), console)
    names = request.backends or USUAL
    backends = _find(names, request)
    if make_missing:
        found = dict(zip(names, backends, strict=True))
        backends = first.make_missing(request, work, found, console, shown)
    if not any(backend.python for backend in backends):
        raise InputError(f"no backend can run: {backends[0].reason}; run: {backends[0].fix}")
    folder = prepare(request, work, backends)
    for backend in backends:
        if backend.python is None:
            tell(backend.advice, console)
    datasets = {w.name: dataset for w, dataset in work}
    with locked(folder):
        _run(folder, read_run(folder), datasets, console, shown)
        summary = _finish(folder, console, shown=shown)
    if request.checkpoint and request.checkpoint.exists():
        made = f"checkpoint: {request.checkpoint}"
        say(console, made)
    return _exit_code(summary, asked=request.backends or ())


def resume(
    folder: Path,
    pythons: Mapping[str, Path],
    given: Sequence[str],
    console: Console,
    *,
    shown: Shown,
) -> int:
    """Go on with a run; return the exit code. It cannot take what would change it: InputError."""
    if surplus := [word for word in given if word not in RESUMED]:
        raise InputError(
            f"--resume goes on with a run as it was asked; it cannot take {surplus[0]}, "
            "start a new run for that"
        )
    folder = folder.resolve()
    spec = read_run(folder)
    check_confined(folder)
    try:
        with locked(folder):
            with _downloads(console) as download_progress:
                spec, datasets = make_ready(
                    folder, spec, pythons, download_progress, partial(tell, console=console)
                )
            _run(folder, spec, datasets, console, shown)
            summary = _finish(folder, console, shown=shown)
    except OSError as error:
        raise InputError(f"{folder} cannot be gone on with: {error}; start a new run") from None
    return _exit_code(summary, asked=())


def _find(names: tuple[str, ...], request: RunRequest) -> list[Backend]:
    backends = [find(name, request.pythons) for name in names]
    if unknown := set(request.pythons) - {backend.name for backend in backends}:
        raise InputError(
            f"--python {min(unknown)}=...: no such backend in this run; "
            f"it has {', '.join(backend.name for backend in backends)}"
        )
    return backends


def _run(
    folder: Path, spec: RunSpec, datasets: Mapping[str, Dataset], console: Console, shown: Shown
) -> None:
    say(console, f"run folder: {folder}")
    remove(folder / "summary.json")  # it is of fewer records than there will be
    try:
        if spec.parity:
            (folder / "certificates").mkdir(exist_ok=True)
            certify_run(folder, spec, datasets, console)
        jobs.run(folder, display(console))
        with console.status("") as status:
            audits.judge(folder, status.update)
    except KeyboardInterrupt:
        _finish(folder, console, shown="tables" if shown == "json" else shown)
        words = f"interrupted; go on with: bakeoff run --resume {folder}"
        say(console, words)
        raise
    except OSError as error:
        tell(f"stopped: {error}; mend it, then: bakeoff run --resume {folder}", console)


def _finish(folder: Path, console: Console, *, shown: Shown) -> Summary:
    summary = aggregate.summarize(folder)
    show(summary, folder, console, shown=shown)
    if written := predictions.write(folder, summary):
        where = written[0] if len(written) == 1 else folder / "jobs/*/*" / predictions.FILE
        say(console, f"predictions: {where}")
    return summary


def _exit_code(summary: Summary, asked: tuple[str, ...]) -> int:
    """Return 1 if a job, a certificate or an audit failed, a backend asked for by name is missing,
    or no backend finished a workload, which is said.
    """
    bad = {"failed", "timeout", "interrupted"} | ({"missing"} if asked else set())
    wrong = any(row.parity and row.status == "ok" and not row.comparable for row in summary.rows)
    wrong |= any(row.audits and row.audits.failure for row in summary.rows)
    nothing = nothing_of(
        (row.workload, row.backend, "" if row.status == "ok" else row.reason or row.status)
        for row in summary.rows
    )
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
