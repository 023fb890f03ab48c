"""What a summary says in words: names of rows, the headline, the facts. Called by `sections`.

The words are cautious: intervals that overlap are a tie, and one seed is called one seed.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..parity.tolerance import MULTIPLE
from ..stats import Interval
from ..summary import Row, Summary, WorkloadFacts
from . import numbers

PARITY = (
    "A speed is compared only if its parity certificate passes: on the same weights, data and "
    "masks the backend computes what NumPy computes in float64, to within "
    f"{MULTIPLE} times the rounding noise that was measured on that very net. 1.3x is the worst "
    "error found, in units of the noise."
)
READING = (
    "± is half a 95 % interval over seeds; [low–high] is a 95 % bootstrap interval. The first "
    "block of steps holds any compilation and is not in samples/s."
)
_EXECUTION = ("mode", "device", "dtype", "threads")


def plain(text: str) -> str:
    """Return the text in one line, without control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def listing(items: Sequence[str]) -> str:
    """Join as `a, b and c`."""
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)


def varying(rows: Sequence[Row]) -> list[str]:
    """Return the parts of the execution in which the rows differ, so that names must tell them."""
    return [part for part in _EXECUTION if len({getattr(row, part) for row in rows}) > 1]


def execution(row: Row, parts: Sequence[str]) -> list[str]:
    """Return these parts of a row's execution as words."""
    return [
        numbered(row.threads, "thread") if part == "threads" else plain(str(getattr(row, part)))
        for part in parts
    ]


def label(row: Row, parts: Sequence[str]) -> str:
    """Name a row: its backend, and what tells it from other rows."""
    return " ".join([plain(row.backend), *execution(row, parts)])


def numbered(number: int, noun: str) -> str:
    """Format as `1 thread`, `4 threads`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def status(row: Row) -> str:
    """Say how a row ended, and how many of its seeds finished if not all did."""
    finished = len(row.metric.values) if row.metric else 0
    if row.status == "ok" or not finished:
        return row.status
    return f"{row.status} ({finished} of {row.seeds} seeds finished)"


def ranking(rows: Sequence[Row]) -> list[tuple[Row, Interval]]:
    """Return the rows whose speeds may be compared and their speed, fastest first."""
    finished = [
        (row, row.samples_per_second) for row in rows if row.comparable and row.samples_per_second
    ]
    return sorted(finished, key=lambda entry: -entry[1].median)


def parity(row: Row) -> str:
    """Say what a row's certificate says, in a few characters."""
    if row.parity is None:
        return "none"
    if row.parity.verdict == "pass":
        return f"{row.parity.noise_ratio:.1f}x"
    return "FAIL" if row.parity.verdict == "fail" else row.parity.verdict


def reason(row: Row) -> str | None:
    """Say why a row did not finish, or may not be compared; None if all is well."""
    if row.status != "ok":
        return plain(row.reason or "no reason was recorded")
    if row.comparable:
        return None
    why = row.parity.reason if row.parity else "it has no parity certificate"
    return plain(f"not comparable: {why}")


def headline(facts: WorkloadFacts, rows: Sequence[Row], parts: Sequence[str]) -> str:
    """Say in a few sentences who is fastest on a workload, how accurate, and who did not finish."""
    ranked = ranking(rows)
    finished = [row for row in rows if row.status == "ok"]
    speed = "No backend finished"
    if ranked:
        speed = _speed(ranked, parts)
    elif any(row.samples_per_second for row in finished):
        speed = "No speed is comparable: no certificate passes"
    elif finished:
        speed = "No speed: nothing was trained after the first block, which holds any compilation"
    sentences = [speed + _accuracy(facts, finished)]
    if ranked and all(row.seeds == 1 for row, _ in ranked):
        sentences.append(
            f"One seed: {plain(facts.metric)} has no interval, and that of the speed is within "
            "one process."
        )
    unfinished = [f"{label(row, parts)} ({row.status})" for row in rows if row.status != "ok"]
    if unfinished:
        sentences.append(f"Not finished: {', '.join(unfinished)}.")
    return " ".join(sentences)


