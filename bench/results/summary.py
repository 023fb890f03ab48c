"""`summary.json`: the result of a run: a row per workload, backend and execution over its seeds; or
of a benchmark: a measurement per workload, backend, execution, phase and batch size.

The schema is versioned: a field may be added within a version, never renamed or dropped. Version 1
is read as well; its rows have no blocks, its certificates no bound, and what its comparisons have
besides is dropped. Seconds and rates are of the machine named in `machine`. A number that could not
be measured is null. Reports and comparisons with other results are made from this file alone.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from ..environments.machine import Machine
from ..worker.records import Phase
from .stats import Interval, SpeedVerdict

SCHEMA_VERSION = 3

Status = Literal["ok", "failed", "unsupported", "timeout", "interrupted", "missing"]


class Metric(Struct, frozen=True):
    """A metric on the test split: its value per finished seed, their mean and 95 % t-interval,
    which keeps within the metric's bounds, and is null for one seed.
    """

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


class LossPoint(Struct, frozen=True):
    """The mean training loss of some blocks of steps, averaged over seeds.

    `step` counts updates, `seconds` the training time, both up to the last of these blocks.
    """

    step: int
    seconds: float
    loss: float


class TimeToTarget(Struct, frozen=True):
    """Seconds until the validation metric reached the workload's target, per finished seed.

    They hold the build, the staging and the training with its compilation, up to the end of the
    first epoch that reached it; not the evaluation. Null where no epoch did. The mean and its 95 %
    t-interval, which keeps above zero, are of the seeds that reached it.
    """

    mean: float | None
    low: float | None
    high: float | None
    values: list[float | None]


class RungResult(Struct, frozen=True):
    """A rung of the parity ladder: `ratio` is its worst error in units of rounding noise.

    `accuracy` is the equivalence test of the metric against NumPy's over paired seeds (two
    one-sided t-tests) within `margin`, in units of the metric; it has no ratio, and `passes` is
    null where it shows nothing either way.
    """

    name: str
    passes: bool | None
    ratio: float | None
    margin: float | None = None


class LayerError(Struct, frozen=True):
    """The worst errors of a layer's output and of its gradients, in units of rounding noise.

    Null where a layer has no weights; 1e30 where a tensor is missing, misshapen or not finite.
    """

    layer: str
    forward: float | None
    gradients: float | None


class Parity(Struct, frozen=True, kw_only=True):
    """The row's certificate: does this backend compute what NumPy computes in float64?

    `verdict` is pass, fail, unsupported or error; only a row that passes is comparable. `worst`
    says where the largest error is, `reason` what failed, and why if that is known. `noise_ratio`
    is that error in units of rounding noise, of which it may be `allowed`; version 1, which does
    not say how much, allowed 16. `layers` are in the order of the model. `certificate` is its key;
    the whole of it is in the run's folder.
    """

    verdict: str
    rungs: list[RungResult]
    worst: str
    noise_ratio: float
    certificate: str
    reason: str = ""
    deviations: list[str] = []
    layers: list[LayerError] = []
    allowed: float = 16.0


class Audits(Struct, frozen=True, kw_only=True):
    """What audits of the very processes that were timed looked at, and found.

    `blocks` of `steps` in all were replayed by the oracle; `worst` is the largest error in units of
    rounding noise. `undecided` counts blocks in which rounding had grown too far to decide whether
    the last step was taken. `failure` says in one line what failed first; it is empty if nothing
    did. `seconds` is what the judging took.
    """

    blocks: int = 0
    steps: int = 0
    undecided: int = 0
    worst: float = 0.0
    failure: str = ""
    seconds: float = 0.0


class Row(Struct, frozen=True, kw_only=True):
    """A backend on a workload. `status` is the worst of its seeds, `reason` says why in one line.

    Speeds are compared of rows that are `comparable`: all that was judged of them passes. `parity`
    is the certificate in the row's own dtype, `parity_float64` that in float64, of another one.

    `seeds` is how many were asked for, `finished_seeds` are those of the metric's values, in their
    order; empty if not known, as an older summary does not say. `first_block_seconds` is the first
    call of `train`, which holds any compilation, and is not in `samples_per_second`. `blocks` are
    the samples/s of all other blocks, by process, which is a seed that finished. `stage_seconds` is
    the staging of all batches. `losses` are the curve of the training loss by step, `curve` is by
    epoch. `seconds_to_target` is null where the workload has no target. `settings` is what the
    adapter fixed that matters for speed or numerics, in its own words. `missing`: no interpreter
    has it.
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
    comparable: bool = False
    parity: Parity | None = None
    parity_float64: Parity | None = None
    audits: Audits | None = None
    stage_seconds: float | None = None
    seconds_to_target: TimeToTarget | None = None
    losses: list[LossPoint] = []
    blocks: list[list[float]] = []
    settings: dict[str, str] = {}
    finished_seeds: list[int] = []


