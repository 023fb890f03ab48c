"""What changed from one result to another, row by row: metric, parity, audits, memory, seconds to
the target, speed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from msgspec import Struct

from . import speeds
from .differences import obstacle
from .speeds import Key
from .stats import (
    Interval,
    bootstrap_ratio,
    mean_interval,
    metric_margin,
    verdict,
    without_interval,
)
from .summary import Entry, Measurement, Row, Summary, TimeToTarget, WorkloadFacts, is_certified

AspectVerdict = Literal["better", "worse", "same", "tie", "faster", "slower", "told", "not judged"]
ChangeVerdict = Literal["compared", "not comparable", "only in A", "only in B"]
# What a ratio of times says, by what one of speeds does.
_OF_TIME: dict[str, AspectVerdict] = {
    "faster": "slower",
    "slower": "faster",
    "tie": "tie",
    "not judged": "not judged",
}
_NOT_ASKED = ("unsupported", "missing")  # a row of such a status has nothing to judge


class Aspect(Struct, frozen=True, kw_only=True):
    """One thing of a row in A and in B, and what is to be said of it.

    `change` is B - A of a metric and B / A of all else, with its 95 % interval if it has one;
    `told` is what has no interval and so no verdict. `reason` says what the numbers do not.
    """

    verdict: AspectVerdict
    a: float | None = None
    b: float | None = None
    change: Interval | None = None
    reason: str = ""


class Change(Struct, frozen=True, kw_only=True):
    """A row of A or B. `reason` says why it is not comparable; `aspects` are by name, a metric by
    `metric`, its own. `failures` name what is worse, or should have been judged and was not, speeds
    aside: aspects, or the verdict.
    """

    workload: str
    backend: str
    execution: str
    verdict: ChangeVerdict
    reason: str = ""
    metric: str = ""
    aspects: dict[str, Aspect] = {}
    failures: list[str] = []


def changes(before: Summary, after: Summary) -> Iterator[Change]:
    """Yield every row or measurement of either, in the order of the first."""
    then, now = ({speeds.key_of(entry): entry for entry in s.entries} for s in (before, after))
    facts_then, facts_now = ({w.name: w for w in s.workloads} for s in (before, after))
    for key in dict.fromkeys([*then, *now]):
        names = key._asdict()
        if key not in now:
            asked = then[key].status not in _NOT_ASKED
            yield Change(**names, verdict="only in A", failures=["only in A"] if asked else [])
        elif key not in then:
            yield Change(**names, verdict="only in B")
        else:
            yield _change(key, then[key], now[key], facts_then, facts_now)


def _change(
    key: Key,
    then: Entry,
    now: Entry,
    facts_then: Mapping[str, WorkloadFacts],
    facts_now: Mapping[str, WorkloadFacts],
) -> Change:
    names = key._asdict()
    facts, facts_after = facts_then.get(key.workload), facts_now.get(key.workload)
    if facts and facts_after and (reason := obstacle(then, facts, facts_after)):
        return Change(**names, verdict="not comparable", reason=reason, failures=["not comparable"])
    if then.status != "ok" or now.status != "ok":
        return _unfinished(names, then, now)
    metric = facts.metric if facts and isinstance(then, Row) else ""
    aspects = {"parity": _parity(then, now), "audits": _audits(then, now)}
    if isinstance(then, Row) and isinstance(now, Row) and facts and facts_after:
        aspects = {"metric": _metric(then, now, facts), **aspects}
        if facts.target is not None and facts.target == facts_after.target:
            aspects["time to target"] = _time_to_target(
                then.seconds_to_target, now.seconds_to_target
            )
    aspects["memory"] = _ratio(then.peak_rss_mb, now.peak_rss_mb)
    if isinstance(then, Measurement) and isinstance(now, Measurement):
        aspects["device memory"] = _ratio(then.device_memory_mb, now.device_memory_mb)
    aspects["speed"] = _speed(then, now)
    known = {name: aspect for name, aspect in aspects.items() if aspect}
    sides = (("A", then), ("B", now))
    barred = next(
        (f"{speeds.bar(entry)} in {side}" for side, entry in sides if speeds.bar(entry)), ""
    )
    return Change(
        **names,
        verdict="not comparable" if barred else "compared",
        reason=barred,
        metric=metric,
        aspects=known,
        failures=list(_failures(known, barred)),
    )


def _unfinished(names: dict[str, Any], then: Entry, now: Entry) -> Change:
    """Return a row that did not finish in A or in B: a failure, unless there was nothing to do."""
    where = "; ".join(
        f"{entry.status} in {side}" + (f" ({entry.reason})" if entry.reason else "")
        for side, entry in (("A", then), ("B", now))
        if entry.status != "ok"
    )
    is_new = then.status in _NOT_ASKED and now.status in ("ok", *_NOT_ASKED)
    failures = [] if is_new else ["not comparable"]
    return Change(**names, verdict="not comparable", reason=where, failures=failures)


def _failures(aspects: Mapping[str, Aspect], barred: str) -> Iterator[str]:
    if "metric" in aspects and aspects["metric"].verdict in ("worse", "not judged"):
        yield "metric"
    for name in ("parity", "audits", "time to target"):
        if name in aspects and aspects[name].verdict == "worse":
            yield name
    if barred:
        yield "not comparable"


def _metric(then: Row, now: Row, facts: WorkloadFacts) -> Aspect | None:
    """Judge the differences over the seeds that both have.

    It is worse or better if the interval of their mean leaves out 0 and the mean is beyond the
    margin; the same if the interval is within the margin, or all are 0; else a tie.
    """
    if then.metric is None or now.metric is None:
        return None
    a, b = then.metric, now.metric
    before, after = _by_seed(then), _by_seed(now)
    seeds = [seed for seed in before if seed in after]
    differences = [after[seed] - before[seed] for seed in seeds]
    paired = f"{len(seeds)} paired seed" + ("" if len(seeds) == 1 else "s")
    if not seeds:
        return Aspect(verdict="not judged", a=a.mean, b=b.mean, reason="no seed in common")
    change = Interval(*mean_interval(differences))
    if not any(differences):
        judged: AspectVerdict = "same"
    elif change.low is None or change.high is None:
        judged, paired = "not judged", f"{paired}: no interval"
    else:
        margin = metric_margin(a.name, a.mean)
        if max(abs(change.low), abs(change.high)) <= margin:
            judged = "same"
        elif change.low * change.high <= 0 or abs(change.median) <= margin:
            judged = "tie"
        else:
            judged = "worse" if (change.median > 0) == facts.lower_is_better else "better"
    return Aspect(verdict=judged, a=a.mean, b=b.mean, change=change, reason=paired)


def _by_seed(row: Row) -> dict[int, float]:
    """Return the metric by seed; a summary of before does not say which, but all finished."""
    values = row.metric.values if row.metric else []
    return dict(zip(row.finished_seeds or range(len(values)), values, strict=False))


def _parity(then: Entry, now: Entry) -> Aspect | None:
    if then.parity is None or now.parity is None:
        lacking = " and ".join(side for side, e in (("A", then), ("B", now)) if e.parity is None)
        return Aspect(verdict="not judged", reason=f"no certificate in {lacking}")
    passed = _passes(then), _passes(now)
    words = [
        "passes" if ok else f"fails ({_why(entry)})"
        for ok, entry in zip(passed, (then, now), strict=True)
    ]
    return Aspect(
        verdict=_either(*passed),
        a=then.parity.noise_ratio,
        b=now.parity.noise_ratio,
        reason=f"{words[0]} in A, {words[1]} in B",
    )


def _passes(entry: Entry) -> bool:
    in_float64 = entry.parity_float64
    return is_certified(entry) and (
        in_float64 is None or in_float64.verdict not in ("fail", "error")
    )


def _why(entry: Entry) -> str:
    certificates = [entry.parity, entry.parity_float64]
    return next((c.reason for c in certificates if c and c.verdict != "pass" and c.reason), "fail")


def _audits(then: Entry, now: Entry) -> Aspect | None:
    a, b = then.audits, now.audits
    if a is None or b is None:
        return None
    words = [found.failure or "no fault" for found in (a, b)]
    return Aspect(
        verdict=_either(not a.failure, not b.failure),
        a=a.worst,
        b=b.worst,
        reason=f"{words[0]} in A, {words[1]} in B",
    )


def _either(then: bool, now: bool) -> AspectVerdict:
    if then == now:
        return "same"
    return "better" if now else "worse"


def _ratio(then: float | None, now: float | None) -> Aspect | None:
    if not then or not now:
        return None
    return Aspect(verdict="told", a=then, b=now, change=Interval(now / then))


def _time_to_target(then: TimeToTarget | None, now: TimeToTarget | None) -> Aspect | None:
    if then is None or now is None:
        return None
    reached = [[[v] for v in times.values if v is not None] for times in (then, now)]
    counts = [f"{len(r)} of {len(t.values)}" for r, t in zip(reached, (then, now), strict=True)]
    words = f"reached by {counts[0]} seeds in A, {counts[1]} in B"
    if not all(reached):
        judged = _either(bool(reached[0]), bool(reached[1]))
        return Aspect(verdict=judged, a=then.mean, b=now.mean, reason=words)
    ratio = bootstrap_ratio(reached[1], reached[0])
    return Aspect(
        verdict=_OF_TIME[verdict(ratio)], a=then.mean, b=now.mean, change=ratio, reason=words
    )


def _speed(then: Entry, now: Entry) -> Aspect | None:
    sides = _sides(then, now)
    if reasons := [f"{speed.obstacle} in {side}" for side, speed in sides if speed.obstacle]:
        return Aspect(verdict="not judged", reason="; ".join(reasons))
    a, b = (speed.blocks for _, speed in sides)
    ratio = bootstrap_ratio(b, a)
    fewest = min(len(a), len(b))
    return Aspect(
        verdict=verdict(ratio),
        a=then.samples_per_second.median if then.samples_per_second else None,
        b=now.samples_per_second.median if now.samples_per_second else None,
        change=ratio,
        reason=without_interval(fewest) if ratio.low is None else "",
    )


def _sides(then: Entry, now: Entry) -> list[tuple[str, speeds.Speed]]:
    return [("A", speeds.speed_of(then)), ("B", speeds.speed_of(now))]
