"""`bakeoff train`: one backend, whose training may be put aside, or gone on with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from msgspec import structs
from rich.console import Console

from ...models import InputError
from ..training import checkpoint
from ..training.plan import RunRequest
from . import run
from .report import Shown

_KEPT = ("--seed", "--dtype", "--dataset", "--batch-size")  # they are in the checkpoint


def train(
    request: RunRequest,
    resume: Path | None,
    given: Sequence[str],
    console: Console,
    *,
    shown: Shown,
) -> int:
    """Train, or go on from the checkpoint `resume`; return the exit code. Raises InputError."""
    (backend,) = request.backends or ("",)
    if resume is None and not request.workloads:
        raise InputError("name a WORKLOAD to train, or a checkpoint to go on with: --resume FILE")
    if "," in backend:
        raise InputError(
            f'--backend "{backend}": expected one backend; bakeoff run compares several'
        )
    if "best" in request.modes:
        raise InputError(
            '--mode "best": one training has one mode; expected typical, eager or compiled'
        )
    if resume:
        request = _resumed(request, resume, given)
    target = request.checkpoint
    if target and target.exists() and target != resume:
        raise InputError(
            f"--checkpoint {target} exists already; choose another path, "
            f"or go on with it: --resume {target}"
        )
    return run.start(request, console, make_missing=False, shown=shown)


def _resumed(request: RunRequest, path: Path, given: Sequence[str]) -> RunRequest:
    """A training goes on with its data, batches, seed and precision: refuse what changes them."""
    if changed := [option for option in given if option in _KEPT]:
        raise InputError(
            f"--resume goes on with what is in the checkpoint; it cannot take {changed[0]}, "
            "start anew without --resume for that"
        )
    start = checkpoint.read(path)
    origin = start.origin
    return structs.replace(
        request,
        start=start,
        seeds=(origin.seed,),
        dtype=origin.dtype,
        dataset=origin.workload.dataset,
        batch_size=origin.workload.batch_size,
    )
