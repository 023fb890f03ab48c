"""What a summary says in words: names of rows, verdicts, the headline. Called by `sections`.

The words are cautious: a ratio whose interval holds 1 is a tie, and one seed is called one seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from ..results.speeds import best_of_each, fields, is_by_mode, ranking
from ..results.stats import LEAST_PROCESSES, Interval
from ..results.summary import Comparison, Entry, Measurement, Row, Summary, WorkloadFacts
from . import formatting

HALF = (
    "± is half a 95 % interval; one that is longer on one side stands as [low–high]. Speeds of "
    f"fewer than {LEAST_PROCESSES} processes have none, and no verdict."
)
_INTERVALS = (
    f"{HALF} That of a speed is by bootstrap over processes and their blocks of steps, that of a "
    "metric or of seconds by Student's t over seeds. The first block of steps holds any "
    "compilation and is not in samples/s."
)
_RUN = (
    "To target: seconds of build, staging and training, compilation included and evaluation not, "
    "to the end of the first epoch whose validation metric reaches the target, over the seeds that "
    "reached it. Two metrics are equivalent within a margin if two one-sided t-tests over paired "
    "seeds, at 5 % each, show it."
)
_BENCH = (
    "The batches of samples/s were staged before; end to end, gathering and staging are inside. "
    "Latency is a prediction for one sample. GFLOP/s count the formulas' operations; the peak is "
    "that of a large matrix product on this machine, with as many threads. Memory is what the "
    "process took beyond its imports. Threads used: CPU time over wall time. Host overhead is the "
    "part of a step that does not grow with the batch."
)
EXECUTION = ("mode", "device", "dtype", "threads")


def caveat(summary: Summary) -> str:
    """Say which speeds are compared, and within what bound their certificates pass."""
    bounds = sorted({entry.parity.allowed for entry in summary.entries if entry.parity})
    times = " or ".join(f"{bound:g}" for bound in bounds) or "a number of"
    return (
        "A speed is compared only if its parity certificates pass: on the same weights, data and "
        "masks the backend computes what NumPy computes in float64, to within "
        f"{times} times the rounding noise that was measured on that very net; and if audits of "
        "the very processes that were timed, in blocks of steps drawn at random, find the same. "
        "Parity is the worst error of the certificate, in units of that noise."
    )


def reading(summary: Summary) -> str:
    """Say how to read the tables of a run, of a benchmark, or of both."""
    sentences = [_INTERVALS]
    sentences += [_RUN] if summary.rows else []
    sentences += [_BENCH] if summary.measurements else []
    return " ".join(sentences)


def plain(text: str) -> str:
    """Return the text in one line, without control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def listing(items: Sequence[str]) -> str:
    """Join as `a, b and c`."""
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)


def varying(entries: Sequence[Entry]) -> list[str]:
    """Return the parts of an execution that names must tell: its mode, and those that differ."""
    return [
        part
        for part in EXECUTION
        if part == "mode" or len({getattr(entry, part) for entry in entries}) > 1
    ]


def execution(entry: Entry, parts: Sequence[str]) -> list[str]:
    """Return these parts of an execution in words."""
    return [
        numbered(entry.threads, "thread") if part == "threads" else plain(str(getattr(entry, part)))
        for part in parts
    ]


def label(entry: Entry, parts: Sequence[str]) -> str:
    """Name a row or measurement: its backend, and what tells it from others."""
    return " ".join([plain(entry.backend), *execution(entry, parts)])


def rival(compared: Comparison) -> str:
    """Name the rival of a comparison; what is no backend has no mode of its own."""
    mode = compared.rival_mode or (compared.mode if compared.kind == "backends" else "")
    return plain(f"{compared.rival} {mode}")


