"""`bakeoff parity` from the user's end: find backends, obtain certificates, print and draw them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Annotated

import msgspec
from msgspec import Meta, Struct
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ...backends import modes
from ...backends.contract import AskedMode, DType, Execution
from ...datasets import load
from ...models import InputError, Model
from ...models.shapes import PositiveInt
from .. import workload
from ..checks import check_execution, check_modes, check_output, check_unique, check_values
from ..environments.find import find_all
from ..parity import probes
from ..parity.certificate import Certificate, Rung, in_a_line, in_words
from ..parity.certify import certify
from ..parity.judge import Claim
from ..parity.ladder import RungName
from ..parity.noise import MULTIPLE
from ..printing import say, write_json
from ..worker.evidence import Probe
from ..workload import Named
from .warn import nothing_of, tell, warn

_HEADINGS: dict[RungName, str] = {  # in 80 characters; `weights` is equal or a failure
    "forward": "forward",
    "loss": "loss",
    "gradients": "grads",
    "step": "step",
    "trajectory": "traj.",
    "evaluation": "eval.",
}
_VERDICTS = {"pass": "green", "fail": "red", "error": "red", "unsupported": "yellow"}


_SOME = Meta(min_length=1)


class ParityRequest(Struct, frozen=True, kw_only=True):
    """What the user asked. `names` are workloads, or models, which are probed with random data."""

    names: tuple[Named, ...]
    backends: Annotated[tuple[str, ...], _SOME] | None
    pythons: Mapping[str, Path]
    dtypes: Annotated[tuple[DType, ...], _SOME]
    modes: Annotated[tuple[AskedMode, ...], _SOME]
    device: str
    threads: PositiveInt
    steps: Annotated[int, Meta(ge=3)]
    timeout: Annotated[float, Meta(ge=0.1)]
    data_dir: Path | None
    use_cache: bool
    output: Path | None


def run(request: ParityRequest, console: Console, *, as_json: bool) -> int:
    """Certify and report; return 1 if a certificate fails, or none passes, else 0. InputError."""
    began = monotonic()
    certificates = certify_all(request, console)
    if as_json:
        write_json(certificates)
    else:
        _print(certificates, console)
        spent = monotonic() - began
        console.print(f"{_count(certificates)}; {spent:.1f} s", highlight=False)
    if request.output:
        _write(certificates, request.output, console)
    nothing = nothing_of(
        (c.model, c.backend, "" if c.verdict in ("pass", "fail") else c.reason or c.verdict)
        for c in certificates
    )
    verdicts = {certificate.verdict for certificate in certificates}
    return int(nothing or bool(verdicts & {"fail", "error"}))


def certify_all(request: ParityRequest, console: Console) -> list[Certificate]:
    """Return the certificate of everything that was asked. Raises InputError."""
    check_values(request)
    check_unique([workload.name_of(asked) for asked in request.names], "workload or model")
    check_execution(request.device, request.threads)
    check_modes(request.modes)
    if request.output:
        check_output(request.output)
    asked = {
        workload.name_of(each): probe(each, request.steps, request.data_dir)
        for each in request.names
    }
    for name, judged in asked.items():
        warn((f"{name}: {line}" for line in judged.model.warnings), console)
    missing = partial(tell, console=console)
    backends = list(find_all(request.backends, request.pythons, missing))
    claims = [
        Claim(backend, name, asked[name], Execution(request.device, dtype, mode, request.threads))
        for name in asked
        for backend in backends
        for dtype in request.dtypes
        for mode in modes(backend.adapter, request.modes)
    ]
    return _certify(claims, request, console)


def self_test(console: Console) -> int:
    """Test the comparison itself, with mutants; return 1 if it misses one, else 0."""
    from ..parity.mutants.selftest import print_self_test

    return print_self_test(console)


def probe(name: Named, steps: int, data_dir: Path | None) -> Probe:
    """Return the probe of a workload, or of a model. InputError if there is neither."""
    work = workload.find(name)
    if isinstance(work, Model):
        return probes.of_model(work, steps)
    dataset = load(work.dataset, data_dir=data_dir)
    workload.check(work, dataset)
    return probes.of_workload(work.model, dataset, steps)


def _certify(claims: list[Claim], request: ParityRequest, console: Console) -> list[Certificate]:
    done = 0
    with console.status("certifying") as status:

        def progress(certificate: Certificate) -> None:
            nonlocal done
            done += 1
            execution = certificate.execution
            what = f"{certificate.backend} {certificate.model} {execution.dtype} {execution.mode}"
            status.update(f"certifying: {done} of {len(claims)}, {escape(what)}")
            if not console.is_terminal:
                line = in_a_line(certificate)
                say(console, line)

        return certify(
            claims, timeout=request.timeout, use_cache=request.use_cache, progress=progress
        )


def _print(certificates: list[Certificate], console: Console) -> None:
    for model in dict.fromkeys(certificate.model for certificate in certificates):
        title = f"[bold]{escape(model)}[/bold], times rounding noise; {MULTIPLE} is allowed"
        console.print(title, highlight=False)
        console.print(_table([c for c in certificates if c.model == model]))
    for line in _remarks(certificates):
        say(console, line)


def _count(certificates: list[Certificate]) -> str:
    count = Counter(str(certificate.verdict) for certificate in certificates)
    words = ", ".join(f"{count[verdict]} {verdict}" for verdict in _VERDICTS if count[verdict])
    return f"{len(certificates)} certificates: {words or 'none'}"


def _table(certificates: list[Certificate]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("backend", overflow="fold")  # the name of a version may be long
    for heading in ("execution", ""):
        table.add_column(heading, no_wrap=True)
    for heading in _HEADINGS.values():
        table.add_column(heading, justify="right", no_wrap=True)
    for certificate in certificates:
        if certificate.verdict == "unsupported":
            continue  # with its reason, below the table
        colour = _VERDICTS[certificate.verdict]
        cells = {rung.name: _cell(rung) for rung in certificate.rungs}
        table.add_row(
            escape(certificate.backend),
            f"{certificate.execution.dtype} {certificate.execution.mode}",
            f"[{colour}]{certificate.verdict}[/{colour}]",
            *(cells.get(rung, "–") for rung in _HEADINGS),
        )
    return table


def _cell(rung: Rung) -> str:
    if not rung.passes:
        return "[red]FAIL[/red]"
    return f"{rung.worst.ratio:.1f}" if rung.worst.ratio >= 0.05 else "0"


def _remarks(certificates: list[Certificate]) -> Iterator[str]:
    """Yield what failed and why, then what was refused, then what is allowed as known."""
    for certificate in certificates:
        who = f"{certificate.backend} {certificate.model} {certificate.execution.dtype} "
        who += certificate.execution.mode
        if certificate.verdict == "error":
            yield f"{who}: {certificate.reason}"
        if failure := certificate.first_failure:
            yield f"{who}: {in_words(failure)}"
            if certificate.cause:
                yield f"{certificate.backend}: {certificate.cause}"
    refused = [f"{c.backend}: {c.reason}" for c in certificates if c.verdict == "unsupported"]
    known = [f"{c.backend}, known: {d}" for c in certificates for d in c.deviations]
    yield from dict.fromkeys([*refused, *known])


def _write(certificates: list[Certificate], output: Path, console: Console) -> None:
    from ..parity import plot  # and with it Altair, which takes a while to load

    try:
        output.mkdir(parents=True, exist_ok=True)
        encoded = msgspec.json.format(msgspec.json.encode(certificates))
        (output / "certificates.json").write_bytes(encoded)
        if picture := plot.png(certificates):
            (output / "parity.png").write_bytes(picture)
        else:
            console.print("parity.png could not be drawn, often for want of memory", style="yellow")
    except OSError as error:
        raise InputError(
            f"{output} cannot be written ({error.strerror}); choose another folder with --output"
        ) from None
    made = f"certificates and plot: {output.resolve()}, {datetime.now():%H:%M:%S}"
    say(console, made)
