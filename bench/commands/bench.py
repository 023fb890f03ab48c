"""`bakeoff bench` from the user's end: find, certify, time, report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import monotonic

import filelock
import msgspec
from msgspec.structs import replace
from rich.console import Console
from rich.markup import escape

from ...backends.contract import Execution
from ...datasets.loading import cache_folder
from ...models import InputError
from .. import interrupts
from ..checks import check_execution, check_output, check_unique
from ..environments import machine
from ..environments.code import write_zip
from ..environments.find import Backend, find_all, find_peers
from ..parity import digest
from ..parity.certificate import in_a_line
from ..parity.certify import certify
from ..parity.judge import Claim
from ..results.status import status_of
from ..results.summary import Audits, Summary
from ..timing import audits, session
from ..timing.aggregate import Certificates, summarize
from ..timing.plan import BenchRequest, entrant_name, race_name, races
from ..timing.race import Race
from ..timing.work import TimedWork, find
from ..worker.records import Record, ending
from ..worker.task import Task
from .report import show


def run(request: BenchRequest, console: Console, *, as_json: bool) -> int:
    """Benchmark and report; return 1 if a case or a certificate failed, or nothing was measured,
    else 0. InputError.

    An interrupt ends the timing; what was timed is reported, and `interrupts.EXIT_CODE` returned.
    """
    for execution in request.executions:
        check_execution(execution.device, execution.threads)
    check_output(request.output)
    check_unique(list(request.names), "workload")
    works = [find(name, request.data_dir) for name in request.names]
    backends = list(_backends(request, console))
    if not backends:
        raise InputError("no backend can run; run: bakeoff install")
    output = request.output.resolve()
    with _exclusive(), _folder(output):
        console.print(f"benchmark folder: {output}", highlight=False, soft_wrap=True)
        field = races(request, works, backends, output)
        here = machine.look()  # its load, before there is ours
        certificates = _certify(request, works, backends, console)
        peaks: dict[int, list[float]] = {}
        interrupted = False
        try:
            _time(field, output, peaks, request, console)
        except KeyboardInterrupt:
            if not any(race.was_run for race in field):
                raise
            interrupted = True
        found: dict[str, Audits] = {}
        if request.parity:
            with console.status("judging what was noted of the timed blocks"):
                found = audits.judge(field)
        summary = summarize(request, here, works, field, certificates, peaks, found)
        show(summary, output, console, as_json=as_json)
    if interrupted:
        done, cases = len(summary.measurements), sum(len(race.adapters) for race in field)
        console.print(f"interrupted: {done} of {cases} cases were timed")
    return interrupts.EXIT_CODE if interrupted else _exit_code(summary)


def _backends(request: BenchRequest, console: Console) -> Iterator[Backend]:
    """Yield what is timed; beside peers that is NumPy, in their environment."""
    if request.rivals != "peers":
        tell = partial(console.print, style="yellow", markup=False, highlight=False, soft_wrap=True)
        yield from find_all(request.backends, request.pythons, tell)
        return
    if request.backends not in (None, ("numpy",)):
        raise InputError(f"--peers measures numpy; it cannot take --backend {request.backends[0]}")
    yield find_peers(request.pythons)


@contextmanager
def _exclusive() -> Iterator[None]:
    """One benchmark at a time: two would time each other."""
    path = cache_folder() / "timing.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(path, timeout=0):
            yield
    except filelock.Timeout:
        raise InputError(
            f"another benchmark is running on this machine ({path} is locked); wait for its end"
        ) from None


@contextmanager
def _folder(output: Path) -> Iterator[None]:
    """Make the folder; an OSError on the way is the user's to hear of."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        write_zip(output / "code.zip")
        yield
    except OSError as error:
        raise InputError(
            f"{output} cannot be written ({error.strerror}); choose another folder with --output"
        ) from None


def _certify(
    request: BenchRequest, works: Sequence[TimedWork], backends: Sequence[Backend], console: Console
) -> Certificates:
    """Obtain the certificate of every model, backend and execution, unless none is wanted."""
    if not request.parity:
        return {}
    wanted = [
        Claim(backend, work.name, work.probe, execution)
        for work in works
        for backend in backends
        for execution in _judged(request.executions)
    ]
    certificates = certify(
        wanted,
        timeout=request.timeout,
        progress=lambda certificate: console.print(
            in_a_line(certificate), markup=False, highlight=False, soft_wrap=True
        ),
    )
    folder = request.output / "certificates"
    folder.mkdir()
    for certificate in certificates:
        (folder / f"{certificate.key}.json").write_bytes(msgspec.json.encode(certificate))
    return {(c.model, c.backend, c.execution): digest.parity_of(c) for c in certificates}


def _judged(executions: Sequence[Execution]) -> list[Execution]:
    """Return the executions, and those in float64 that they need a certificate of too."""
    float64 = [replace(execution, dtype="float64") for execution in executions]
    return list(dict.fromkeys([*executions, *float64]))


def _time(
    races: Sequence[Race],
    output: Path,
    peaks: dict[int, list[float]],
    request: BenchRequest,
    console: Console,
) -> None:
    began = monotonic()
    with console.status("timing") as status:

        def say(words: str) -> None:
            spent = f"{monotonic() - began:.0f} of {request.budget:.0f} s"
            status.update(f"timing: {spent}: {escape(words)}")

        def begin(race: Race) -> None:
            names = [entrant.task.backend for entrant in race.adapters]
            names += [race.task.rival] if race.task.rival else []
            say(f"{race_name(race.task)}: {', '.join(names)}")

        def end(task: Task, process: int, journal: list[Record]) -> None:
            words = f"{entrant_name(task)}, process {process}: {_ending_words(journal)}"
            say(words)
            if not console.is_terminal:
                console.print(words, markup=False, highlight=False, soft_wrap=True)

        session.run(
            races,
            output / "code.zip",
            peaks,
            budget=request.budget,
            timeout=request.timeout,
            begin=begin,
            end=end,
        )


def _ending_words(journal: list[Record]) -> str:
    status, reason = status_of(ending(journal))
    return status if status == "ok" else f"{status}: {reason}"


def _exit_code(summary: Summary) -> int:
    """Return 1 if a case failed, or a certificate or an audit, or none was measured."""
    failed = any(
        m.status in ("failed", "timeout", "interrupted")
        or (m.status == "ok" and m.parity is not None and not m.comparable)
        for m in summary.measurements
    )
    return int(failed or all(m.status != "ok" for m in summary.measurements))
