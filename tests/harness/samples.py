"""Summaries to report: of a run, and of a benchmark, with all that can go wrong in them."""

from __future__ import annotations

from collections.abc import Iterator

from bakeoff.bench.environments.machine import Machine
from bakeoff.bench.results.stats import Interval, verdict
from bakeoff.bench.results.summary import (
    SCHEMA_VERSION,
    Comparison,
    LayerError,
    LossPoint,
    LossRange,
    Measurement,
    Metric,
    Parity,
    Phase,
    Point,
    Row,
    RungResult,
    Status,
    Summary,
    TimeToTarget,
    WorkloadFacts,
)

EVIL = "</script><script>alert(1)</script> | a\n*b*"
_BATCHES = (1, 8, 64, 512)
_FLOPS = 2_263_920
_PEAK = 60.0  # GFLOP/s
_OVERHEADS = {"numpy": 80e-6, "torch": 150e-6, "jax": 30e-6}  # seconds of a step
_SAMPLE_SECONDS = {"numpy": 110e-6, "torch": 70e-6, "jax": 60e-6}


def facts(name: str) -> WorkloadFacts:
    return WorkloadFacts(
        name=name,
        description=EVIL,
        model="lenet5",
        dataset="mnist-5k",
        dataset_sha256="0123456789abcdef" * 4,
        dataset_size="3,500 / 500 / 1,000",
        parameters=61706,
        training_flops=_FLOPS,
        batch_size=64,
        epochs=2,
        metric="accuracy",
        lower_is_better=False,
        target=0.94,
    )


def parity(outcome: str, reason: str = "") -> Parity:
    rungs = [
        RungResult("gradients", outcome == "pass", 1.25),
        RungResult("accuracy", True, None, 0.005),
    ]
    return Parity(
        verdict=outcome, rungs=rungs, worst="gradients", noise_ratio=1.25, certificate="f00",
        reason=reason, layers=[LayerError("conv1", 0.5, 1.25), LayerError("layers[1]", 0, None)],
    )  # fmt: skip


def row(
    workload: str, backend: str, status: Status = "ok", *, speed: float = 1000.0, seeds: int = 3
) -> Row:
    done = status == "ok"
    values = [0.95, 0.96, 0.97][:seeds]
    interval = (0.935, 0.985) if seeds > 1 else (None, None)
    metric = Metric("accuracy", 0.96, *interval, values) if done else None
    return Row(
        workload=workload,
        backend=backend,
        framework_version="1.2.3" if done else None,
        device="cpu",
        dtype="float32",
        mode="eager",
        threads=1,
        seeds=seeds,
        status=status,
        reason=None if done else f"{status} because {EVIL}",
        metric=metric,
        metrics={"accuracy": metric} if metric else {},
        loss=LossRange(2.0, 0.0) if done else None,
        epochs=2,
        samples_per_second=Interval(speed, 0.9 * speed, 1.1 * speed) if done else None,
        first_block_seconds=0.5 if done else None,
        import_seconds=0.25 if done else None,
        build_seconds=0.125 if done else None,
        peak_rss_mb=321.4 if done else None,
        parameters=61706,
        curve=[Point(1, 2.0, 0.5, 0.6), Point(2, 0.0, 0.9, 1.2)] if done else [],
        comparable=done,
        parity=parity("pass") if done else None,
        stage_seconds=0.0625 if done else None,
        seconds_to_target=TimeToTarget(1.5, 1.25, 1.75, [1.4, 1.6, None]) if done else None,
        losses=[LossPoint(50, 0.6, 2.0), LossPoint(100, 1.2, 0.0)] if done else [],
    )


def summary(
    *rows: Row, measurements: list[Measurement] | None = None, more: list[Comparison] | None = None
) -> Summary:
    """Return a summary of rows, with the comparison of the fastest of each workload and mode."""
    names = [entry.workload for entry in [*rows, *(measurements or [])]]
    return Summary(
        schema_version=SCHEMA_VERSION,
        bakeoff_version="0.1.0",
        created="2026-11-22T00:00:00+00:00",
        command="bakeoff run 'a <b>.toml'",
        machine=Machine(
            hostname="h",
            system="Linux",
            python="3.11.7",
            cpu="A CPU",
            cores=2,
            memory_mb=24000,
            load=0.5,
        ),
        workloads=[facts(name) for name in dict.fromkeys(names)],
        rows=list(rows),
        measurements=measurements or [],
        comparisons=[*_of_rows(rows), *(more or [])],
        peaks={"1": Interval(_PEAK, 58.0, 61.0)} if measurements else {},
    )


