"""`bakeoff bench` from the user's end: find, certify, time, report."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from statistics import median
from time import monotonic
from typing import Literal

import filelock
import msgspec
from msgspec import Struct, structs
from rich.console import Console
from rich.markup import escape

from ...backends.contract import DType, Execution, Mode
from ...datasets.loading import cache_folder
from ...models import InputError
from .. import environments, machine, plan
from ..code import write_zip
from ..compare import show
from ..environments import Backend
from ..job import worker_variables
from ..machine import Machine
from ..parity import certify, digest
from ..parity.command import found_backends
from ..parity.of_run import in_a_line
from ..records import Phase, Record, ending
from ..results import status_of
from ..stats import bootstrap_median
from ..summary import SCHEMA_VERSION, Parity, Summary
from . import analysis, comparison, session, subjects
from .heat import Case, Heat
from .subjects import Subject
from .task import Task, steps_per_block

NATIVE_SUITE = ("mnist-mlp", "mnist-lenet5", "mnist-convnet", "mnist-rows-lstm")
_UNITS = {"s": 1, "min": 60, "h": 3600}

_ROOT = __package__.partition(".")[0]

Rivals = Literal["native", "peers"]
Certificates = dict[tuple[str, str, Execution], Parity]  # of model, backend, execution


class Request(Struct, frozen=True, kw_only=True):
    """What the user asked. None is the default: every backend found, each workload's own batch."""

    names: tuple[str, ...]
    backends: tuple[str, ...] | None
    pythons: Mapping[str, Path]
    modes: tuple[Mode, ...]
    devices: tuple[str, ...]
    dtype: DType
    batch_sizes: tuple[int, ...] | None
    threads: tuple[int, ...]
    phases: tuple[Phase, ...]
    budget: float
    timeout: float
    data_dir: Path | None
    output: Path
    command: str
    parity: bool = True
    rivals: Rivals | None = None

    @property
    def executions(self) -> list[Execution]:
        """Every combination of threads, device and mode, in this order."""
        return [
            Execution(device, self.dtype, mode, threads)
            for threads in self.threads
            for device in self.devices
            for mode in self.modes
        ]


def seconds_of(text: str) -> float:
    """Return the seconds of `90s`, `10min` or `1h`. Raises InputError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(s|min|h)", text)
    if not found or not float(found[1]):
        raise InputError(f'--budget "{text}": expected a time such as 90s, 10min or 1h')
    return float(found[1]) * _UNITS[found[2]]


def run(request: Request, console: Console, *, as_json: bool) -> int:
    """Benchmark and report; return 1 if a case or a certificate failed, or nothing was measured,
    else 0. InputError.

    An interrupt ends the timing; what was timed is reported, and 130 returned.
    """
    for execution in request.executions:
        plan.check_execution(execution.device, execution.threads)
    plan.check_output(request.output)
    plan.check_unique(list(request.names), "workload")
    found = [subjects.find(name, request.data_dir) for name in request.names]
    backends = list(_backends(request, console))
    if not backends:
        raise InputError("no backend can run; run: bakeoff install")
    output = request.output.resolve()
    with _exclusive(), _folder(output):
        console.print(f"benchmark folder: {output}", highlight=False, soft_wrap=True)
        heats = _heats(request, found, backends, output)
        host = machine.look()  # its load, before there is ours
        certificates = _certify(request, found, backends, console)
        peaks: dict[int, list[float]] = {}
        interrupted = False
        try:
            _time(heats, output, peaks, request, console)
        except KeyboardInterrupt:
            if not any(heat.was_run for heat in heats):
                raise
            interrupted = True
        summary = _summary(request, host, found, heats, certificates, peaks)
        show(summary, output, console, as_json=as_json)
    if interrupted:
        done, cases = len(summary.measurements), sum(len(heat.adapters) for heat in heats)
        console.print(f"interrupted: {done} of {cases} cases were timed")
    return 130 if interrupted else _exit_code(summary)


def _backends(request: Request, console: Console) -> Iterator[Backend]:
    """Yield what is timed; beside peers that is NumPy, in their environment."""
    if request.rivals != "peers":
        yield from found_backends(request.backends, request.pythons, console)
        return
    if request.backends not in (None, ("numpy",)):
        raise InputError(f"--peers measures numpy; it cannot take --backend {request.backends[0]}")
    yield environments.find_peers(request.pythons)


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


def _heats(
    request: Request, found: Sequence[Subject], backends: Sequence[Backend], output: Path
) -> list[Heat]:
    """Return the heats: of all backends on the CPU, whose memory has room for them; of one on a
    device, whose allocators keep what they have; of an adapter and its rival.
    """
    (output / "inputs").mkdir()
    for subject in found:
        subject.write(output / "inputs" / f"{subject.name}.npz")
    tasks = [
        [_task(subject, backend, execution, phase, batch_size) for backend in backends]
        for subject in found
        for phase in request.phases
        for batch_size in request.batch_sizes or (subject.batch_size,)
        for execution in request.executions
    ]
    fields: list[list[Task]] = []
    for equal in tasks:
        if request.rivals:
            fields += [
                _pair(task, rival)
                for task in equal
                for rival in _rivals(request.rivals, task.backend)
            ]
        elif equal[0].execution.device == "cpu":
            fields.append(equal)
        else:
            fields += [[task] for task in equal]
    return [
        Heat([Case(task, output / "cases" / _case_name(task)) for task in field])
        for field in fields
    ]


def _pair(task: Task, rival: str) -> list[Task]:
    return [structs.replace(task, rival=rival, as_rival=is_rival) for is_rival in (False, True)]


def _task(
    subject: Subject,
    backend: Backend,
    execution: Execution,
    phase: Phase,
    batch_size: int,
) -> Task:
    assert backend.python
    return Task(
        name=subject.name,
        model=subject.model,
        backend=backend.name,
        adapter=backend.adapter,
        execution=execution,
        phase=phase,
        batch_size=batch_size,
        steps=steps_per_block(subject.model, phase, batch_size),
        inputs=f"../../../inputs/{subject.name}.npz",
        python=backend.python,
        environment=worker_variables(execution.threads, "../../../code.zip"),
    )


def _case_name(task: Task) -> str:
    names = [_work_name(task), task.backend]
    if task.rival:
        names += [task.rival, "rival" if task.as_rival else "adapter"]
    return "-".join(names)


def _work_name(task: Task) -> str:
    execution = task.execution
    threads = f"{execution.threads}t"
    parts = [task.name, execution.device, execution.mode, threads, task.phase, task.batch_size]
    return "-".join(map(str, parts))


def _rivals(kind: Rivals, backend: str) -> tuple[str, ...]:
    """Return the modules that a backend's adapter is measured against."""
    folder = files(f"{_ROOT}.bench.{kind}")
    names = [file.name.removesuffix(".py") for file in folder.iterdir()]
    if kind == "native":
        return ("native." + backend,) if backend in names else ()
    return tuple(f"peers.{name}" for name in sorted(names) if not name.startswith("__"))


