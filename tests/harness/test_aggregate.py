"""From records to a summary: what a run says of records whose figures are known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bakeoff.bench.parity.certificate import Certificate
from bakeoff.bench.parity.ladder import BEYOND
from bakeoff.bench.results.summary import LayerError, LossPoint, Row, TimeToTarget
from bakeoff.bench.training import aggregate
from bakeoff.bench.worker import records
from bakeoff.bench.worker.records import Block, Built, Epoch, Finished, Started

_JOBS = Path("out/jobs/tiny")
_CERTIFICATE = Path("out/certificates/tiny/numpy-eager-float32.json")


@pytest.fixture
def run(bakeoff: Callable[..., Any], workload: Path) -> Path:
    """A finished run of two seeds, of a workload with a target."""
    text = workload.read_text(encoding="utf-8")
    workload.write_text(text.replace('metric = "mse"', 'metric = "mse"\ntarget = 0.5', 1))
    assert bakeoff("run", workload, "--backend", "numpy", "--seeds", 2, "--output", "out").code == 0
    return Path("out")


def _ask(run: Path, old: str, new: str) -> None:
    """Change what was asked of a run, as one would by hand: without a seal."""
    path = run / "run.toml"
    seal, _, text = path.read_text(encoding="utf-8").partition("\n")
    assert seal.startswith("seal = ")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def _write(seed: int, metrics: list[float], blocks: list[list[float]]) -> None:
    """Replace the records of a seed: `blocks` has each epoch's losses, a step and block each."""
    path = _JOBS / f"numpy-eager-{seed}" / "records.jsonl"
    path.unlink()
    began = Started(python="3", framework_version="1", numpy_version="2", import_seconds=9, pid=1)
    records.append(path, began)
    records.append(path, Built(build_seconds=100.0, parameters=2))
    for epoch, (metric, losses) in enumerate(zip(metrics, blocks, strict=True), 1):
        for loss in losses:
            block = Block(
                epoch=epoch, samples=2, stage_seconds=0.25, train_seconds=10.0 + seed, losses=[loss]
            )
            records.append(path, block)
        records.append(path, Epoch(epoch=epoch, loss=sum(losses), metrics={"mse": metric}))
    records.append(path, Finished(metrics={"mse": metrics[-1]}, peak_rss_mb=1.0))


def _row(folder: Path) -> Row:
    (row,) = aggregate.summarize(folder).rows
    return row


_TWO_BLOCKS = [[3.0, 2.0], [1.0, 0.5]]


@pytest.mark.parametrize(
    ("lower_is_better", "metrics", "expected"),
    [
        # One epoch: 100 s of build and twice 0.25 s of staging and 10 s (or 11 s) of training.
        (True, ([0.5, 0.9], [0.4, 0.1]), [120.5, 122.5]),
        (True, ([0.6, 0.5], [0.4, 0.1]), [141.0, 122.5]),
        (False, ([0.5, 0.9], [0.4, 0.6]), [120.5, 145.0]),
        (True, ([0.6, 0.51], [0.4, 0.1]), [None, 122.5]),
        (False, ([0.1, 0.2], [0.3, 0.4]), [None, None]),
    ],
    ids=["lower", "in-the-second-epoch", "higher", "one-seed", "not-reached"],
)
def test_the_seconds_to_the_target(
    run: Path,
    lower_is_better: bool,
    metrics: tuple[list[float], list[float]],
    expected: list[float | None],
) -> None:
    direction = f"lower_is_better = {str(lower_is_better).lower()}"
    _ask(run, "lower_is_better = true", direction)
    for seed, values in enumerate(metrics):
        _write(seed, values, _TWO_BLOCKS)
    found = _row(run).seconds_to_target
    assert found
    assert found.values == expected
    reached = [value for value in expected if value is not None]
    assert found.mean == (pytest.approx(sum(reached) / len(reached)) if reached else None)
    assert (found.low is None) == (len(reached) < 2)


