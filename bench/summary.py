"""`summary.json`: the result of a run, one row per workload, backend and execution over its seeds.

The schema is versioned: a field may be added within a version, never renamed or dropped.
Seconds and rates are of the machine named in `machine`. A number that could not be measured is
null. Reports are made from this file alone.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from .machine import Machine
from .stats import Interval

SCHEMA_VERSION = 1

Status = Literal["ok", "failed", "unsupported", "timeout", "interrupted", "missing"]


class Metric(Struct, frozen=True):
    """A metric on the test split: its value per finished seed, their mean and 95 % t-interval."""

    name: str
    mean: float
    low: float | None
    high: float | None
    values: list[float]


class LossRange(Struct, frozen=True):
    """The mean training loss of the first and of the last epoch, averaged over seeds."""

    first: float
    last: float


class Point(Struct, frozen=True):
    """One epoch of a curve, averaged over seeds.

    `loss` is the mean training loss, `metric` the row's metric on the validation split, `seconds`
    the training time up to here (staging and evaluation excluded).
    """

    epoch: int
    loss: float
    metric: float
    seconds: float


class Rung(Struct, frozen=True):
    """A rung of the parity ladder: `ratio` is its worst error in units of rounding noise.

    `accuracy` is the equivalence test of the metric against NumPy's over paired seeds (two
    one-sided t-tests); it has no ratio, and `passes` is null where it shows nothing either way.
    """

    name: str
    passes: bool | None
    ratio: float | None


class Parity(Struct, frozen=True, kw_only=True):
    """The row's certificate: does this backend compute what NumPy computes in float64?

    `verdict` is pass, fail, unsupported or error; only a row that passes is comparable. `worst`
    says where the largest error is, `reason` what failed, and why if that is known. `certificate`
    is its key; the whole of it is in the run's folder.
    """

    verdict: str
    rungs: list[Rung]
    worst: str
    noise_ratio: float
    certificate: str
    reason: str = ""
    deviations: list[str] = []


class Row(Struct, frozen=True, kw_only=True):
    """A backend on a workload. `status` is the worst of its seeds, `reason` says why in one line.

    `seeds` is how many were asked for. `first_block_seconds` is the first call of `train`, which
    holds any compilation, and is not in `samples_per_second`. `missing`: no interpreter has it.
    """

    workload: str
    backend: str
    framework_version: str | None
    device: str
    dtype: str
    mode: str
    threads: int
    seeds: int
    status: Status
    reason: str | None
    metric: Metric | None
    metrics: dict[str, Metric]
    loss: LossRange | None
    epochs: int
    samples_per_second: Interval | None
    first_block_seconds: float | None
    import_seconds: float | None
    build_seconds: float | None
    peak_rss_mb: float | None
    parameters: int
    curve: list[Point]
    parity: Parity | None = None

    @property
    def comparable(self) -> bool:
        """Whether the row's speed may be compared: it finished, and its certificate passes."""
        return self.status == "ok" and self.parity is not None and self.parity.verdict == "pass"


class WorkloadFacts(Struct, frozen=True, kw_only=True):
    """What was trained: enough to read a row without opening the run."""

    name: str
    description: str
    model: str
    dataset: str
    dataset_sha256: str
    dataset_size: str
    parameters: int
    training_flops: int
    batch_size: int
    epochs: int
    metric: str
    lower_is_better: bool
    target: float | None = None


class Summary(Struct, frozen=True, kw_only=True):
    """The whole file."""

    schema_version: int
    bakeoff_version: str
    created: str
    command: str
    machine: Machine
    workloads: list[WorkloadFacts]
    rows: list[Row]
