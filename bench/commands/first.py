"""The first run on a machine: make what environments it lacks. Before that NumPy is trained once,
so that there is something to read meanwhile; each backend is certified while others are made, as
neither is timed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from msgspec import structs
from rich.console import Console

from ..environments import install as installer
from ..environments import pythons
from ..environments.find import Backend, find
from ..environments.requirements import is_known, read
from ..printing import say
from ..report import terminal
from ..training import aggregate, audits, jobs
from ..training.certificates import certify_run, prepay
from ..training.plan import RunRequest, Work
from ..training.prepare import prepare
from ..training.progress import display
from ..training.run_folder import read_run
from .install import explained, install
from .report import Shown

_FLOPS = 2e11  # of NumPy's trainings, which take some 10 s: more is not done twice


def make_missing(
    request: RunRequest, work: Work, found: Mapping[str, Backend], console: Console, shown: Shown
) -> list[Backend]:
    """Make the environments that known backends lack, of those found by what was asked for; return
    all as they are then.
    """
    backends = found.values()
    cuda = request.device.startswith("cuda")
    missing = [b.name for b in backends if is_known(b.name) and not _is_usable(b, cuda=cuda)]
    numpy = next((b for b in backends if b.name == "numpy" and b.python), None)
    can_be_made = any(next(pythons.fitting(read(name)), None) for name in missing)
    if can_be_made and numpy and shown == "tables" and _is_short(request, work):
        _look(request, work, numpy, console)

    def certify(name: str) -> None:
        if request.parity:
            prepay(request, work, find(name, request.pythons))

    # The largest first: what is certified last, by itself, is what is soonest made and certified.
    missing.sort(key=_megabytes, reverse=True)
    failures = install(missing, console, cuda=cuda, ready=certify)
    return [explained(find(name, request.pythons), failures) for name in found]


def _is_usable(backend: Backend, *, cuda: bool) -> bool:
    """Say whether a backend has an interpreter; `cuda`: with a build for GPUs, if we made it."""
    made = installer.interpreter(backend.name)
    if cuda and backend.python == str(made):
        return installer.is_complete(backend.name, cuda=True)
    return backend.python is not None


def _megabytes(name: str) -> int:
    size = read(name).size
    return size.download if size else 0


def _is_short(request: RunRequest, work: Work) -> bool:
    flops = sum(
        (w.model.cost.training_flops or 0) * w.epochs * len(dataset.train.x) for w, dataset in work
    )
    return request.parity and request.device == "cpu" and flops < _FLOPS


def _look(request: RunRequest, work: Work, numpy: Backend, console: Console) -> None:
    """Train NumPy once and print its rows; it is trained again, in its turns among the others."""
    with tempfile.TemporaryDirectory() as name:
        alone = structs.replace(request, seeds=request.seeds[:1], output=Path(name, "run"))
        folder = prepare(alone, work, [numpy])
        certify_run(folder, read_run(folder), {w.name: dataset for w, dataset in work}, console)
        jobs.run(folder, display(console))
        audits.judge(folder, lambda words: None)
        *tables, _ = terminal.tables(aggregate.summarize(folder))
    say(console, "a first look, at NumPy and one seed, before the others are made:")
    for table in tables:
        console.print(table)