def _speed(ranked: list[tuple[Row, Interval]], parts: Sequence[str]) -> str:
    names = [label(row, parts) for row, _ in ranked]
    rates = [_rounded(speed) for _, speed in ranked]
    first = ranked[0][1]
    ties = sum(speed.high >= first.low for _, speed in ranked)
    slower = sorted({ties, len(ranked) - 1}) if ties < len(ranked) else []
    times = [f"{numbers.ratio(first.median / ranked[i][1].median)} {names[i]}" for i in slower]
    if ties > 1:
        tie = f"{listing(names[:ties])} tie, their intervals overlap"
        return f"{tie}: {', '.join([f'{listing(rates[:ties])} samples/s', *times])}"
    if not slower:
        return f"Only {names[0]} can be compared: {rates[0]} samples/s"
    versus = f"({rates[0]} vs {listing([rates[i] for i in slower])} samples/s)"
    among = f" of {len(ranked)}" if len(ranked) > 2 else ""
    return f"{names[0]} is fastest{among}: {listing(times)} {versus}"


def _rounded(speed: Interval) -> str:
    return numbers.significant(speed.median, 3)


def _accuracy(facts: WorkloadFacts, rows: Sequence[Row]) -> str:
    metrics = [row.metric for row in rows if row.metric]
    if not metrics:
        return "."
    if len(metrics) > 2:
        ends = sorted(metrics, key=lambda metric: metric.mean)
        low, high = numbers.metric_interval(ends[0]), numbers.metric_interval(ends[-1])
        values = f"from {low} to {high}"
    else:
        values = listing([numbers.metric_interval(metric) for metric in metrics])
    return f"; test {plain(facts.metric)} {values}."


def facts_of(facts: WorkloadFacts, rows: Sequence[Row], parts: Sequence[str]) -> dict[str, str]:
    """Return what was trained, by name."""
    size, digest = plain(facts.dataset_size), plain(facts.dataset_sha256)[:12]
    better = "lower" if facts.lower_is_better else "higher"
    target = "" if facts.target is None else _target(facts, facts.target)
    said = {
        "model": plain(facts.model),
        "dataset": f"{plain(facts.dataset)} ({size}; sha256 {digest}…)",
        "parameters": f"{facts.parameters:,}",
        "training cost": f"{numbers.significant(facts.training_flops / 1e6, 3)} MFLOP/sample",
        "batch": f"{facts.batch_size:,}",
        "epochs": f"{facts.epochs:,}",
        "metric": f"{plain(facts.metric)}, {better} is better{target}",
    }
    if rows:
        shared = [part for part in _EXECUTION if part not in parts]
        said["seeds"] = ", ".join(str(seeds) for seeds in sorted({row.seeds for row in rows}))
        said["execution"] = ", ".join(execution(rows[0], shared))
    return {name: value for name, value in said.items() if value}


def _target(facts: WorkloadFacts, target: float) -> str:
    return f", target {numbers.metric_value(facts.metric, target)}"


def machine(summary: Summary) -> dict[str, str]:
    """Return where and when it ran, by name."""
    host = summary.machine
    physical = f" ({host.physical_cores} physical)" if host.physical_cores else ""
    said = {
        "host": plain(host.hostname),
        "CPU": plain(host.cpu),
        "cores": f"{host.cores}{physical}",
        "memory": f"{host.memory_mb:,} MB",
        "system": plain(host.system),
        "CPU governor": plain(host.governor or "unknown"),
        "load before the run": f"{host.load:.2f}",
        "date": plain(summary.created),
    }
    return {name: value for name, value in said.items() if value}


def versions(summary: Summary) -> dict[str, str]:
    """Return the versions of bakeoff, of Python and of each framework that ran."""
    found: dict[str, set[str]] = {}
    for row in summary.rows:
        if row.framework_version:
            found.setdefault(plain(row.backend), set()).add(plain(row.framework_version))
    frameworks = {backend: ", ".join(sorted(them)) for backend, them in found.items()}
    host = {"bakeoff": plain(summary.bakeoff_version), "Python": plain(summary.machine.python)}
    return host | frameworks
