"""What was trained, where, with which versions: facts by name. Called by `sections` and `page`."""

from __future__ import annotations

from collections.abc import Sequence

from ..results.summary import Measurement, Row, Summary, WorkloadFacts
from . import formatting, wording
from .wording import Entry


def of_run(facts: WorkloadFacts, rows: Sequence[Row], parts: Sequence[str]) -> dict[str, str]:
    """Return what was trained, by name."""
    better = "lower" if facts.lower_is_better else "higher"
    target = "" if facts.target is None else _target(facts, facts.target)
    said = {
        "model": wording.plain(facts.model),
        "dataset": _dataset(facts),
        "parameters": f"{facts.parameters:,}",
        "training cost": _cost(facts),
        "batch": f"{facts.batch_size:,}",
        "epochs": f"{facts.epochs:,}",
        "metric": f"{wording.plain(facts.metric)}, {better} is better{target}",
        "seeds": ", ".join(str(seeds) for seeds in sorted({row.seeds for row in rows})),
        "execution": _shared(rows, parts),
    }
    return {name: value for name, value in said.items() if value}


def of_benchmark(
    facts: WorkloadFacts, measurements: Sequence[Measurement], parts: Sequence[str]
) -> dict[str, str]:
    """Return what was measured, by name."""
    sizes = sorted({m.batch_size for m in measurements})
    said = {
        "model": wording.plain(facts.model),
        "dataset": _dataset(facts),
        "parameters": f"{facts.parameters:,}",
        "training cost": _cost(facts),
        "batch": ", ".join(f"{size:,}" for size in sizes),
        "processes": ", ".join(str(n) for n in sorted({m.processes for m in measurements})),
        "execution": _shared(measurements, parts),
    }
    return {name: value for name, value in said.items() if value}


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
    host = summary.machine
    physical = f" ({host.physical_cores} physical)" if host.physical_cores else ""
    said = {
        "host": wording.plain(host.hostname),
        "CPU": wording.plain(host.cpu),
        "cores": f"{host.cores}{physical}",
        "memory": f"{host.memory_mb:,} MB",
        "system": wording.plain(host.system),
        "CPU governor": wording.plain(host.governor or "unknown"),
        "NumPy's BLAS": wording.plain(host.blas or "unknown"),
        "variables": wording.plain(
            ", ".join(f"{name}={value}" for name, value in sorted(host.variables.items()))
        ),
        "load before the run": f"{host.load:.2f}",
        "date": wording.plain(summary.created),
    }
    return {name: value for name, value in said.items() if value}


def versions(summary: Summary) -> dict[str, str]:
    """Return the versions of bakeoff, of Python and of each framework that ran."""
    found: dict[str, set[str]] = {}
    entries: list[Entry] = [*summary.rows, *summary.measurements]
    for entry in entries:
        if entry.framework_version:
            found.setdefault(wording.plain(entry.backend), set()).add(
                wording.plain(entry.framework_version)
            )
    frameworks = {backend: ", ".join(sorted(them)) for backend, them in found.items()}
    host = {
        "bakeoff": wording.plain(summary.bakeoff_version),
        "Python": wording.plain(summary.machine.python),
    }
    return host | frameworks


def settings(summary: Summary) -> dict[str, str]:
    """Return how each framework was set, and its environment variables, by its label."""
    parts = wording.varying(summary.measurements)
    found: dict[str, dict[str, None]] = {}
    for m in summary.measurements:
        said = [f"{name}={value}" for name, value in {**m.settings, **m.environment}.items()]
        found.setdefault(wording.label(m, parts), {}).update(
            dict.fromkeys(map(wording.plain, said))
        )
    return {name: ", ".join(said) for name, said in found.items() if said}