def numbered(number: int, noun: str) -> str:
    """Format as `1 thread`, `4 threads`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def status(entry: Entry) -> str:
    """Say how a row ended, and how many of its seeds finished if not all did."""
    finished = len(entry.metric.values) if isinstance(entry, Row) and entry.metric else 0
    if entry.status == "ok" or not finished or isinstance(entry, Measurement):
        return entry.status
    return f"{entry.status} ({finished} of {entry.seeds} seeds finished)"


def fastest_first(rows: Sequence[Row]) -> list[Row]:
    """Return the rows in the order of the ranking, then those that are not in it."""
    place = {id(row): i for i, (row, _) in enumerate(ranking(rows))}
    return sorted(rows, key=lambda row: place.get(id(row), len(rows)))


def parity(entry: Entry) -> str:
    """Say what a certificate says, in a few characters."""
    if entry.parity is None:
        return "none"
    if entry.parity.verdict == "pass":
        if entry.status == "ok" and not entry.comparable:
            in_float64 = entry.parity_float64
            is_judged = entry.audits or (in_float64 and in_float64.verdict in ("fail", "error"))
            return "FAIL" if is_judged else "no audit"
        return formatting.noise(entry.parity.noise_ratio)
    return "FAIL" if entry.parity.verdict == "fail" else entry.parity.verdict


def in_float64(entry: Entry) -> str:
    """Say what the certificate in float64 says, of an entry in another dtype."""
    if entry.parity_float64 is None:
        return formatting.DASH
    passes = entry.parity_float64.verdict == "pass"
    verdict = entry.parity_float64.verdict
    return formatting.noise(entry.parity_float64.noise_ratio) if passes else str(verdict)


def audits(entry: Entry) -> str:
    """Say how much was audited, and what was found."""
    found = entry.audits
    if found is None:
        return formatting.DASH
    looked = f"{found.blocks} blocks, {found.steps} steps"
    undecided = f", {found.undecided} undecided" if found.undecided else ""
    worst = "FAIL" if found.failure else formatting.noise(found.worst)
    return f"{worst} ({looked}{undecided})"


def reason(entry: Entry) -> str | None:
    """Say why one did not finish, or may not be compared; None if all is well."""
    if entry.status != "ok":
        return plain(entry.reason or "no reason was recorded")
    if entry.comparable:
        return None
    if entry.parity is None:
        failure = entry.audits.failure if entry.audits else ""
        return plain(f"not comparable: {failure or 'it has no parity certificate'}")
    reasons = [entry.parity.reason if entry.parity.verdict != "pass" else ""]
    if entry.parity_float64 and entry.parity_float64.verdict in ("fail", "error"):
        reasons.append(f"in float64: {entry.parity_float64.reason}")
    reasons.append(entry.audits.failure if entry.audits else "no audit was made of it")
    return plain(f"not comparable: {next(filter(None, reasons), 'no certificate passes')}")


def headline(
    facts: WorkloadFacts,
    rows: Sequence[Row],
    comparisons: Sequence[Comparison],
    parts: Sequence[str],
    asked: Sequence[str],
) -> str:
    """Say in a few sentences who is fastest on a workload, how accurate, and who did not finish.

    `asked` are the modes that were asked for.
    """
    finished = [row for row in rows if row.status == "ok"]
    speeds = [_speed(alike, comparisons, asked) for alike in fields(finished, asked)]
    sentences = ["; ".join(speeds or ["No backend finished"]) + _accuracy(facts, finished)]
    sentences += [*_of_engines(comparisons), *_few_seeds(facts, [r for r, _ in ranking(rows)])]
    return " ".join([*sentences, *_unfinished(rows, parts)])


def _few_seeds(facts: WorkloadFacts, rows: Sequence[Row]) -> list[str]:
    """Say what has no interval because there are too few seeds."""
    metrics = [row.metric for row in rows if row.metric]
    speeds = [row.samples_per_second for row in rows if row.samples_per_second]
    lacking = [f"{plain(facts.metric)}"] if metrics and all(m.low is None for m in metrics) else []
    lacking += ["the speed"] if speeds and all(speed.low is None for speed in speeds) else []
    seeds = numbered(max((row.seeds for row in rows), default=0), "seed")
    return [f"{seeds}: no interval of {listing(lacking)}."] if lacking else []


def rivals_headline(compared: Sequence[Comparison]) -> str:
    """Say how subjects stand to the rivals that they took turns with."""
    if not compared:
        return "Nothing was compared."
    ratios = sorted(c.ratio.median for c in compared)
    slower = listing([f"{plain(c.subject)} {c.mode}" for c in compared if c.verdict == "slower"])
    ratio_range = (
        f"{formatting.ratio(ratios[0])} to {formatting.ratio(ratios[-1])} of their rivals' speed"
    )
    middle = formatting.ratio(median(ratios))
    unsure = sum(c.verdict == "not judged" for c in compared)
    unjudged = (
        f"; {unsure} of {len(compared)} not judged, for want of an interval" if unsure else ""
    )
    return f"{ratio_range}, {middle} at the median; slower: {slower or 'none'}{unjudged}."


def bench_headline(
    measurements: Sequence[Measurement],
    comparisons: Sequence[Comparison],
    parts: Sequence[str],
    asked: Sequence[str],
) -> str:
    """Say who is fastest in each execution, at the smallest and at the largest batch.

    `asked` are the modes that were asked for.
    """
    finished = [m for m in measurements if m.status == "ok"]
    sizes = sorted({m.batch_size for m in finished})
    several = len({m.batch_size for m in measurements}) > 1
    speeds = []
    for work in dict.fromkeys((m.device, m.threads) for m in finished):
        for batch in dict.fromkeys([*sizes[:1], *sizes[-1:]]):
            key = (*work, batch)
            ours = [m for m in finished if (m.device, m.threads, m.batch_size) == key]
            against = [c for c in comparisons if (c.device, c.threads, c.batch_size) == key]
            for alike in fields(ours, asked):
                where = execution(alike[0], [part for part in parts if part != "mode"])
                where += [f"batch {batch:,}"] if several else []
                speeds.append(_speed(alike, against, asked, where))
    sentences = ["; ".join(speeds or ["Nothing was measured"]) + ".", *_of_engines(comparisons)]
    return " ".join([*sentences, *_unfinished(measurements, parts)])


def _of_engines(comparisons: Sequence[Comparison]) -> list[str]:
    """Say how fast Keras is beside its engines by themselves, at the slowest and the fastest."""
    times: dict[str, list[Interval]] = {}
    for c in comparisons:
        if c.kind == "engine":
            times.setdefault(f"{plain(c.subject)} {{}} as fast as {rival(c)}", []).append(c.ratio)
    told = []
    for pair, ratios in times.items():
        medians = sorted(ratio.median for ratio in ratios)
        ends = " to ".join(dict.fromkeys(map(formatting.ratio, (medians[0], medians[-1]))))
        between = formatting.between(ratios[0]) if len(ratios) == 1 else ""
        told.append(pair.format(f"{ends}{f' ({between})' if between else ''}"))
    return [f"Keras beside its engines by themselves: {', '.join(told)}."] if told else []


def _unfinished(entries: Sequence[Entry], parts: Sequence[str]) -> list[str]:
    names = dict.fromkeys(
        f"{label(entry, parts)} ({entry.status})" for entry in entries if entry.status != "ok"
    )
    return [f"Not finished: {', '.join(names)}."] if names else []


def _speed(
    entries: Sequence[Entry],
    comparisons: Sequence[Comparison],
    asked: Sequence[str],
    where: Sequence[str] = (),
) -> str:
    """Say who is fastest of entries that are compared, of one batch size; `where` names what else
    is one's own. Names have modes unless all are of one, which comes first.
    """
    by_mode = is_by_mode(asked)
    place = ", ".join([entries[0].mode if by_mode else asked[0], *where]) + ": "
    ranked = best_of_each(entries)
    if not ranked:
        if any(entry.samples_per_second for entry in entries):
            return f"{place}No speed is comparable: no backend passes its certificates and audits"
        return (
            f"{place}No speed: nothing was trained after the first block, which holds compilation"
        )
    told = () if by_mode else ("mode",)
    first, *rivals = [(label(entry, told), speed) for entry, speed in ranked]
    rate = f"{formatting.significant(first[1].median, 3)} samples/s"
    if not rivals:
        return f"{place}Only {first[0]} can be compared: {rate}"
    found = _ratios(ranked[0][0], comparisons)
    ratios = {label(e, told): found.get((e.backend, e.mode)) for e, _ in ranked[1:]}
    unjudged = [name for name in ratios if not formatting.between(ratios[name])]
    ties = [name for name, ratio in ratios.items() if ratio and not ratio.is_above(1)]
    others = [name for name in ratios if name not in ties]
    shown = [*ties, *others[:1]] if ties else [others[0], others[-1]]
    times = _times(first[1], [rival for rival in rivals if rival[0] in shown], ratios)
    times = f"{times}, at {rate}"
    if unjudged:
        return f"{place}No interval, so no verdict: {first[0]} was {times}"
    if ties:
        return f"{place}{listing([first[0], *ties])} tie: {first[0]} is {times}"
    among = f" of {len(ranked)}" if len(ranked) > 2 else ""
    return f"{place}{first[0]} is fastest{among}: {times}"


def _ratios(first: Entry, comparisons: Sequence[Comparison]) -> dict[tuple[str, str], Interval]:
    """Return how many times as fast as others one is, by their backend and mode."""
    times = {}
    for c in comparisons:
        ours, theirs = (c.subject, c.mode), (c.rival, c.rival_mode or c.mode)
        if ours == (first.backend, first.mode):
            times[theirs] = c.ratio
        elif theirs == (first.backend, first.mode):
            times[ours] = c.ratio.under(1)
    return times


def _times(
    speed: Interval,
    rivals: Sequence[tuple[str, Interval]],
    ratios: Mapping[str, Interval | None],
) -> str:
    """Say how many times as fast as others something is, and how sure that is."""
    phrases: list[str] = []
    for name, other in rivals:
        ratio = ratios[name]
        between = formatting.between(ratio)
        sure = f"{'' if phrases else '95 % interval '}{between}" if between else "no interval"
        times = ratio.median if ratio else speed.median / other.median
        phrases.append(f"{formatting.ratio(times)} as fast as {name} ({sure})")
    return listing(phrases)


def _accuracy(facts: WorkloadFacts, rows: Sequence[Row]) -> str:
    metrics = [row.metric for row in rows if row.metric]
    if not metrics:
        return "."
    if len(metrics) > 2:
        ends = sorted(metrics, key=lambda metric: metric.mean)
        low, high = formatting.metric_interval(ends[0]), formatting.metric_interval(ends[-1])
        values = f"from {low} to {high}"
    else:
        values = listing([formatting.metric_interval(metric) for metric in metrics])
    return f"; test {plain(facts.metric)} {values}{_equivalence(facts, rows)}."


def _equivalence(facts: WorkloadFacts, rows: Sequence[Row]) -> str:
    """Say of whom it is shown that the metric is NumPy's, within which margin."""
    rungs = [
        (plain(row.backend), rung)
        for row in rows
        if row.backend != "numpy" and row.parity
        for rung in row.parity.rungs
        if rung.name == "accuracy" and rung.margin is not None
    ]
    if not rungs:
        return ""
    same, unsure, other = (
        list(dict.fromkeys(name for name, rung in rungs if rung.passes is passes))
        for passes in (True, None, False)
    )
    margin = formatting.margin(facts.metric, max(rung.margin or 0.0 for _, rung in rungs))
    equivalent = f"equivalent to numpy's within {margin}"
    if not unsure and not other:
        return f", {equivalent}"
    if not same and not other:
        return f", not shown to be {equivalent}"
    phrases = [f"{equivalent} for {listing(same)}"] if same else []
    phrases += [f"not shown to be {equivalent} for {listing(unsure)}"] if unsure else []
    phrases += [f"shown to differ from numpy's by more for {listing(other)}"] if other else []
    return f", {', '.join(phrases)}"
