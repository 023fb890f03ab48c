"""Obtain certificates: from the cache, or from backends, each asked in its own interpreter.

A certificate is cached under the hash of all that it depends on: the code that computes and judges,
the adapter, every package of the interpreter, the model, the data, the execution; and the CPU and
the variables of the environment by which libraries choose their kernels. It holds as long as every
other file that the backend's process had loaded, outside of installed packages, is what it was.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from queue import Queue
from threading import Event
from time import monotonic, sleep

import msgspec
import psutil

from ...backends import NAMES, source_folders
from ...datasets.loading import cache_folder
from ...models import sealed
from ..environments import machine
from ..environments.code import write_zip
from ..environments.find import packages
from ..environments.process import cause_of_death, started, worker_variables
from ..worker import evidence
from ..worker.files import write_whole
from ..worker.probe import Answer, Question, Questions, write
from .certificate import SCHEMA_VERSION, Certificate
from .judge import Claim, judge
from .judges import judges

_POLL_SECONDS = 0.02
_TEMPORARY = "bakeoff-parity-"
_FEW = 3  # certificates that are judged in this process
_ROOT = __package__.partition(".")[0]
# The code that every certificate depends on; the probes are hashed as they are drawn.
_JUDGING = {
    "models": "**/*.py",
    "backends": "*.py reference/*.py",
    "bench.parity": "**/*.py mutants/*.toml",
    "bench.worker": "evidence.py files.py probe.py",
}

Progress = Callable[[Certificate], None]


def certify(
    claims: list[Claim],
    *,
    timeout: float,
    use_cache: bool = True,
    few: int = _FEW,
    progress: Progress,
) -> list[Certificate]:
    """Return the certificate of every claim, in order; `progress` gets each when it is there.

    `timeout` is how many seconds a backend may be silent; so `few` are judged in this process, and
    share what was measured of their nets with those that it judged before. Raises nothing for a
    backend's failure: its certificate says what happened.
    """
    keys = _keys(claims)
    certificates: dict[int, Certificate] = {}
    for index, key in enumerate(keys):
        if use_cache and (cached := _cached(key)) and not changed(cached):
            certificates[index] = cached
            progress(cached)
    missing = [(i, claim) for i, claim in enumerate(claims) if i not in certificates]
    for index, certificate in _ask(missing, keys, timeout, few):
        certificates[index] = certificate
        if certificate.verdict != "error":
            _store(certificate)
        progress(certificate)
    return [certificates[index] for index in range(len(claims))]


def changed(certificate: Certificate) -> list[str]:
    """Return which of the files that a certificate was earned with are not what they were."""
    return [name for name, digest in certificate.sources.items() if _sha256(name) != digest]


def _sha256(source: str) -> str:
    """Return the hash of a file, by its path, or, if it is of ours, from the root of the zip."""
    try:
        if Path(source).is_absolute():
            return hashlib.sha256(Path(source).read_bytes()).hexdigest()
        _, package, *inside = source.split("/")
        resource = files(f"{_ROOT}.{package}").joinpath(*inside)
        return hashlib.sha256(resource.read_bytes()).hexdigest()
    except (OSError, ImportError):
        return "gone"


def _keys(claims: list[Claim]) -> list[str]:
    """Return the hash of all that each certificate depends on."""
    code, here = _code_hash(), machine.look()
    pythons = sorted({claim.backend.python or "" for claim in claims})
    with ThreadPoolExecutor() as pool:
        of_python = dict(zip(pythons, pool.map(packages, pythons), strict=True))
    probes = {id(claim.probe): evidence.digest(claim.probe) for claim in claims}
    keys = []
    for claim in claims:
        parts = [
            SCHEMA_VERSION,
            code,
            _adapter_hash(claim.backend.adapter),
            of_python[claim.backend.python or ""],
            here.cpu,
            sorted(here.variables.items()),
            probes[id(claim.probe)],
            claim.execution,
            claim.name,
            claim.backend.name,
        ]
        keys.append(hashlib.sha256(msgspec.json.encode(parts)).hexdigest())
    return keys


def _code_hash() -> str:
    digest = hashlib.sha256()
    for package, patterns in _JUDGING.items():
        folder = Path(str(files(f"{_ROOT}.{package}") / "__init__.py")).parent
        for pattern in patterns.split():
            for source in sorted(folder.glob(pattern)):
                digest.update(source.read_bytes())
    return digest.hexdigest()


def _adapter_hash(adapter: str) -> str:
    """A module of somebody's own is known by its package's version alone."""
    digest = hashlib.sha256()
    if adapter in NAMES:
        for folder in source_folders(adapter):
            for source in sorted(folder.rglob("*.py")):
                digest.update(source.read_bytes())
    else:
        digest.update(Path(adapter).read_bytes() if adapter.endswith(".py") else adapter.encode())
    return digest.hexdigest()


def _folder() -> Path:
    return cache_folder() / "certificates"


def _cached(key: str) -> Certificate | None:
    with suppress(OSError, ValueError):
        return sealed.decode((_folder() / f"{key}.json").read_bytes(), Certificate)
    return None


def _store(certificate: Certificate) -> None:
    """Keep a certificate for the next time; a cache that cannot be written is no error."""
    path = _folder() / f"{certificate.key}.json"
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, sealed.encode(certificate))


_Asked = list[tuple[int, Claim]]


def _ask(
    asked: _Asked, keys: list[str], timeout: float, few: int
) -> Iterator[tuple[int, Certificate]]:
    """Ask the backends, as many at once as there are cores for; judge what comes, in processes."""
    if not asked:
        return
    together: dict[str, _Asked] = {}  # what one process can be asked: its threads are for life
    for index, claim in asked:
        folder = f"{claim.backend.name}-{claim.execution.threads}"
        together.setdefault(folder, []).append((index, claim))
    _remove_what_the_dead_left()
    answers: Queue[tuple[int, Path]] = Queue()
    stop = Event()
    threads = max(claim.execution.threads for _, claim in asked)
    cores = max(1, machine.usable_cores() // threads)
    claims = dict(asked)
    with (
        tempfile.TemporaryDirectory(prefix=f"{_TEMPORARY}{os.getpid()}-") as name,
        judges(len(asked), few=few) as executor,
        ThreadPoolExecutor(cores) as pool,
    ):
        write_zip(Path(name, "code.zip"))
        try:
            workers = [
                pool.submit(_Interview(Path(name, folder), of_it, answers, timeout, stop).hold)
                for folder, of_it in together.items()
            ]
            verdicts: dict[int, Future[Certificate]] = {}
            pending = set(claims)
            while pending or verdicts:
                while not answers.empty():
                    index, path = answers.get()
                    pending.discard(index)
                    verdicts[index] = executor.submit(judge, claims[index], keys[index], path)
                for index in [index for index, verdict in verdicts.items() if verdict.done()]:
                    yield index, verdicts.pop(index).result()
                for worker in workers:
                    if worker.done():
                        worker.result()  # raises what went wrong in this process itself
                sleep(_POLL_SECONDS)
        finally:
            stop.set()


def _remove_what_the_dead_left() -> None:
    """Remove the folders of processes that were killed before they could."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_TEMPORARY}*-*"):
        owner = folder.name.removeprefix(_TEMPORARY).partition("-")[0]
        if owner.isdecimal() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)


