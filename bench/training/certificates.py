"""The certificates of a run: obtained before it is timed, kept in its folder, one per row."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from ...backends import modes
from ...backends.contract import DType, Execution, Mode
from ...datasets.dataset import Dataset
from ...models import sealed
from ..environments.find import Backend
from ..parity import probes
from ..parity.certificate import Certificate, in_a_line
from ..parity.certify import certify, changed
from ..parity.judge import Claim
from ..printing import say
from ..worker.evidence import Probe
from ..worker.files import read_whole, remove, write_whole
from .plan import RunRequest, Work
from .run_folder import RunSpec

_STEPS = 20


def certify_run(
    folder: Path, spec: RunSpec, datasets: Mapping[str, Dataset], console: Console
) -> None:
    """Obtain and keep the certificate of every row of a run that has none that still holds."""
    wanted = {path: row for path, row in _rows(folder, spec).items() if not _holds(path, row)}
    claims = _claims(spec, datasets, wanted)

    def progress(certificate: Certificate) -> None:
        say(console, in_a_line(certificate))

    certificates = certify(list(claims.values()), timeout=spec.timeout, progress=progress)
    for path, certificate in zip(claims, certificates, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        remove(path)
        write_whole(path, sealed.encode(certificate))


def prepay(request: RunRequest, work: Work, backend: Backend) -> None:
    """Obtain what certificates a run will want of a backend, for `certify_run` to find."""
    claims = [
        Claim(
            backend,
            w.name,
            probes.of_workload(w.model, dataset, _STEPS),
            Execution(request.device, dtype, mode, request.threads),
        )
        for w, dataset in work
        for mode in modes(backend.adapter, request.modes)
        for dtype in _dtypes(request.dtype)
    ]
    # Here, as the next backend's are of the same nets; other cores have environments to make.
    few = len(claims)
    certify(claims, timeout=request.timeout, few=few, progress=lambda certificate: None)


def read(folder: Path, work: str, backend: str, mode: str, dtype: str) -> Certificate | None:
    """Return the certificate of a row in a dtype, if it has one. ValueError if it is damaged."""
    path = _path(folder, work, backend, mode, dtype)
    return _decode(path, (work, backend, mode, dtype)) if path.exists() else None


def _decode(path: Path, row: tuple[str, str, str, str]) -> Certificate:
    try:
        certificate = sealed.decode(read_whole(path), Certificate)
        execution = certificate.execution
        found = certificate.model, certificate.backend, execution.mode, execution.dtype
        if found != row:
            raise ValueError(f"it is of {' '.join(found)}")
    except (OSError, ValueError) as error:
        name = "/".join(path.parts[-3:])
        raise ValueError(f"{name} is damaged: {' '.join(str(error).split())}") from None
    return certificate


def _holds(path: Path, row: tuple[str, str, str, str]) -> bool:
    """Say whether there is a certificate of a row, for an adapter that is what it was."""
    try:
        return path.exists() and not changed(_decode(path, row))
    except ValueError:
        return False


def _path(folder: Path, work: str, backend: str, mode: str, dtype: str) -> Path:
    return folder / "certificates" / work / f"{backend}-{mode}-{dtype}.json"


_Wanted = dict[Path, tuple[str, str, Mode, DType]]


def _rows(folder: Path, spec: RunSpec) -> _Wanted:
    """Return (workload, backend, mode, dtype) of every row that can run, by its path."""
    return {
        _path(folder, facts.name, backend.name, mode, dtype): (
            facts.name,
            backend.name,
            mode,
            dtype,
        )
        for facts in spec.workloads
        for backend in spec.backends
        if backend.python
        for mode in spec.modes[backend.name]
        for dtype in _dtypes(spec.dtype)
    }


def _dtypes(own: DType) -> list[DType]:
    """Return in which dtypes a row is certified: its own, and float64, as what is small against its
    own rounding is not small there.
    """
    return list(dict.fromkeys([own, "float64"]))


def _claims(spec: RunSpec, datasets: Mapping[str, Dataset], wanted: _Wanted) -> dict[Path, Claim]:
    claims = {}
    drawn: dict[str, Probe] = {}
    models = {planned.workload.name: planned.workload.model for planned in spec.planned}
    backends = {backend.name: backend for backend in spec.backends}
    for path, (work, name, mode, dtype) in wanted.items():
        if work not in drawn:
            drawn[work] = probes.of_workload(models[work], datasets[work], _STEPS)
        execution = Execution(spec.device, dtype, mode, spec.threads)
        claims[path] = Claim(backends[name], work, drawn[work], execution)
    return claims
