"""In what two results differ before anything is measured: data, model, terms, versions, machine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct

from .summary import Entry, Measurement, Row, Summary, WorkloadFacts

ABSENT = "–"
_DIGITS = 12  # of a hash

Facts = dict[str, str]  # in words, by name; what is not known is not there


class Difference(Struct, frozen=True):
    """One thing that is not the same in A and in B, in words."""

    name: str
    a: str
    b: str


def differences(before: Summary, after: Summary) -> list[Difference]:
    """Return every difference of configuration, versions and machine that is known of both.

    Of workloads and backends those are told that are in both; a variable may be in one alone.
    """
    then, now = _facts(before), _facts(after)
    return [
        Difference(f"{scope}: {name}" if scope else name, a, b)
        for scope in then
        if scope in now
        for name, a, b in _differing(then[scope], now[scope])
    ]


def obstacle(entry: Entry, before: WorkloadFacts, after: WorkloadFacts) -> str:
    """Say why two results of a workload are not of one experiment; nothing if they are."""
    data = _by_hash("dataset", "dataset_sha256", ("dataset", "dataset_size"), before, after)
    model = _by_hash(
        "model", "model_sha256", ("model", "parameters", "training_flops"), before, after
    )
    terms = ("batch_size", "epochs", "metric") if isinstance(entry, Row) else ()
    return data or model or next(filter(None, (_by(n, (n,), before, after) for n in terms)), "")


def _by_hash(
    name: str, digest: str, fields: Iterable[str], before: WorkloadFacts, after: WorkloadFacts
) -> str:
    """Compare by a hash, or by other fields where one of the two has none."""
    a, b = getattr(before, digest), getattr(after, digest)
    if not (a and b):
        return _by(name, fields, before, after)
    return "" if a == b else f"{name} differs (sha256 {_short(a)} / {_short(b)})"


def _by(name: str, fields: Iterable[str], before: WorkloadFacts, after: WorkloadFacts) -> str:
    for field in fields:
        a, b = getattr(before, field), getattr(after, field)
        if a != b:
            what = "" if field == name else f"{_words(field)} "
            return f"{_words(name)} differs ({what}{a} / {b})"
    return ""


def _differing(then: Facts, now: Facts) -> Iterable[tuple[str, str, str]]:
    for name in dict.fromkeys([*then, *now]):
        is_optional = name.startswith("variable ")
        a, b = then.get(name, ABSENT), now.get(name, ABSENT)
        if a != b and (is_optional or ABSENT not in (a, b)):
            yield name, a, b


def _facts(summary: Summary) -> dict[str, Facts]:
    """Return what is known by scope: of the whole, of each workload, of each backend."""
    here = summary.machine
    machine = {
        "host": here.hostname,
        "CPU": here.cpu,
        "cores": here.cores,
        "physical cores": here.physical_cores,
        "memory": f"{here.memory_mb:,} MB",
        "system": here.system,
        "CPU governor": here.governor,
        "NumPy's BLAS": here.blas,
    }
    facts = {"": {"bakeoff": summary.bakeoff_version, "Python": here.python} | _known(machine)}
    facts[""] |= {f"variable {name}": value for name, value in here.variables.items()}
    facts[""] |= _execution(summary.entries)
    for workload in summary.workloads:
        facts[workload.name] = _of_workload(workload)
    for backend in dict.fromkeys(entry.backend for entry in summary.entries):
        entries = [entry for entry in summary.entries if entry.backend == backend]
        facts[backend] = facts.get(backend, {}) | _of_backend(entries)
    return facts


def _execution(entries: Iterable[Entry]) -> Facts:
    entries = list(entries)
    names = {part: part for part in ("device", "dtype", "mode", "threads")}
    rows = [entry for entry in entries if isinstance(entry, Row)]
    measured = [entry for entry in entries if isinstance(entry, Measurement)]
    facts = {
        name: _listed(getattr(entry, part) for entry in entries) for name, part in names.items()
    }
    facts["seeds"] = _listed(row.seeds for row in rows)
    facts["numbers of the seeds"] = _listed(n for row in rows for n in row.finished_seeds)
    facts["phase"] = _listed(m.phase for m in measured)
    facts["batch size"] = _listed(m.batch_size for m in measured)
    facts["rival"] = _listed(m.rival or "none" for m in measured)
    return _known(facts)


def _of_workload(workload: WorkloadFacts) -> Facts:
    return _known(
        {
            "dataset": workload.dataset,
            "dataset's sha256": _short(workload.dataset_sha256),
            "dataset's size": workload.dataset_size,
            "model": workload.model,
            "model's sha256": _short(workload.model_sha256),
            "parameters": f"{workload.parameters:,}",
            "training FLOPs of a sample": f"{workload.training_flops:,}",
            "batch size": workload.batch_size,
            "epochs": workload.epochs,
            "metric": workload.metric,
            "target": workload.target,
        }
    )


def _of_backend(entries: Iterable[Entry]) -> Facts:
    said: dict[str, dict[str, None]] = {}
    for entry in entries:
        if entry.framework_version:
            said.setdefault("version", {})[entry.framework_version] = None
        for name, value in entry.settings.items():
            said.setdefault(name, {})[value] = None
        for name, value in entry.environment.items() if isinstance(entry, Measurement) else ():
            said.setdefault(f"variable {name}", {})[value] = None
    return {name: ", ".join(sorted(values)) for name, values in said.items()}


def _known(facts: Mapping[str, object]) -> Facts:
    return {name: str(value) for name, value in facts.items() if value not in (None, "")}


def _listed(values: Iterable[object]) -> str:
    return ", ".join(str(value) for value in dict.fromkeys(values))


def _short(digest: str) -> str:
    return f"{digest[:_DIGITS]}…" if digest else ""


def _words(field: str) -> str:
    return field.replace("_", " ")
