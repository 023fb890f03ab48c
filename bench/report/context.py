"""What was trained, where, with which versions: facts by name. Called by `sections` and `page`."""

from __future__ import annotations

from collections.abc import Sequence

from ..results.summary import Entry, Measurement, Row, Summary, WorkloadFacts
from . import formatting, wording


def of_run(facts: WorkloadFacts, rows: Sequence[Row], parts: Sequence[str]) -> dict[str, str]:
    """Return what was trained, by name."""
    better = "lower" if facts.lower_is_better else "higher"
    target = "" if facts.target is None else _target(facts, facts.target)
    facts_by_name = {
        "model": wording.plain(facts.model),
        "dataset": _dataset(facts),
        "parameters": f"{facts.parameters:,}",
        "training cost": _cost(facts),
        "batch": f"{facts.batch_size:,}",
        "epochs": f"{facts.epochs:,}",
        "metric": f"{wording.plain(facts.metric)}, {better} is better{target}",
        **_terms(facts),
        "seeds": ", ".join(str(seeds) for seeds in sorted({row.seeds for row in rows})),
        "execution": _shared(rows, parts),
        "data caveats": wording.plain(facts.caveats),
    }
    return {name: value for name, value in facts_by_name.items() if value}


def of_benchmark(
    facts: WorkloadFacts, measurements: Sequence[Measurement], parts: Sequence[str]
) -> dict[str, str]:
    """Return what was measured, by name."""
    sizes = sorted({m.batch_size for m in measurements})
    facts_by_name = {
        "model": wording.plain(facts.model),
        "dataset": _dataset(facts),
        "parameters": f"{facts.parameters:,}",
        "training cost": _cost(facts),
        "batch": ", ".join(f"{size:,}" for size in sizes),
        **_terms(facts),
        "processes": ", ".join(str(n) for n in sorted({m.processes for m in measurements})),
        "execution": _shared(measurements, parts),
        "data caveats": wording.plain(facts.caveats),
    }
    return {name: value for name, value in facts_by_name.items() if value}


def _terms(facts: WorkloadFacts) -> dict[str, str]:
    return {"loss": wording.plain(facts.loss), "optimizer": wording.plain(facts.optimizer)}


def _shared(entries: Sequence[Entry], parts: Sequence[str]) -> str:
    """Return what all executions have in common."""
    shared = [part for part in wording.EXECUTION if part not in parts]
    return ", ".join(wording.execution(entries[0], shared)) if entries else ""


def _dataset(facts: WorkloadFacts) -> str:
    if not facts.dataset_sha256:
        return wording.plain(facts.dataset)
    size, digest = wording.plain(facts.dataset_size), wording.plain(facts.dataset_sha256)[:12]
    return f"{wording.plain(facts.dataset)} ({size}; sha256 {digest}…)"


def _cost(facts: WorkloadFacts) -> str:
    return f"{formatting.significant(facts.training_flops / 1e6, 3)} MFLOP/sample"


def _target(facts: WorkloadFacts, target: float) -> str:
    return f", target {formatting.metric_value(facts.metric, target)}"


def machine(summary: Summary) -> dict[str, str]:
    """Return where and when it ran, by name."""
    here = summary.machine
    physical = f" ({here.physical_cores} physical)" if here.physical_cores else ""
    facts_by_name = {
        "host": wording.plain(here.hostname),
        "CPU": wording.plain(here.cpu),
        "cores": f"{here.cores}{physical}",
        "memory": f"{here.memory_mb:,} MB",
        "system": wording.plain(here.system),
        "CPU governor": wording.plain(here.governor or "unknown"),
        "NumPy's BLAS": wording.plain(here.blas or "unknown"),
        "variables": wording.plain(
            ", ".join(f"{name}={value}" for name, value in sorted(here.variables.items()))
        ),
        "load before the run": f"{here.load:.2f}",
        "date": wording.plain(summary.created),
    }
    return {name: value for name, value in facts_by_name.items() if value}


def versions(summary: Summary) -> dict[str, str]:
    """Return the versions of bakeoff, of Python and of each framework that ran."""
    by_backend: dict[str, set[str]] = {}
    for entry in summary.entries:
        if entry.framework_version:
            by_backend.setdefault(wording.plain(entry.backend), set()).add(
                wording.plain(entry.framework_version)
            )
    frameworks = {backend: ", ".join(sorted(them)) for backend, them in by_backend.items()}
    ours = {
        "bakeoff": wording.plain(summary.bakeoff_version),
        "Python": wording.plain(summary.machine.python),
    }
    return ours | frameworks


def settings(summary: Summary) -> dict[str, str]:
    """Return how each framework was set, and its environment variables, by its label."""
    found = _pairs(summary.entries, wording.varying(summary.entries))
    return {label: "; ".join(pairs) for label, pairs in found.items() if pairs}


def environments(entries: Sequence[Entry], parts: Sequence[str]) -> dict[str, str]:
    """Return in what the environments of backends differ, by label, and what is alike in all."""
    ran = [entry for entry in entries if entry.framework_version]
    versions = {
        wording.label(e, parts): wording.plain(f"version {e.framework_version}") for e in ran
    }
    said = {label: [versions[label], *pairs] for label, pairs in _pairs(ran, parts).items()}
    alike = set.intersection(*map(set, said.values())) if len(said) > 1 else set()
    differing = {
        label: "; ".join(own)
        for label, pairs in said.items()
        if (own := [pair for pair in pairs if pair not in alike])
    }
    return differing | ({"all of them": "; ".join(sorted(alike))} if alike else {})


def _pairs(entries: Sequence[Entry], parts: Sequence[str]) -> dict[str, list[str]]:
    by_label: dict[str, dict[str, None]] = {}
    for entry in entries:
        variables = entry.environment if isinstance(entry, Measurement) else {}
        pairs = [f"{name}={value}" for name, value in {**entry.settings, **variables}.items()]
        by_label.setdefault(wording.label(entry, parts), {}).update(
            dict.fromkeys(map(wording.plain, pairs))
        )
    return {label: list(pairs) for label, pairs in by_label.items()}
