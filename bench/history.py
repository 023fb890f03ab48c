"""`bakeoff compare`: two runs, of two versions or two machines, row by row."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..models import InputError
from . import aggregate
from .stats import Interval, bootstrap_ratio, verdict
from .summary import Row

Verdict = Literal["faster", "slower", "tie", "not comparable", "only in A", "only in B"]
_COLOURS: dict[Verdict, str] = {"faster": "green", "slower": "red"}


class Change(Struct, frozen=True, kw_only=True):
    """A row in both runs: `ratio` is B's samples/s over A's, with its 95 % bootstrap interval.

    Without overlap with 1 it is `faster` or `slower`, else a `tie`. `reason` says why there is no
    ratio.
    """

    workload: str
    backend: str
    execution: str
    verdict: Verdict
    ratio: Interval | None = None
    reason: str = ""


def compare(
    old: Path, new: Path, *, fail_above: str | None, console: Console, as_json: bool
) -> int:
    """Print what changed from run `old` to run `new`.

    Returns 1 if a row is slower by more than `fail_above` (`5%`), and not by chance; else 0. Raises
    InputError.
    """
    limit = _percentage(fail_above) if fail_above else None
    found = list(changes(old, new))
    if as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(found)).decode() + "\n")
    else:
        _print(found, old, new, console)
    return int(
        limit is not None
        and any(c.verdict == "slower" and c.ratio and c.ratio.median < 1 - limit for c in found)
    )


def changes(old: Path, new: Path) -> Iterator[Change]:
    """Yield every row of either run, in the order of the first. Raises InputError."""
    before, after = _rows(old), _rows(new)
    for key in dict.fromkeys([*before, *after]):
        workload, backend, execution = key
        verdict, ratio, reason = _judge(old, new, before.get(key), after.get(key))
        yield Change(
            workload=workload,
            backend=backend,
            execution=execution,
            verdict=verdict,
            ratio=ratio,
            reason=reason,
        )


def _judge(
    old: Path, new: Path, before: Row | None, after: Row | None
) -> tuple[Verdict, Interval | None, str]:
    if before is None or after is None:
        return ("only in A" if before else "only in B"), None, ""
    if reason := _obstacle(before, after):
        return "not comparable", None, reason
    ratio = bootstrap_ratio(aggregate.rates(new, after), aggregate.rates(old, before))
    return verdict(ratio), ratio, ""


def _rows(folder: Path) -> dict[tuple[str, str, str], Row]:
    rows = aggregate.summarize(folder).rows
    return {
        (row.workload, row.backend, f"{row.device} {row.dtype} {row.mode} {row.threads}"): row
        for row in rows
    }


def _obstacle(before: Row, after: Row) -> str:
    for run, row in (("A", before), ("B", after)):
        if row.status != "ok":
            return f"{row.status} in {run}"
        if not row.comparable:
            return f"no passing certificate in {run}"
        if row.samples_per_second is None:
            return f"no speed in {run}"
    return ""


def _percentage(text: str) -> float:
    try:
        value = float(text.removesuffix("%")) / 100
    except ValueError:
        value = -1.0
    if not text.endswith("%") or not 0 <= value < 1:
        raise InputError(f'--fail-above "{text}": expected a percentage below 100, such as 5%')
    return value


def _print(found: list[Change], old: Path, new: Path, console: Console) -> None:
    console.print(f"A {old}, B {new}: samples/s of B over A", highlight=False, soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("workload", "backend", "execution"):
        table.add_column(heading, overflow="fold")
    table.add_column("B / A", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for change in found:
        said = "–"
        if change.ratio:
            said = f"{change.ratio.median:.3f} [{change.ratio.low:.3f}–{change.ratio.high:.3f}]"
        colour = _COLOURS.get(change.verdict, "default")
        verdict = f"[{colour}]{change.verdict}[/{colour}]"
        reason = f" ({escape(change.reason)})" if change.reason else ""
        names = map(escape, (change.workload, change.backend, change.execution))
        table.add_row(*names, said, verdict + reason)
    console.print(table)
