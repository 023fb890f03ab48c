"""`bakeoff compare`: two runs or benchmarks, of two versions or two machines, row by row."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, zip_longest
from pathlib import Path
from statistics import median
from typing import Literal

import msgspec
from msgspec import Struct
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ...models import InputError
from ..results import speeds
from ..results.speeds import Key, Speed
from ..results.stats import Interval, bootstrap_ratio, verdict
from .report import summary_of

ChangeVerdict = Literal["faster", "slower", "tie", "not comparable", "only in A", "only in B"]
Speeds = Mapping[Key, Speed]
_COLOURS: dict[ChangeVerdict, str] = {"faster": "green", "slower": "red"}


class Change(Struct, frozen=True, kw_only=True):
    """A row in both runs: `ratio` is B's samples/s over A's, with its 95 % bootstrap interval.

    Without overlap with 1 it is `faster` or `slower`, else a `tie`. `reason` says why there is no
    ratio. `one_process`: a run has no second one, so that the interval leaves out what differs from
    process to process.
    """

    workload: str
    backend: str
    execution: str
    verdict: ChangeVerdict
    ratio: Interval | None = None
    reason: str = ""
    one_process: bool = False


def compare(
    old: Path, new: Path, *, fail_above: str | None, console: Console, as_json: bool
) -> int:
    """Print what changed from run `old` to run `new`.

    Returns 1 if a row is slower by more than `fail_above` (`5%`), and not by chance; else 0. Raises
    InputError.
    """
    limit = _percentage(fail_above) if fail_above else None
    before, after = (speeds.by_key(summary_of(folder)) for folder in (old, new))
    changed = list(changes(before, after))
    if as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(changed)).decode() + "\n")
    else:
        _print(changed, old, new, console)
        if alike := repeatability(before, after):
            console.print(
                f"Any two backends in A and in B: the same one is faster in {alike.same_order} of "
                f"{alike.pairs} pairs, ties aside; their ratio moved by {alike.change:.1%} at the "
                "median.",
                highlight=False,
            )
    return int(
        limit is not None
        and any(c.verdict == "slower" and c.ratio and c.ratio.median < 1 - limit for c in changed)
    )


def changes(before: Speeds, after: Speeds) -> Iterator[Change]:
    """Yield every row of either run, in the order of the first."""
    for key in dict.fromkeys([*before, *after]):
        sides = before.get(key), after.get(key)
        judged, ratio, reason = _judge(*sides)
        yield Change(
            workload=key.workload,
            backend=key.backend,
            execution=key.execution,
            verdict=judged,
            ratio=ratio,
            reason=reason,
            one_process=bool(ratio) and any(side and len(side.blocks) == 1 for side in sides),
        )


def _judge(before: Speed | None, after: Speed | None) -> tuple[ChangeVerdict, Interval | None, str]:
    if before is None or after is None:
        return ("only in A" if before else "only in B"), None, ""
    for run, speed in (("A", before), ("B", after)):
        if speed.obstacle:
            return "not comparable", None, f"{speed.obstacle} in {run}"
    ratio = bootstrap_ratio(after.blocks, before.blocks)
    return verdict(ratio), ratio, ""


class Repeatability(Struct, frozen=True):
    """How alike two runs are in what they say of any two backends on the same work.

    `same_order` of `pairs` have the same one ahead, ties aside; `change` is the median over pairs
    of |ratio in B / ratio in A - 1|.
    """

    pairs: int
    same_order: int
    change: float


def repeatability(before: Speeds, after: Speeds) -> Repeatability | None:
    """Compare the ratios between backends in two runs; None without two backends in both."""
    both = [
        key
        for key, speed in before.items()
        if key in after and not speed.obstacle and not after[key].obstacle
    ]
    same_order, moved = 0, []
    for a, b in combinations(both, 2):
        if (a.workload, a.execution) == (b.workload, b.execution):
            then, now = (speeds.median_ratio(run[a], run[b]) for run in (before, after))
            same_order += (then > 1) == (now > 1) or _tie(before, a, b) or _tie(after, a, b)
            moved.append(abs(now / then - 1))
    return Repeatability(len(moved), same_order, median(moved)) if moved else None


def _tie(run: Speeds, a: Key, b: Key) -> bool:
    return verdict(speeds.ratio(run[a], run[b])) == "tie"


def _percentage(text: str) -> float:
    try:
        value = float(text.removesuffix("%")) / 100
    except ValueError:
        value = -1.0
    if not text.endswith("%") or not 0 <= value < 1:
        raise InputError(f'--fail-above "{text}": expected a percentage below 100, such as 5%')
    return value


def _print(changed: list[Change], old: Path, new: Path, console: Console) -> None:
    console.print(f"A {old}, B {new}: samples/s of B over A", highlight=False, soft_wrap=True)
    executions = told_apart([change.execution for change in changed])
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for heading in ("workload", "backend", "execution"):
        table.add_column(heading, no_wrap=True)
    table.add_column("B / A", justify="right", no_wrap=True)
    table.add_column("", overflow="fold")
    for change in changed:
        times = "–"
        if change.ratio:
            times = f"{change.ratio.median:.3f} [{change.ratio.low:.3f}–{change.ratio.high:.3f}]"
        colour = _COLOURS.get(change.verdict, "default")
        mark = "*" if change.one_process else ""
        verdict = f"[{colour}]{change.verdict}[/{colour}]{mark}"
        reason = f" ({escape(change.reason)})" if change.reason else ""
        names = map(escape, (change.workload, change.backend, executions[change.execution]))
        table.add_row(*names, times, verdict + reason)
    console.print(table)
    if any(change.one_process for change in changed):
        console.print(
            "* of one process in A or B: its interval leaves out what differs from process to "
            "process. More seeds, or a longer --budget, give more of them.",
            highlight=False,
        )


def told_apart(executions: Sequence[str]) -> dict[str, str]:
    """Return each without the words that all have in the same place; whole if there is one only."""
    words = {execution: execution.split() for execution in executions}
    places = list(zip_longest(*words.values()))
    telling = [i for i, at_place in enumerate(places) if len(words) == 1 or len(set(at_place)) > 1]
    return {
        execution: " ".join(at_place[i] for i in telling if i < len(at_place))
        for execution, at_place in words.items()
    }