class _Interview:
    """All questions to one backend: its tasks, its workers one after another, their answers."""

    def __init__(
        self,
        folder: Path,
        asked: _Asked,
        answers: Queue[tuple[int, Path]],
        timeout: float,
        stop: Event,
    ) -> None:
        self._folder, self._answers, self._timeout, self._stop = folder, answers, timeout, stop
        self._open = {str(index): index for index, _ in asked}
        self._backend = asked[0][1].backend
        self._threads = asked[0][1].execution.threads
        folder.mkdir()
        probes: dict[int, str] = {}
        tasks = []
        for index, claim in asked:
            probe = probes.setdefault(id(claim.probe), f"probe-{index}.npz")
            if not (folder / probe).exists():
                evidence.write(claim.probe, folder / probe)
            tasks.append(Question(str(index), claim.probe.model, probe, claim.execution))
        work = Questions(self._backend.adapter, tasks)
        (folder / "questions.json").write_bytes(msgspec.json.encode(work))

    def hold(self) -> None:
        """Start workers until every task is answered; a task that killed its worker is told so."""
        while self._open and not self._stop.is_set():
            before = len(self._open)
            reason = self._follow()
            for task in list(self._open):
                if (self._folder / f"{task}.begun").exists():
                    self._give_up(task, reason)
            if len(self._open) == before:  # it died before it began anything
                for task in list(self._open):
                    self._give_up(task, reason)

    def _give_up(self, task: str, reason: str) -> None:
        write(Answer("error", reason), self._folder / f"{task}.json")
        self._collect()

    def _follow(self) -> str:
        """Run one worker and pass on its answers; return what its death means, if it died."""
        assert self._backend.python
        variables = worker_variables(self._threads, str(self._folder.parent / "code.zip"))
        command = [self._backend.python, "-P", "-m", f"{_ROOT}.bench.worker.probe", "."]
        heard = monotonic()
        with started(command, self._folder, variables) as process:
            while process.poll() is None:
                if self._collect():
                    heard = monotonic()
                if self._stop.is_set():
                    return "stopped"
                if monotonic() - heard > self._timeout:
                    return f"timed out after {self._timeout:g} s"
                sleep(_POLL_SECONDS)
        self._collect()
        log = (self._folder / "log.txt").read_text(encoding="utf-8", errors="replace")
        lines = log.strip().splitlines()
        if process.returncode > 0 and lines:
            return lines[-1]
        return cause_of_death(process.returncode)

    def _collect(self) -> bool:
        new = [task for task in self._open if (self._folder / f"{task}.json").exists()]
        for task in new:
            self._answers.put((self._open.pop(task), self._folder / f"{task}.json"))
        return bool(new)