def _certify(
    request: Request, found: Sequence[Subject], backends: Sequence[Backend], console: Console
) -> Certificates:
    """Obtain the certificate of every model, backend and execution, unless none is wanted."""
    if not request.parity:
        return {}
    wanted = [
        certify.Subject(backend, subject.name, subject.probe, execution)
        for subject in found
        for backend in backends
        for execution in request.executions
    ]
    certificates = certify.certify(
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


def _time(
    heats: Sequence[Heat],
    output: Path,
    peaks: dict[int, list[float]],
    request: Request,
    console: Console,
) -> None:
    began = monotonic()
    with console.status("timing") as status:

        def say(words: str) -> None:
            spent = f"{monotonic() - began:.0f} of {request.budget:.0f} s"
            status.update(f"timing: {spent}: {escape(words)}")

        def begin(heat: Heat) -> None:
            names = [case.task.backend for case in heat.adapters]
            names += [heat.task.rival] if heat.task.rival else []
            say(f"{_work_name(heat.task)}: {', '.join(names)}")

        def end(task: Task, process: int, found: list[Record]) -> None:
            words = f"{_case_name(task)}, process {process}: {_ending_words(found)}"
            say(words)
            if not console.is_terminal:
                console.print(words, markup=False, highlight=False, soft_wrap=True)

        session.run(
            heats,
            output / "code.zip",
            peaks,
            budget=request.budget,
            timeout=request.timeout,
            begin=begin,
            end=end,
        )


def _ending_words(found: list[Record]) -> str:
    status, reason = status_of(ending(found))
    return status if status == "ok" else f"{status}: {reason}"


def _summary(
    request: Request,
    host: Machine,
    found: Sequence[Subject],
    heats: Sequence[Heat],
    certificates: Certificates,
    peaks: Mapping[int, list[float]],
) -> Summary:
    run = [heat for heat in heats if heat.was_run]
    timed = [
        analysis.measurement(
            case.task,
            case.processes,
            rivals=heat.rivals,
            peak=median(peaks[case.task.execution.threads]),
            parity=certificates.get((case.task.name, case.task.backend, case.task.execution)),
        )
        for heat in run
        for case in heat.adapters
    ]
    timed = comparison.with_cliffs(comparison.with_overheads(timed))
    comparisons = list(comparison.between_backends(timed))
    if request.rivals:
        comparisons = [
            ratio
            for heat, measured in zip(run, timed, strict=True)
            if measured.comparable and (ratio := comparison.with_rival(heat, request.rivals))
        ]
    return Summary(
        schema_version=SCHEMA_VERSION,
        bakeoff_version=version("bakeoff"),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=request.command,
        machine=host,
        workloads=[subject.facts for subject in found],
        rows=[],
        measurements=timed,
        comparisons=comparisons,
        peaks={str(n): bootstrap_median([[peak] for peak in found]) for n, found in peaks.items()},
    )


def _exit_code(summary: Summary) -> int:
    """Return 1 if a case failed, or a certificate, or none was measured."""
    failed = any(
        m.status in ("failed", "timeout", "interrupted")
        or (m.parity is not None and m.parity.verdict in ("fail", "error"))
        for m in summary.measurements
    )
    return int(failed or all(m.status != "ok" for m in summary.measurements))
