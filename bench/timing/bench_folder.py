"""The folder of a benchmark: what was asked (`bench.toml`), how far it is (`session.json`), and how
one that was stopped goes on.

Entrants that take turns are measured by their neighbours' turns, so they are kept or timed again
together. Of a race that was run a few times, each time in fresh processes, the times in which every
one of them finished, or was refused, are kept, up to the first in which one did not; from there on
it is run again. The budget goes on where it stood.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from ...backends.contract import AskedMode, DType
from ...models import InputError, sealed
from ..environments import folders
from ..environments.find import Backend
from ..environments.machine import Machine
from ..worker import records
from ..worker.files import damage, remove, sha256, write_whole
from ..worker.records import Measured, Phase, Record, Refused
from .plan import BenchRequest, Rivals
from .race import Entrant, Race
from .work import TimedWork

SCHEMA_VERSION = 1


class BenchSpec(Struct, frozen=True, kw_only=True):
    """`bench.toml`: what was asked, resolved. `works` has the hash of each model or workload with
    its data, by name, `inputs` that of the file of its arrays.
    """

    schema_version: int
    bakeoff_version: str
    command: str
    names: list[str]
    modes: tuple[AskedMode, ...]
    devices: tuple[str, ...]
    dtype: DType
    batch_sizes: tuple[int, ...] | None = None
    threads: tuple[int, ...]
    phases: tuple[Phase, ...]
    budget: float
    timeout: float
    data_dir: str | None = None
    parity: bool
    rivals: Rivals | None = None
    code_sha256: str
    works: dict[str, str]
    inputs: dict[str, str]
    machine: Machine
    backends: list[Backend]

    def request(self, output: Path, pythons: Mapping[str, Path]) -> BenchRequest:
        """Return what was asked."""
        return BenchRequest(
            names=tuple(self.names),
            backends=tuple(backend.name for backend in self.backends),
            pythons=pythons,
            modes=self.modes,
            devices=self.devices,
            dtype=self.dtype,
            batch_sizes=self.batch_sizes,
            threads=self.threads,
            phases=self.phases,
            budget=self.budget,
            timeout=self.timeout,
            data_dir=Path(self.data_dir) if self.data_dir else None,
            output=output,
            parity=self.parity,
            rivals=self.rivals,
            command=self.command,
        )


class Session(Struct):
    """How far a benchmark is: the seconds that it has timed, and the SGEMM peaks by threads."""

    seconds: float = 0.0
    peaks: dict[int, list[float]] = {}


def write_spec(folder: Path, spec: BenchSpec) -> None:
    """Write `bench.toml`, and remember that it was written on this machine."""
    folders.write_asked(folder / "bench.toml", spec)


def read_spec(folder: Path) -> BenchSpec:
    """Read `bench.toml`. Raises InputError."""
    path = folder / "bench.toml"
    if not path.is_file():
        raise InputError(
            f"{folder} is not a benchmark that can go on: it has no bench.toml; "
            "give a folder made by bakeoff bench"
        )
    return folders.read_asked(path, BenchSpec, SCHEMA_VERSION, _check_names, what="benchmark")


def _check_names(spec: BenchSpec) -> None:
    folders.check_names([*(backend.name for backend in spec.backends), *spec.works])


def read_session(folder: Path) -> Session:
    """Read how far a benchmark is; one without a readable word of it is at its beginning."""
    try:
        return sealed.decode((folder / "session.json").read_bytes(), Session)
    except (OSError, ValueError):
        return Session()


def write_session(folder: Path, session: Session) -> None:
    """Write how far it is."""
    write_whole(folder / "session.json", sealed.encode(session))


def works_sha256(works: Sequence[TimedWork]) -> dict[str, str]:
    """Return the hash of what each work is, less its arrays."""
    return {
        work.name: hashlib.sha256(
            msgspec.json.encode([work.model, work.batch_size, work.facts], order="sorted")
        ).hexdigest()
        for work in works
    }


def inputs_sha256(folder: Path) -> dict[str, str]:
    """Return the hash of the arrays of each work."""
    return {path.stem: sha256(path) for path in sorted((folder / "inputs").glob("*.npz"))}


def check_same(folder: Path, spec: BenchSpec, works: Sequence[TimedWork]) -> None:
    """Raise InputError if a work or its arrays are not what they were."""
    now = works_sha256(works), inputs_sha256(folder)
    for then, found in zip((spec.works, spec.inputs), now, strict=True):
        for name in sorted(then.keys() | found.keys()):
            if then.get(name) != found.get(name):
                raise InputError(
                    f"{name}, or its data, has changed since {folder} was made; start anew"
                )


def keep(races: Sequence[Race]) -> list[str]:
    """Give every race what was kept of it, and remove the rest; return a line of each damage."""
    return [line for race in races for line in _keep(race)]


def _keep(race: Race) -> list[str]:
    damaged = []
    number = 0
    while entrants := race.alive:
        journals = []
        for entrant in entrants:
            process = entrant.folder / str(number)
            journal, wrong = _read(process)
            if wrong:
                damaged.append(f"cases/{entrant.folder.name}/{number} is damaged: {wrong}")
            journals.append(journal)
        if not all(journals):
            break
        for entrant, journal in zip(entrants, journals, strict=True):
            entrant.processes.append(journal)
        number += 1
    for entrant in race.entrants:
        _remove_from(entrant, len(entrant.processes))
    return damaged


def _read(process: Path) -> tuple[list[Record], str]:
    """Return the journal of a process that finished or was refused, else an empty one; and what is
    damaged.
    """
    if not process.exists():
        return [], ""
    try:
        journal = records.read(process / "records.jsonl")
    except (OSError, ValueError) as error:
        return [], f"records.jsonl: {error}"
    end = records.ending(journal)
    if not isinstance(end, Measured | Refused):
        return [], ""
    if isinstance(end, Measured) and (wrong := damage(process, end.files)):
        return [], wrong
    return journal, ""


def _remove_from(entrant: Entrant, number: int) -> None:
    if not entrant.folder.is_dir():
        remove(entrant.folder)
        return
    for process in entrant.folder.iterdir():
        if not process.name.isdecimal() or int(process.name) >= number:
            remove(process)
