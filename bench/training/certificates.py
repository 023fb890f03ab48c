"""The certificates of a run: obtained before it is timed, kept in its folder, one per row."""

from __future__ import annotations

from pathlib import Path

import msgspec
from msgspec.structs import replace
from rich.console import Console

from ...backends.contract import DType, Mode
from ...datasets.dataset import open_dataset
from ..parity import probes
from ..parity.certificate import Certificate, in_a_line
from ..parity.certify import certify, changed
from ..parity.judge import Claim
from ..worker import job
from ..worker.evidence import Probe
from .run_folder import RunSpec, job_name, read_run

_STEPS = 20


def certify_run(folder: Path, console: Console) -> None:
    """Obtain and keep the certificate of every row of a run that has none that still holds."""
    spec = read_run(folder)
    wanted = {path: name for path, name in _rows(folder, spec).items() if not _holds(path)}
    claims = _claims(folder, spec, wanted)

    def progress(certificate: Certificate) -> None:
        console.print(in_a_line(certificate), markup=False, highlight=False, soft_wrap=True)

    certificates = certify(list(claims.values()), timeout=spec.timeout, progress=progress)
    for path, certificate in zip(claims, certificates, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.encode(certificate))


def read(folder: Path, work: str, backend: str, mode: str, dtype: str) -> Certificate | None:
    """Return the certificate of a row in a dtype, if it has one."""
    path = _path(folder, work, backend, mode, dtype)
    if not path.exists():
        return None
    return _decode(path)


def _decode(path: Path) -> Certificate:
    return msgspec.json.decode(path.read_bytes(), type=Certificate)


def _holds(path: Path) -> bool:
    """Say whether there is a certificate, for an adapter that is what it was.

    Code of ours may be another by now: a run goes on with that of its own zip.
    """
    return path.exists() and not any(Path(name).is_absolute() for name in changed(_decode(path)))


def _path(folder: Path, work: str, backend: str, mode: str, dtype: str) -> Path:
    return folder / "certificates" / work / f"{backend}-{mode}-{dtype}.json"


_Wanted = dict[Path, tuple[str, str, Mode, DType]]


def _rows(folder: Path, spec: RunSpec) -> _Wanted:
    """Return (workload, backend, mode, dtype) of every row that can run, by its certificate's path.

    A row in another dtype needs one in float64 too: what is small against its own rounding is not
    small there.
    """
    dtypes: list[DType] = ["float64"]
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
        for mode in spec.modes
        for dtype in dict.fromkeys([spec.dtype, *dtypes])
    }


def _claims(folder: Path, spec: RunSpec, wanted: _Wanted) -> dict[Path, Claim]:
    claims = {}
    drawn: dict[str, Probe] = {}
    backends = {backend.name: backend for backend in spec.backends}
    for path, (work, name, mode, dtype) in wanted.items():
        what = job.read(folder / "jobs" / job_name(work, name, mode, spec.seeds[0]))
        if work not in drawn:
            dataset = open_dataset(Path(what.dataset))
            drawn[work] = probes.of_workload(what.model, dataset, _STEPS)
        execution = replace(what.execution, dtype=dtype)
        claims[path] = Claim(backends[name], work, drawn[work], execution)
    return claims
