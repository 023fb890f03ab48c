"""`bakeoff bench` from the user's end: find, certify, time, report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from importlib.metadata import version
from itertools import product
from pathlib import Path
from time import monotonic

import filelock
from msgspec.structs import replace
from rich.console import Console
from rich.markup import escape

from ...backends.contract import Execution
from ...datasets.loading import cache_folder
from ...models import InputError, sealed
from .. import interrupts
from ..checks import check_execution, check_modes, check_output, check_unique, check_values
from ..environments import machine
from ..environments.code import digest as code_digest
from ..environments.code import write_zip
from ..environments.find import Backend, find_all, find_peers
from ..environments.folders import check_code, check_confined, interpreters, is_own
from ..environments.machine import Machine
from ..parity import digest
from ..parity.certificate import in_a_line
from ..parity.certify import certify
from ..parity.judge import Claim
from ..printing import say
from ..results.status import status_of
from ..results.summary import Audits, Summary
from ..timing import audits, session
from ..timing.aggregate import Certificates, summarize
from ..timing.bench_folder import (
    SCHEMA_VERSION,
    BenchSpec,
    Session,
    check_same,
    inputs_sha256,
    keep,
    read_session,
    read_spec,
    works_sha256,
    write_session,
    write_spec,
)
from ..timing.plan import BenchRequest, entrant_name, race_name, races
from ..timing.race import Race
from ..timing.work import TimedWork, find
from ..worker.files import write_whole
from ..worker.records import Record, ending
from ..worker.task import Task
from ..workload import Named, name_of
from .report import Shown, show
from .run import RESUMED
from .warn import nothing_of, tell, warn


def run(request: BenchRequest, console: Console, *, shown: Shown) -> int:
    """Benchmark and report; return 1 if a case or a certificate failed, or nothing was measured,
    else 0. InputError.

    An interrupt ends the timing; what was timed is reported, and `interrupts.EXIT_CODE` returned.
    """
    check_values(request)
    _check_executions(request)
    check_output(request.output)
    check_unique([name_of(asked) for asked in request.names], "workload")
    works = [find(name, request.data_dir) for name in request.names]
    for work in works:
        warn(work.facts.warnings, console)
    backends = list(_backends(request, console))
    if not backends:
        raise InputError("no backend can run; run: bakeoff install")
    output = request.output.resolve()
    with _exclusive(), _folder(output):
        write_zip(output / "code.zip")
        field = races(request, works, backends, output)
        here = machine.look()  # its load, before there is ours
        write_spec(output, _spec(request, works, backends, here))
        return _bench(request, works, backends, field, here, console, shown=shown)


def resume(
    folder: Path,
    pythons: Mapping[str, Path],
    given: Sequence[str],
    console: Console,
    *,
    shown: Shown,
) -> int:
    """Go on with a benchmark: what was timed is kept; return as `run` does. InputError."""
    if surplus := [word for word in given if word not in RESUMED]:
        raise InputError(
            f"--resume goes on with a benchmark as it was asked; it cannot take {surplus[0]}, "
            "start a new one for that"
        )
    folder = folder.resolve()
    spec = read_spec(folder)
    check_confined(folder)
    check_code(spec.code_sha256, spec.bakeoff_version)
    own = is_own(folder / "bench.toml")
    if spec.rivals == "peers" and (pythons or not own):
        backends = [find_peers(pythons)]
    else:
        backends = interpreters(spec.backends, pythons, partial(tell, console=console), own=own)
    request = spec.request(folder, pythons)
    _check_executions(request)
    works = [find(name, request.data_dir) for name in request.names]
    with _exclusive(), _folder(folder):
        write_zip(folder / "code.zip")
        field = races(request, works, backends, folder)
        check_same(folder, spec, works)
        for line in keep(field):
            tell(f"{line}; its race is run again", console)
        return _bench(request, works, backends, field, spec.machine, console, shown=shown)


def _check_executions(request: BenchRequest) -> None:
    check_modes(request.modes)
    for device, threads in product(request.devices, request.threads):
        check_execution(device, threads)


def _bench(
    request: BenchRequest,
    works: Sequence[TimedWork],
    backends: Sequence[Backend],
    field: Sequence[Race],
    here: Machine,
    console: Console,
    *,
    shown: Shown,
) -> int:
    """Certify, time and report what is not there yet; return the exit code."""
    output = request.output.resolve()
    words = f"benchmark folder: {output}"
    say(console, words)
    how_far = read_session(output)
    certificates: Certificates = {}
    interrupted = False
    try:
        certificates = _certify(request, works, backends, console)
        _time(field, output, how_far, request, console)
    except KeyboardInterrupt:
        if not any(race.was_run for race in field):
            words = f"go on with: bakeoff bench --resume {output}"
            say(console, words)
            raise
        interrupted = True
    found: dict[str, Audits] = {}
    if request.parity:
        with console.status("judging what was noted of the timed blocks"):
            found = audits.judge(field)
    summary = summarize(request, here, works, field, certificates, how_far.peaks, found)
    show(summary, output, console, shown=shown)
    if interrupted:
        done, cases = len(summary.measurements), sum(len(race.adapters) for race in field)
        say(
            console,
            f"interrupted: {done} of {cases} cases were timed; "
            f"go on with: bakeoff bench --resume {output}",
        )
    return interrupts.EXIT_CODE if interrupted else _exit_code(summary, request.rivals)


def _found_again(asked: Named, output: Path) -> str:
    """Return by what a workload or a model is found when the benchmark is gone on with."""
    if isinstance(asked, str):
        return str(Path(asked).resolve()) if asked.endswith(".toml") else asked
    path = output / f"{asked.name}.toml"
    path.write_text(asked.to_toml(), encoding="utf-8")
    return str(path)


def _spec(
    request: BenchRequest, works: Sequence[TimedWork], backends: Sequence[Backend], here: Machine
) -> BenchSpec:
    output = request.output.resolve()
    return BenchSpec(
        schema_version=SCHEMA_VERSION,
        bakeoff_version=version("bakeoff"),
        command=request.command,
        names=[_found_again(asked, output) for asked in request.names],
        modes=request.modes,
        devices=request.devices,
        dtype=request.dtype,
        batch_sizes=request.batch_sizes,
        threads=request.threads,
        phases=request.phases,
        budget=request.budget,
        timeout=request.timeout,
        data_dir=str(request.data_dir.resolve()) if request.data_dir else None,
        parity=request.parity,
        rivals=request.rivals,
        code_sha256=code_digest(),
        works=works_sha256(works),
        inputs=inputs_sha256(output),
        machine=here,
        backends=list(backends),
    )


def _backends(request: BenchRequest, console: Console) -> Iterator[Backend]:
    """Yield what is timed; beside peers that is NumPy, in their environment."""
    if request.rivals != "peers":
        yield from find_all(request.backends, request.pythons, partial(tell, console=console))
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
        for execution in _judged(request.executions(backend))
    ]
    certificates = certify(
        wanted,
        timeout=request.timeout,
        progress=lambda certificate: say(console, in_a_line(certificate)),
    )
    folder = request.output / "certificates"
    folder.mkdir(exist_ok=True)
    for certificate in certificates:
        write_whole(folder / f"{certificate.key}.json", sealed.encode(certificate))
    return {(c.model, c.backend, c.execution): digest.parity_of(c) for c in certificates}


def _judged(executions: Sequence[Execution]) -> list[Execution]:
    """Return the executions, and those in float64 that they need a certificate of too."""
    float64 = [replace(execution, dtype="float64") for execution in executions]
    return list(dict.fromkeys([*executions, *float64]))


def _time(
    races: Sequence[Race],
    output: Path,
    how_far: Session,
    request: BenchRequest,
    console: Console,
) -> None:
    before = how_far.seconds
    began = monotonic() - before
    with console.status("timing") as status:

        def update(words: str) -> None:
            spent = f"{monotonic() - began:.0f} of {request.budget:.0f} s"
            status.update(f"timing: {spent}: {escape(words)}")

        def begin(race: Race) -> None:
            tasks = [entrant.task for entrant in race.adapters]
            names = [f"{task.backend} {task.execution.mode}" for task in tasks]
            names += [race.task.rival] if race.task.rival else []
            update(f"{race_name(race.task)}: {', '.join(names)}")

        def end(task: Task, process: int, journal: list[Record]) -> None:
            how_far.seconds = monotonic() - began
            with suppress(OSError):  # a disk is full: the budget will begin anew
                write_session(output, how_far)
            words = f"{entrant_name(task)}, process {process}: {_ending_words(journal)}"
            update(words)
            if not console.is_terminal:
                say(console, words)

        session.run(
            races,
            output / "code.zip",
            how_far.peaks,
            budget=request.budget,
            timeout=request.timeout,
            begin=begin,
            end=end,
            spent=before,
        )


def _ending_words(journal: list[Record]) -> str:
    status, reason = status_of(ending(journal))
    return status if status == "ok" else f"{status}: {reason}"


def _exit_code(summary: Summary, rivals: str | None) -> int:
    """Return 1 if a case failed, a certificate or an audit, or if no backend was measured on a
    workload, or against any rival, which is said.
    """
    failed = any(
        m.status in ("failed", "timeout", "interrupted")
        or (m.status == "ok" and m.parity is not None and not m.comparable)
        for m in summary.measurements
    )
    nothing = nothing_of(
        (
            f"against {rivals}" if rivals else m.workload,
            m.backend,
            "" if m.status == "ok" else m.reason or m.status,
        )
        for m in summary.measurements
    )
    return int(failed or nothing)