def test_one_seed_has_a_time_to_its_target_without_an_interval(run: Path) -> None:
    _write(0, [0.4], [[1.0]])
    (_JOBS / "numpy-eager-1" / "records.jsonl").unlink()
    assert _row(run).seconds_to_target == TimeToTarget(110.25, None, None, [110.25])


def test_without_a_target_there_is_no_time_to_it(run: Path) -> None:
    _ask(run, "target = 0.5\n", "")
    assert _row(run).seconds_to_target is None


def test_losses_by_step_are_means_over_seeds(run: Path) -> None:
    _write(0, [0.6, 0.5], [[3.0, 2.0], [1.0, 0.5]])
    _write(1, [0.6, 0.5], [[5.0, 2.0], [1.0, 1.5]])
    row = _row(run)
    assert row.losses == [
        LossPoint(1, 10.5, 4.0), LossPoint(2, 21.0, 2.0),
        LossPoint(3, 31.5, 1.0), LossPoint(4, 42.0, 1.0),
    ]  # fmt: skip
    assert row.stage_seconds == 1.0


def test_a_long_curve_is_thinned_by_means_of_neighbours(run: Path) -> None:
    losses = [float(step) for step in range(1, 402)]
    for seed in (0, 1):
        _write(seed, [0.6], [losses])
    points = _row(run).losses
    assert len(points) == 134  # of three blocks each, the last of two
    assert (points[0].step, points[0].loss) == (3, 2.0)
    assert (points[-1].step, points[-1].loss) == (401, 400.5)
    assert points[-1].seconds == pytest.approx(401 * 10.5)


def test_errors_by_layer_are_the_worst_of_a_layers_tensors(run: Path) -> None:
    certificate = msgspec.json.decode(_CERTIFICATE.read_bytes(), type=Certificate)
    gradients = [check for check in certificate.checks if check.rung == "gradients"]
    assert {check.tensor for check in gradients} == {"output.weight", "output.bias"}
    ratios = {"output.weight": 1.5, "output.bias": 2.5}
    checks = [
        msgspec.structs.replace(check, ratio=ratios[check.tensor])
        if check.rung == "gradients"
        else msgspec.structs.replace(check, ratio=0.5)
        for check in certificate.checks
    ]
    _keep(certificate, checks)
    parity = _row(run).parity
    assert parity
    assert parity.layers == [LayerError("output", 0.5, 2.5)]
    broken = [
        msgspec.structs.replace(check, problem="is missing") if check.rung == "forward" else check
        for check in checks
    ]
    _keep(certificate, broken)
    parity = _row(run).parity
    assert parity
    assert parity.layers == [LayerError("output", BEYOND, 2.5)]


def _keep(certificate: Certificate, checks: list[Any]) -> None:
    changed = msgspec.structs.replace(certificate, checks=checks)
    _CERTIFICATE.write_bytes(msgspec.json.encode(changed))


def test_the_fastest_is_compared_with_every_other(
    bakeoff: Callable[..., Any], workload: Path, fake: Callable[[str], str]
) -> None:
    backends = f"numpy,{fake('chatters')},{fake('doubles')}"
    bakeoff("run", workload, "--backend", backends, "--seeds", 2, "--epochs", 30, "--output", "out")
    summary = aggregate.summarize(Path("out"))
    (found,) = summary.comparisons  # `doubles` has no certificate that passes
    speeds = {row.backend: row.samples_per_second for row in summary.rows}
    ours, theirs = speeds[found.subject], speeds[found.rival]
    assert ours
    assert theirs
    assert {found.subject, found.rival} == {"numpy", "chatters"}
    assert found.ratio.median == pytest.approx(ours.median / theirs.median)
    assert (found.samples_per_second, found.rival_samples_per_second) == (ours, theirs)
    assert (found.ratio.low, found.verdict) == (None, "not judged")  # of two processes
    assert (found.kind, found.phase, found.batch_size, found.threads, found.mode) == (
        "backends", "train", 1, 1, "eager"
    )  # fmt: skip
