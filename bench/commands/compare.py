"""`bakeoff compare`: two runs or benchmarks, of two versions or two machines, row by row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import combinations, groupby, zip_longest
from pathlib import Path
from statistics import median

from msgspec import Struct
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ...models import InputError
from ..printing import write_json
from ..report import formatting
from ..report.wording import listing, numbered, plain
from ..results import speeds
from ..results.changes import Aspect, Change, changes
from ..results.differences import Difference, differences
from ..results.speeds import Key, Speed
from ..results.stats import LEAST_PROCESSES, Interval, verdict
from .report import summary_of

Speeds = Mapping[Key, Speed]
_COLOURS = {
    "worse": "red", "slower": "red", "not comparable": "red", "only in A": "red",
    "better": "green", "faster": "green", "not judged": "yellow",
}  # fmt: skip
_COLUMNS = ("metric", "parity", "audits", "memory", "device memory", "time to target", "speed")
_FORMS = {"time to target": formatting.short, "speed": formatting.rate}
_TITLES = {"device memory": "device", "time to target": "to target", "speed": "speed, B / A"}


class Repeatability(Struct, frozen=True):
    """How alike two runs are in what they say of any two backends on the same work.

    `same_order` of `pairs` have the same one ahead, ties aside; `change` is the median over pairs
    of |ratio in B / ratio in A - 1|.
    """

    pairs: int
    same_order: int
    change: float


class Outcome(Struct, frozen=True, kw_only=True):
    """What `--json` prints. `failures` are the reasons for exit code 1."""

    a: str
    b: str
    differences: list[Difference]
    rows: list[Change]
    repeatability: Repeatability | None
    failures: list[str]


def compare(
    old: Path, new: Path, *, fail_above: str | None, console: Console, as_json: bool
) -> int:
    """Print what changed from run `old` to run `new`.

    Returns 1 if a row is worse in what it computes, if one that should be judged is not, or if none
    is; and with `fail_above` (`5%`) if a row is slower by more than that, and not by chance, or its
    speed is not judged. Else 0. Raises InputError.
    """
    limit = _percentage(fail_above) if fail_above else None
    before, after = summary_of(old), summary_of(new)
    rows = list(changes(before, after))
    outcome = Outcome(
        a=str(old),
        b=str(new),
        differences=differences(before, after),
        rows=rows,
        repeatability=repeatability(speeds.by_key(before), speeds.by_key(after)),
        failures=list(_failures(rows, limit)),
    )
    if as_json:
        write_json(outcome)
    else:
        _print(outcome, console)
    return int(bool(outcome.failures))


def _failures(rows: Sequence[Change], limit: float | None) -> Iterator[str]:
    """Yield in a line each, with the rows it is said of, why the comparison fails."""
    several = len({row.execution for row in rows}) > 1
    executions = told_apart([row.execution for row in rows])
    lines: dict[str, list[str]] = {}
    for row in rows:
        words = [_words(row, name) for name in row.failures]
        if limit is not None and _is_too_slow(row, limit):
            words.append(_words(row, "speed"))
        name = [row.workload, row.backend, *([executions[row.execution]] if several else [])]
        for each in words:
            lines.setdefault(each, []).append(" ".join(filter(None, name)))
    for what, names in lines.items():
        yield f"{listing(names)}: {what}"
    if not any(map(_is_judged, rows)):
        yield "nothing was judged: there is no metric and no speed with a verdict"


def _is_too_slow(row: Change, limit: float) -> bool:
    """Say whether a row is slower by more, or its speed is not judged where it should be."""
    speed = row.aspects.get("speed")
    if speed is None or row.verdict != "compared":
        return False  # that is a failure already, if it should be one
    is_slower = speed.verdict == "slower" and speed.change and speed.change.median < 1 - limit
    return speed.verdict == "not judged" or bool(is_slower)


def _words(row: Change, name: str) -> str:
    """Say what became of an aspect of a row, or why the row has none."""
    aspect = row.aspects.get(name)
    if aspect is None:
        return ": ".join(filter(None, (row.verdict, row.reason)))
    form = _FORMS.get(name, formatting.noise)
    title = row.metric if name == "metric" else name
    if aspect.verdict == "not judged":
        return f"{title} not judged: {aspect.reason}"
    if name == "metric":
        form = partial(formatting.metric_value, row.metric)
    values = ""
    if aspect.a is not None and aspect.b is not None:
        values = f" {form(aspect.a)} → {form(aspect.b)}"
    change = _by(row.metric, aspect.change) if name == "metric" else _times(aspect.change)
    return ", ".join(filter(None, (f"{title} {aspect.verdict}:{values}", change, aspect.reason)))


def _by(metric: str, change: Interval | None) -> str:
    """Format a difference of a metric, accuracy in points of a percent."""
    if change is None:
        return ""
    points = formatting.is_percentage(metric)
    return formatting.interval(
        change.times(100 if points else 1), lambda value: f"{formatting.significant(value, 3)}"
    ) + (" points" if points else "")


def _times(change: Interval | None) -> str:
    return "" if change is None else formatting.interval(change, formatting.ratio)


def _is_judged(row: Change) -> bool:
    told = [row.aspects[name] for name in ("metric", "speed") if name in row.aspects]
    return any(aspect.verdict != "not judged" for aspect in told)


def repeatability(before: Speeds, after: Speeds) -> Repeatability | None:
    """Compare the ratios between backends in two runs; None without two in both whose ratio has an
    interval.
    """
    both = [
        key
        for key, speed in before.items()
        if key in after and not speed.obstacle and not after[key].obstacle
    ]
    same_order, moved = 0, []
    for a, b in combinations(both, 2):
        if (a.workload, a.execution) != (b.workload, b.execution):
            continue
        fewest = min(len(run[key].blocks) for run in (before, after) for key in (a, b))
        if fewest < LEAST_PROCESSES:
            continue
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


def _print(outcome: Outcome, console: Console) -> None:
    def say(*parts: object, style: str = "") -> None:
        line = Text.assemble(*parts)  # type: ignore[arg-type]
        console.print(line, style=style, highlight=False, soft_wrap=True)

    say(f"A {outcome.a}, B {outcome.b}")
    for difference in outcome.differences:
        say("differs: ", (plain(difference.name), "bold"), f": {plain(difference.a)} in A, ",
            f"{plain(difference.b)} in B")  # fmt: skip
    if not outcome.differences:
        say("nothing differs in configuration, versions or machine")
    executions = told_apart([row.execution for row in outcome.rows])
    for workload, rows in groupby(outcome.rows, key=lambda row: row.workload):
        ours = list(rows)
        say()
        say((plain(workload), "bold"))
        console.print(_table(ours, executions))
        for words, names in _notes(ours, executions).items():
            say((plain(listing(names)), "bold"), f": {plain(words)}")
    say()
    if alike := outcome.repeatability:
        say(
            f"Any two backends in A and in B: the same one is faster in {alike.same_order} of "
            f"{numbered(alike.pairs, 'pair')}, ties aside; their ratio moved by "
            f"{alike.change:.1%} at the median."
        )
    say(_READING, style="dim")
    for failure in outcome.failures:
        say(("fails: ", "red"), plain(failure))
    if not outcome.failures:
        say("no row is worse in what it computes, and none is left unjudged")


_READING = (
    "[..] is a 95 % interval: of speeds by bootstrap over processes, of a metric by Student's t "
    "over paired seeds. Memory is a ratio of medians, B / A, and has none."
)


def _table(rows: Sequence[Change], executions: Mapping[str, str]) -> Table:
    names = [name for name in _COLUMNS if any(name in row.aspects for row in rows)]
    metric = next((row.metric for row in rows if row.metric), "")
    table = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, show_header=bool(names)
    )
    for title in ("", *(_TITLES.get(name, name) for name in names)):
        table.add_column(Text(plain(metric if title == "metric" else title)), overflow="fold")
    for row in rows:
        cells = [_cell(name, row.aspects.get(name)) for name in names]
        if not row.aspects:
            cells = [_coloured(row.verdict), *cells[1:]]
        table.add_row(Text(_name(row, executions)), *cells)
    return table


def _name(row: Change, executions: Mapping[str, str]) -> str:
    parts = [row.backend, *([executions[row.execution]] if len(executions) > 1 else [])]
    return " ".join(plain(part) for part in parts if part)


def _cell(name: str, aspect: Aspect | None) -> Text:
    if aspect is None:
        return Text(formatting.DASH)
    if aspect.verdict == "told" and aspect.change:
        return Text(formatting.ratio(aspect.change.median))
    if name == "speed" and aspect.change:
        return Text.assemble(_times(aspect.change), " ", _coloured(aspect.verdict))
    return _coloured(aspect.verdict)


def _coloured(word: str) -> Text:
    return Text(word, _COLOURS.get(word, ""))


def _notes(rows: Iterable[Change], executions: Mapping[str, str]) -> dict[str, list[str]]:
    """Return what the table has no room for, and of which rows it is said; failures come later."""
    notes: dict[str, list[str]] = {}
    for row in rows:
        notable = [
            name
            for name, aspect in row.aspects.items()
            if aspect.verdict not in ("same", "told")
            and (name != "speed" or aspect.verdict == "not judged")
            and (name == "metric" or aspect.verdict != "tie")
            and name not in row.failures
        ]
        if not row.aspects and row.reason and not row.failures:
            notable.append(row.verdict)
        for name in notable:
            notes.setdefault(_words(row, name), []).append(_name(row, executions))
    return notes


def told_apart(executions: Sequence[str]) -> dict[str, str]:
    """Return each without the words that all have in the same place; whole if there is one only."""
    words = {execution: execution.split() for execution in executions}
    places = list(zip_longest(*words.values()))
    telling = [i for i, at_place in enumerate(places) if len(words) == 1 or len(set(at_place)) > 1]
    return {
        execution: " ".join(at_place[i] for i in telling if i < len(at_place))
        for execution, at_place in words.items()
    }
