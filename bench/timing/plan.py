"""What the user asked of a benchmark, and who runs in which race."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct, field, structs

from ...backends import modes, name_of
from ...backends.contract import AskedMode, DType, Execution
from ...models import InputError
from ...models.shapes import PositiveInt
from ..checks import command_line
from ..environments.find import Backend
from ..environments.process import worker_variables
from ..results.speeds import is_by_mode
from ..worker.files import sha256
from ..worker.records import Phase
from ..worker.task import Task, steps_per_block
from ..workload import Named
from .race import Entrant, Race
from .work import TimedWork

NATIVE_SUITE = ("mnist-mlp", "mnist-lenet5", "mnist-convnet", "mnist-rows-lstm")
_UNITS = {"s": 1, "min": 60, "h": 3600}

_ROOT = __package__.partition(".")[0]

Rivals = Literal["native", "peers"]
_SOME = Meta(min_length=1)


class BenchRequest(Struct, frozen=True, kw_only=True):
    """What the user asked. None is the default: every backend found, each workload's own batch."""

    names: tuple[Named, ...]
    backends: Annotated[tuple[str, ...], _SOME] | None
    pythons: Mapping[str, Path]
    modes: Annotated[tuple[AskedMode, ...], _SOME]
    devices: Annotated[tuple[str, ...], _SOME]
    dtype: DType
    batch_sizes: Annotated[tuple[PositiveInt, ...], _SOME] | None
    threads: Annotated[tuple[PositiveInt, ...], _SOME]
    phases: Annotated[tuple[Phase, ...], _SOME]
    budget: float
    timeout: Annotated[float, Meta(ge=0.1)]
    data_dir: Path | None
    output: Path
    parity: bool = True
    rivals: Rivals | None = None
    command: str = field(default_factory=command_line)

    def executions(self, backend: Backend) -> list[Execution]:
        """Return every combination of threads, device and mode of a backend, in this order."""
        return [
            Execution(device, self.dtype, mode, threads)
            for threads in self.threads
            for device in self.devices
            for mode in modes(backend.adapter, self.modes)
        ]


def rivals_asked(native: bool, peers: bool, phases: Sequence[Phase]) -> Rivals | None:
    """Return which rivals the adapters race against. Raises InputError."""
    if native and peers:
        raise InputError("--against-native and --peers are two benchmarks; give one of them")
    if (native or peers) and "infer" in phases:
        given = ",".join(phases)
        raise InputError(f'--phase "{given}": native loops and peers only train; leave it out')
    return "native" if native else "peers" if peers else None


def seconds_of(text: str) -> float:
    """Return the seconds of `90s`, `10min` or `1h`. Raises InputError."""
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]+)?)(s|min|h)", text)
    if not match or not float(match[1]):
        raise InputError(f'--budget "{text}": expected a time such as 90s, 10min or 1h')
    return float(match[1]) * _UNITS[match[2]]


def races(
    request: BenchRequest, works: Sequence[TimedWork], backends: Sequence[Backend], output: Path
) -> list[Race]:
    """Return the races: of all backends on the CPU, whose memory has room for them; of one on a
    device, whose allocators keep what they have; of an adapter and its rival.
    """
    (output / "inputs").mkdir(exist_ok=True)
    hashes = {}
    for work in works:
        path = output / "inputs" / f"{work.name}.npz"
        work.write(path)
        hashes[work.name] = sha256(path)
    tasks = [
        [
            _task(work, hashes[work.name], backend, execution, phase, batch_size)
            for backend, execution in together
        ]
        for work in works
        for phase in request.phases
        for batch_size in request.batch_sizes or (work.batch_size,)
        for together in _together(request, backends)
    ]
    fields: list[list[Task]] = []
    for equal in tasks:
        if request.rivals:
            fields += [
                _pair(task, rival)
                for task in equal
                for rival in _rivals(request.rivals, task.adapter)
            ]
        elif equal[0].execution.device == "cpu":
            fields.append(equal)
        else:
            fields += [[task] for task in equal]
    return [
        Race([Entrant(task, output / "cases" / entrant_name(task)) for task in field])
        for field in fields
    ]


def _together(
    request: BenchRequest, backends: Sequence[Backend]
) -> list[list[tuple[Backend, Execution]]]:
    """Return which executions of which backends are compared with each other."""
    groups: dict[tuple[int, str, str], list[tuple[Backend, Execution]]] = {}
    for backend in backends:
        for execution in request.executions(backend):
            mode = execution.mode if is_by_mode(request.modes) else ""
            key = execution.threads, execution.device, mode
            groups.setdefault(key, []).append((backend, execution))
    return list(groups.values())


def _pair(task: Task, rival: str) -> list[Task]:
    return [structs.replace(task, rival=rival, as_rival=is_rival) for is_rival in (False, True)]


def _task(
    work: TimedWork,
    inputs_sha256: str,
    backend: Backend,
    execution: Execution,
    phase: Phase,
    batch_size: int,
) -> Task:
    assert backend.python
    return Task(
        name=work.name,
        model=work.model,
        backend=backend.name,
        adapter=backend.adapter,
        execution=execution,
        phase=phase,
        batch_size=batch_size,
        steps=steps_per_block(work.model, phase, batch_size),
        inputs=f"../../../inputs/{work.name}.npz",
        inputs_sha256=inputs_sha256,
        python=backend.python,
        environment=worker_variables(execution.threads, "../../../code.zip"),
    )


def entrant_name(task: Task) -> str:
    names = [race_name(task), task.backend, task.execution.mode]
    if task.rival:
        names += [task.rival, "rival" if task.as_rival else "adapter"]
    return "-".join(names)


def race_name(task: Task) -> str:
    execution = task.execution
    threads = f"{execution.threads}t"
    parts = [task.name, execution.device, threads, task.phase, task.batch_size]
    return "-".join(map(str, parts))


def _rivals(kind: Rivals, adapter: str) -> tuple[str, ...]:
    """Return the modules that an adapter is measured against, by the name of its framework."""
    name = name_of(Path(adapter)) if adapter.endswith(".py") else adapter.rpartition(".")[2]
    folder = files(f"{_ROOT}.bench.rivals.{kind}")
    names = [file.name.removesuffix(".py") for file in folder.iterdir()]
    if kind == "native":
        name = name.replace("-", "_")
        return (f"native.{name}",) if name in names else ()
    return tuple(f"peers.{each}" for each in sorted(names) if not each.startswith("__"))