def _of_rows(rows: tuple[Row, ...]) -> Iterator[Comparison]:
    for workload, mode in dict.fromkeys((r.workload, r.mode) for r in rows):
        speeds = {
            r.backend: r.samples_per_second
            for r in rows
            if (r.workload, r.mode) == (workload, mode) and r.comparable and r.samples_per_second
        }
        yield from _against_fastest(workload, "train", 64, mode, speeds)


def _against_fastest(
    workload: str, phase: Phase, batch: int, mode: str, speeds: dict[str, Interval]
) -> Iterator[Comparison]:
    ranked = sorted(speeds, key=lambda name: -speeds[name].median)
    for rival in ranked[1:]:
        yield comparison("backends", ranked[0], rival, speeds[ranked[0]], speeds[rival],
                         workload=workload, phase=phase, batch=batch, mode=mode)  # fmt: skip


def comparison(
    kind: str, subject: str, rival: str, ours: Interval, theirs: Interval, *, workload: str,
    phase: Phase = "train", batch: int = 64, mode: str = "eager",
) -> Comparison:  # fmt: skip
    ratio = Interval(ours.median / theirs.median, ours.low / theirs.high, ours.high / theirs.low)
    return Comparison(
        kind=kind,  # type: ignore[arg-type]
        workload=workload,
        phase=phase,
        batch_size=batch,
        device="cpu",
        threads=1,
        mode=mode,
        subject=subject,
        rival=rival,
        ratio=ratio,
        verdict=verdict(ratio),
    )


def benchmark(workload: str = "mnist-lenet5") -> Summary:
    """Six backends, four batch sizes, both phases; three of them fail, each in its own way."""
    phases: tuple[Phase, ...] = ("train", "infer")
    found = [
        measurement(workload, backend, phase, batch)
        for phase in phases
        for backend in ("numpy", "torch", "jax", "keras", "mxnet", "paddle")
        for batch in _BATCHES
    ]
    more = [
        one
        for phase in phases
        for batch in _BATCHES
        for one in _against_fastest(workload, phase, batch, "eager", {
            m.backend: m.samples_per_second
            for m in found
            if (m.phase, m.batch_size) == (phase, batch) and m.comparable and m.samples_per_second
        })
    ]  # fmt: skip
    fast, slow = Interval(9000, 8800, 9200), Interval(9100, 8900, 9300)
    one = Interval(90, 88, 92)
    more += [
        comparison("native", "torch", "torch by hand", fast, slow, workload=workload),
        comparison("peers", "numpy", "joelnet", fast, one, workload=workload),
    ]
    return summary(measurements=found, more=more)


def measurement(workload: str, backend: str, phase: Phase, batch: int) -> Measurement:
    states: dict[str, Status] = {"keras": "failed", "mxnet": "unsupported"}
    status = states.get(backend, "ok")
    common = {
        "workload": workload, "backend": backend, "device": "cpu", "dtype": "float32",
        "mode": "eager", "threads": 1, "phase": phase, "batch_size": batch, "processes": 3,
        "steps_per_block": 20, "status": status,
    }  # fmt: skip
    if status != "ok":
        reason = f"{status} because {EVIL}"
        return Measurement(framework_version=None, reason=reason, **common)  # type: ignore[arg-type]
    overhead = _OVERHEADS.get(backend, 1e-4)
    rest = _SAMPLE_SECONDS.get(backend, 50e-6) * batch / (1 if phase == "train" else 1.5)
    rate = batch / (overhead + rest)
    gflops = rate * _FLOPS / 1e9
    return Measurement(
        framework_version="1.2.3",
        reason=None,
        import_seconds=0.8,
        build_seconds=0.02,
        stage_seconds=0.001,
        first_step_seconds=1.5,
        step_seconds=_about(overhead + rest),
        samples_per_second=_about(rate),
        fed_samples_per_second=_about(0.9 * rate),
        latency_seconds=_about(overhead) if phase == "infer" else None,
        peak_rss_mb=50 + 0.1 * batch,
        gflops=gflops,
        percent_of_peak=100 * gflops / _PEAK,
        threads_used=0.99,
        overhead_seconds=overhead,
        split={"forward": 0.3 * rest, "backward": 0.6 * rest, "update": overhead}
        if (backend, phase) == ("torch", "train")
        else {},
        blocks=[[0.98 * rate, rate, 1.02 * rate]] * 3,
        discarded=1,
        flags=["jax on <b>one</b> thread may use more"] if backend == "jax" else [],
        settings={"torch.set_num_threads": "1"} if backend == "torch" else {},
        environment={"OMP_NUM_THREADS": "1"},
        comparable=backend != "paddle",
        parity=parity("fail", "gradients, conv1.weight: 40x")
        if backend == "paddle"
        else parity("pass"),
        **common,  # type: ignore[arg-type]
    )


def _about(value: float) -> Interval:
    return Interval(value, 0.97 * value, 1.03 * value)