class Measurement(Struct, frozen=True, kw_only=True):
    """A speed (`bakeoff bench`): a backend, execution, phase and batch size, over fresh processes.

    Seconds are medians over processes; a step is one batch, in `train` one update of the weights,
    in `infer` one call of `predict` with a host array. `first_step_seconds` holds any compilation.
    Steady figures are of pre-staged batches, `fed_samples_per_second` has gathering and staging
    inside. `latency_seconds` is `predict` on one sample. Memory is the peak less what the process
    held when its framework was imported. `percent_of_peak` is the analytic GFLOP/s over the SGEMM
    peak of the same run and threads; null but on the CPU. `threads_used` is CPU time over wall time
    in steady blocks. `split` has the seconds of `forward`, `backward` and `update` where the
    backend lets one see them; `overhead_seconds` is the part of a step that does not grow with the
    batch, fitted over the batch sizes. `blocks` are the steady samples/s by process, `rounds` the
    numbers of their turns, which are neighbours of others' turns of that number; `discarded`
    counts the blocks in which another process was at work. `flags` say in words what to be wary of.
    A backend that took turns with a `rival` has no pre-staged figure, but a comparison.
    """

    workload: str
    backend: str
    framework_version: str | None
    device: str
    dtype: str
    mode: str
    threads: int
    phase: Phase
    batch_size: int
    status: Status
    reason: str | None
    processes: int
    steps_per_block: int
    import_seconds: float | None = None
    build_seconds: float | None = None
    stage_seconds: float | None = None
    first_step_seconds: float | None = None
    step_seconds: Interval | None = None
    samples_per_second: Interval | None = None
    fed_samples_per_second: Interval | None = None
    latency_seconds: Interval | None = None
    peak_rss_mb: float | None = None
    device_memory_mb: float | None = None
    gflops: float | None = None
    percent_of_peak: float | None = None
    threads_used: float | None = None
    overhead_seconds: float | None = None
    split: dict[str, float] = {}
    blocks: list[list[float]] = []
    rounds: list[list[int]] = []
    discarded: int = 0
    rival: str | None = None
    flags: list[str] = []
    settings: dict[str, str] = {}
    environment: dict[str, str] = {}
    comparable: bool = False
    parity: Parity | None = None
    parity_float64: Parity | None = None
    audits: Audits | None = None

    @property
    def turns(self) -> list[dict[int, float]]:
        """The steady samples/s by process, then by round."""
        return [
            dict(zip(rounds, rates, strict=True))
            for rounds, rates in zip(self.rounds, self.blocks, strict=False)
        ]


Entry = Row | Measurement


class Comparison(Struct, frozen=True, kw_only=True):
    """Two speeds of one run: `ratio` is the samples/s of `subject` over that of `rival`.

    `kind` is `backends`, `engine` (Keras over its engine by itself), `native` (an adapter over the
    same net written by hand) or `peers` (NumPy over another library of pure Python). The verdict
    follows from the interval; without one it is `not judged`. `rival_mode` is empty in an older
    summary, and of a rival by hand: its mode is the subject's.
    """

    kind: Literal["backends", "engine", "native", "peers"]
    workload: str
    phase: Phase
    batch_size: int
    threads: int
    mode: str
    subject: str
    rival: str
    ratio: Interval
    samples_per_second: Interval | None = None
    rival_samples_per_second: Interval | None = None
    verdict: SpeedVerdict
    device: str = "cpu"
    rival_mode: str = ""


class WorkloadFacts(Struct, frozen=True, kw_only=True):
    """What was trained: enough to read a row without opening the run.

    `model_sha256` is of all that the model says beside names and defaults; empty if not known.
    `warnings` say what the model computes that is hardly meant. `layers` are in the order in which
    they are computed, `loss` and `optimizer`, with its schedule, in words; `caveats` are those of
    the data. All of these are empty in an older summary.
    """

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
    model_sha256: str = ""
    warnings: list[str] = []
    layers: list[str] = []
    loss: str = ""
    optimizer: str = ""
    caveats: str = ""


class Summary(Struct, frozen=True, kw_only=True):
    """The whole file: `rows` of `bakeoff run` or `measurements` of `bakeoff bench`.

    `comparisons` are those of either, of the fastest with every other: of each workload and mode,
    or, if `modes`, which were asked for, are `typical` or `best`, of each workload. `peaks` are the
    SGEMM GFLOP/s that this machine reached in the run, by number of threads.
    """

    schema_version: int
    bakeoff_version: str
    created: str
    command: str
    machine: Machine
    workloads: list[WorkloadFacts]
    rows: list[Row]
    measurements: list[Measurement] = []
    comparisons: list[Comparison] = []
    peaks: dict[str, Interval] = {}
    modes: tuple[str, ...] = ("eager", "compiled")

    @property
    def entries(self) -> list[Entry]:
        """The rows and the measurements."""
        return [*self.rows, *self.measurements]


def is_comparable(entry: Entry) -> bool:
    """Say whether an entry finished, its certificates pass, and its audits found no fault."""
    in_float64 = entry.parity_float64
    return (
        is_certified(entry)
        and (in_float64 is None or in_float64.verdict not in ("fail", "error"))
        and entry.audits is not None
        and not entry.audits.failure
    )


def is_certified(entry: Entry) -> bool:
    """Say whether an entry finished, and its own certificate passes."""
    return entry.status == "ok" and entry.parity is not None and entry.parity.verdict == "pass"
