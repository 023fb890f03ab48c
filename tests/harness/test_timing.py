"""Timing: what counts as steady, what is discarded and flagged, who is timed next, and the whole
command with odd backends.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import psutil
import pytest
from msgspec import structs

from bakeoff import models
from bakeoff.backends.contract import Execution
from bakeoff.bench.report import wording
from bakeoff.bench.results import stats
from bakeoff.bench.results.stats import Interval
from bakeoff.bench.results.summary import Measurement
from bakeoff.bench.timing import analysis, comparison, session
from bakeoff.bench.timing.plan import seconds_of
from bakeoff.bench.timing.race import Entrant, Race
from bakeoff.bench.worker import records
from bakeoff.bench.worker.records import Feed, Measured, Record, Refused, Sample
from bakeoff.bench.worker.task import Task, steps_per_block
from harness.processes import mind_interrupts, wait_until

Command = Callable[..., Any]
Fake = Callable[[str], str]

_RNG = np.random.default_rng(0)
_NOISE = (1 + 0.005 * _RNG.standard_normal(40)).tolist()


def _sample(seconds: float, feed: Feed = "staged", **changes: Any) -> Sample:
    sample = Sample(
        feed=feed,
        round=0,
        seconds=seconds,
        cpu_seconds=seconds,
        foreign_cores=0.0,
        load=0.0,
        compilations=None,
    )
    return structs.replace(sample, **changes)


def _process(seconds: Sequence[float], **changes: Any) -> list[Record]:
    end = Measured(latencies=[1e-3], split={}, peak_rss_mb=10.0, device_memory_mb=None, settings={})
    return [*(_sample(s, round=i, **changes) for i, s in enumerate(seconds)), end]


def _task(**changes: Any) -> Task:
    task = Task(
        name="mlp",
        model=models.read("mnist-mlp"),
        backend="numpy",
        adapter="numpy",
        execution=Execution(device="cpu", dtype="float32", mode="eager", threads=1),
        phase="train",
        batch_size=64,
        steps=25,
        inputs="",
        python="python",
        environment={},
    )
    return structs.replace(task, **changes)


def test_a_constant_speed_is_steady_from_the_first_block() -> None:
    assert analysis.steady(_NOISE) == (0, False)


def test_the_steady_state_begins_behind_the_warm_up() -> None:
    start, drifting = analysis.steady([2.0] * 6 + _NOISE[:20])
    assert not drifting
    assert 3 <= start <= 6


def test_a_drift_has_no_steady_state() -> None:
    start, drifting = analysis.steady(np.linspace(1, 2, 30).tolist())
    assert drifting
    assert start == 15


def test_a_difference_that_does_not_matter_is_no_drift() -> None:
    assert analysis.steady([1.0] * 15 + [1.01] * 15) == (0, False)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (_NOISE, False),
        ([*_NOISE[:20], *(1.5 * n for n in _NOISE[20:])], True),
        ([*_NOISE[:39], 2.0], False),  # an outlier is not a mode
        (np.linspace(1, 2, 40).tolist(), False),  # nor is a drift
        ([1.0, 2.0], False),  # too few to tell
    ],
)
def test_two_modes_are_told_from_noise(values: list[float], expected: bool) -> None:
    assert analysis.is_bimodal(values) is expected


def test_a_block_beside_other_processes_is_discarded_and_counted() -> None:
    process = _process(_NOISE[:10])
    process[3:3] = [_sample(5.0, foreign_cores=0.9)] * 2
    found = analysis.blocks(process, "staged")
    assert found
    assert (found.discarded, found.busy) == (2, False)
    assert max(found.seconds.values()) < 2


def test_if_the_machine_is_busy_throughout_nothing_is_discarded() -> None:
    found = analysis.blocks(_process(_NOISE[:10], foreign_cores=0.9), "staged")
    assert found
    assert (len(found.seconds), found.discarded, found.busy) == (10, 0, True)


def test_a_compilation_in_the_steady_state_is_seen() -> None:
    process = [_sample(1.0, round=i, compilations=n) for i, n in enumerate((1, 1, 1, 2, 2, 2))]
    found = analysis.blocks(process, "staged")
    assert found
    assert found.recompiled


def test_feeds_are_apart() -> None:
    process = _process(_NOISE[:8]) + _process([3.0] * 8, feed="fed")
    staged, fed = (analysis.blocks(process, feed) for feed in ("staged", "fed"))
    assert staged
    assert fed
    assert np.median([*staged.seconds.values()]) == pytest.approx(1, rel=0.02)
    assert list(fed.seconds.values()) == [3.0] * 8
    assert analysis.blocks(_process(_NOISE[:8]), "fed") is None


def test_the_measurement_is_in_its_units() -> None:
    task = _task()
    found = analysis.measurement(task, [_process([0.1] * 8)] * 3, peak=100.0)
    flops = task.model.cost.training_flops
    assert found.samples_per_second == Interval(16_000, 16_000, 16_000)
    assert found.step_seconds
    assert found.step_seconds.median == pytest.approx(0.004)
    assert found.gflops == pytest.approx(16_000 * flops / 1e9)
    assert found.percent_of_peak == pytest.approx(16_000 * flops / 1e9)
    assert (found.processes, found.threads_used, found.flags) == (3, 1.0, [])
    infer = analysis.measurement(
        structs.replace(task, phase="infer"), [_process([0.1] * 8)], peak=100.0
    )
    assert infer.gflops == pytest.approx(16_000 * task.model.cost.forward_flops / 1e9)


@pytest.mark.parametrize(
    ("threads", "cpu", "flag"),
    [(1, 1.0, None), (1, 1.9, "used 1.9 threads, 1 asked"), (2, 1.0, "used 1.0 of 2 threads")],
)
def test_threads_are_verified_from_cpu_time(threads: int, cpu: float, flag: str | None) -> None:
    task = _task(execution=Execution("cpu", "float32", "eager", threads))
    process = _process([0.1] * 8, cpu_seconds=0.1 * cpu)
    found = analysis.measurement(task, [process] * 3, peak=100.0)
    assert found.flags == ([flag] if flag else [])
    for few, words in ((1, "1 process: no interval"), (2, "2 processes: no interval")):
        measured = analysis.measurement(task, [process] * few, peak=100.0)
        assert measured.flags[-1].startswith(words)
        assert measured.samples_per_second == Interval(measured.samples_per_second.median)


def test_a_refusal_is_a_result() -> None:
    found = analysis.measurement(_task(), [[Refused(reason="no lstm")]], peak=1.0)
    assert (found.status, found.reason, found.samples_per_second) == (
        "unsupported",
        "no lstm",
        None,
    )


def test_what_slows_neighbours_down_cancels_in_their_ratio() -> None:
    slow = np.linspace(1, 3, 12)
    ours, theirs = _process(2 * slow), _process(slow)

    def found(process: list[Record]) -> list[dict[int, float]]:
        return analysis.turns([process], _task(), "staged")

    (pairs,) = stats.turn_pairs(found(ours), found(theirs))
    assert pairs == pytest.approx([0.5] * len(pairs))
    assert len(pairs) >= 6
    ours[9] = _sample(50.0, round=9, foreign_cores=1.0)
    (fewer,) = stats.turn_pairs(found(ours), found(theirs))
    assert fewer == pairs[1:]  # a round of one turn is none
    ratio = stats.turn_ratio(found(ours), found(theirs))
    assert ratio == Interval(pytest.approx(0.5))
    ratio = stats.turn_ratio(found(ours) * 3, found(theirs) * 3)
    assert ratio == Interval(*[pytest.approx(0.5)] * 3)
    assert stats.turn_ratio([], []) is None


@pytest.mark.parametrize(("size", "steps"), [(1, 25), (64, 25), (10**6, 2)])
def test_the_steps_of_a_block_follow_from_the_flops(size: int, steps: int) -> None:
    assert steps_per_block(models.read("mnist-mlp"), "train", size) == steps
    assert steps_per_block(models.read("lenet5"), "train", 64) < 25


def _measurement(backend: str, rate: float, **changes: Any) -> Measurement:
    noisy = [[rate * n for n in _NOISE[i::4]] for i in range(4)]
    found = Measurement(
        workload="mlp",
        backend=backend,
        framework_version="1",
        device="cpu",
        dtype="float32",
        mode="eager",
        threads=1,
        phase="train",
        batch_size=64,
        status="ok",
        reason=None,
        processes=4,
        steps_per_block=50,
        samples_per_second=Interval(rate, rate, rate),
        step_seconds=Interval(64 / rate, 64 / rate, 64 / rate),
        blocks=noisy,
        comparable=True,
    )
    return structs.replace(found, **changes)


def test_the_fastest_is_compared_with_every_other_of_the_same_work() -> None:
    timed = [
        _measurement("a", 100.0),
        _measurement("b", 150.0),
        _measurement("c", 150.1),
        _measurement("not comparable", 900.0, comparable=False),
        _measurement("other work", 500.0, batch_size=1),
        _measurement("b", 700.0, mode="compiled"),
    ]
    found = list(comparison.between_backends(timed, ["eager", "compiled"]))
    assert [(c.subject, c.rival, c.verdict) for c in found] == [
        ("c", "b", "tie"),
        ("c", "a", "faster"),
    ]
    assert found[1].ratio.median == pytest.approx(1.501, rel=1e-3)


def test_in_best_the_faster_mode_of_each_backend_is_compared() -> None:
    timed = [
        _measurement("a", 100.0),
        _measurement("b", 150.0),
        _measurement("b", 700.0, mode="compiled"),
        _measurement("a", 900.0, mode="compiled", comparable=False),
    ]
    (found,) = comparison.between_backends(timed, ["best"])
    assert (found.subject, found.mode, found.rival, found.rival_mode) == (
        ("b", "compiled", "a", "eager")
    )
    assert found.ratio.median == pytest.approx(7.0, rel=1e-3)


def test_keras_is_compared_with_its_engine_by_itself_in_the_same_mode() -> None:
    timed = [
        _measurement("torch", 300.0),
        _measurement("keras-torch", 100.0),
        _measurement("keras-torch@3.11.3", 150.0),
        _measurement("keras", 50.0, mode="compiled"),
        _measurement("keras-jax", 200.0, mode="compiled"),
        _measurement("jax", 40.0),
    ]
    found = [c for c in comparison.between_backends(timed, ["typical"]) if c.kind == "engine"]
    ratios = {(c.subject, c.rival): c.ratio.median for c in found}
    assert ratios == pytest.approx(
        {("keras-torch", "torch"): 1 / 3, ("keras-torch@3.11.3", "torch"): 1 / 2}, rel=1e-3
    )
    headline = wording.bench_headline(timed, found, ["mode"], ["typical"])
    told = headline.partition("Keras beside its engines by themselves: ")[2]
    assert told.startswith("keras-torch@3.11.3 0.500x (0.4")
    assert ") as fast as torch eager, keras-torch 0.333x (0.3" in told
    assert "jax" not in told


def test_the_overhead_is_what_does_not_grow_with_the_batch() -> None:
    def at(size: int) -> Measurement:
        seconds = 1e-3 + 1e-5 * size
        return _measurement(
            "a",
            size / seconds,
            batch_size=size,
            step_seconds=Interval(seconds, seconds, seconds),
        )

    found = comparison.with_overheads([at(1), at(8), at(64), _measurement("b", 1.0)])
    assert [m.overhead_seconds for m in found[:3]] == pytest.approx([1e-3] * 3)
    assert found[3].overhead_seconds is None


def test_a_cliff_is_flagged() -> None:
    timed = [
        _measurement("mxnet", 12_000.0),
        _measurement("mxnet", 80.0, threads=2),
        _measurement("torch", 12_000.0),
        _measurement("torch", 11_000.0, threads=2),
    ]
    flags = [m.flags for m in comparison.with_cliffs(timed)]
    assert [len(f) for f in flags] == [0, 1, 0, 0]
    assert flags[1][0].startswith("a cliff: 0.01 of the speed with 1 thread")


class _Scripted(Race):
    """A race of two whose processes are made up: their ratio is as noisy as is said."""

    def __init__(self, name: str, noise: float = 0.0) -> None:
        super().__init__([Entrant(_task(name=name), Path()) for _ in range(2)])
        self.noise = noise

    def run(self, seconds: float, timeout: float) -> None:
        for case in self.entrants:
            spread = 1 + self.noise * _RNG.standard_normal()
            case.processes.append(_process([0.1 * spread * n for n in _NOISE[:8]]))


def test_the_budget_goes_where_intervals_are_widest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "_peak", lambda threads, code: 100.0)
    quiet, noisy = _Scripted("quiet"), _Scripted("noisy", 0.2)
    order: list[str] = []
    peaks: dict[int, list[float]] = {}
    session.run(
        [quiet, noisy],
        tmp_path,
        peaks,
        budget=60,
        timeout=1,
        begin=lambda race: None,
        end=lambda task, process, found: order.append(task.name),
    )
    assert order[:12:2] == ["quiet", "noisy", "noisy", "quiet", "quiet", "noisy"]  # mirrored
    assert order[::2] == order[1::2]
    assert [len(case.processes) for case in quiet.entrants] == [3, 3]
    assert len(noisy.entrants[0].processes) == 20  # never narrow enough: the most
    assert set(peaks) == {1}


def test_without_time_every_race_is_run_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "_peak", lambda threads, code: 100.0)
    races = [_Scripted(name) for name in "abc"]
    session.run(
        races, tmp_path, {}, budget=0, timeout=1, begin=lambda race: None, end=lambda *_: None
    )
    assert [len(case.processes) for race in races for case in race.entrants] == [1] * 6


def test_who_ends_badly_is_not_run_again_and_a_rival_ends_the_pair() -> None:
    bad: list[Record] = [Refused(reason="no lstm")]
    race = Race([Entrant(_task(), Path(), [_process([1.0])]), Entrant(_task(), Path(), [bad])])
    assert race.alive == race.entrants[:1]
    pair = [_task(rival="native.numpy", as_rival=is_rival) for is_rival in (False, True)]
    race = Race([Entrant(pair[0], Path(), [_process([1.0])]), Entrant(pair[1], Path(), [bad])])
    assert race.alive == []
    assert race.adapters == race.entrants[:1]
    assert race.rivals == [bad]


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("1.5min", 90), ("2h", 7200)])
def test_a_budget_in_words(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


def test_the_whole_command(bakeoff: Command, workload: Path) -> None:
    outcome = bakeoff("bench", workload, "--backend", "numpy", "--budget", "1s", "--phase",
                      "train,infer", "--batch-size", "1,2,4", "--output", "b",
                      "--json")  # fmt: skip
    assert outcome.code == 0, outcome.err
    summary = outcome.json()
    assert summary == json.loads(Path("b/summary.json").read_text())
    assert [(m["phase"], m["batch_size"]) for m in summary["measurements"]] == [
        (phase, size) for phase in ("train", "infer") for size in (1, 2, 4)
    ]
    for m in summary["measurements"]:
        assert m["status"] == "ok"
        assert m["parity"]["verdict"] == "pass"
        assert m["samples_per_second"]["median"] > 100
        assert 0 < m["percent_of_peak"] < 100
        assert m["latency_seconds"]["median"] > 0
        assert m["overhead_seconds"] >= 0
        assert m["peak_rss_mb"] > 0
        assert (m["fed_samples_per_second"] is None) == (m["phase"] == "infer")
    assert summary["peaks"]["1"]["median"] > 1
    assert summary["machine"]["cores"] >= 1
    report = Path("b/report.html").read_text()
    assert "tiny" in report
    assert bakeoff("report", "b").code == 0
    compared = bakeoff("compare", "b", "b")
    assert compared.code == 1
    assert "1 process: no interval" in compared.out
    assert "fails: nothing was judged" in compared.out


def test_variables_that_choose_kernels_are_told_and_secrets_are_not(
    bakeoff: Command, workload: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENBLAS_L2_SIZE", "512")
    for secret in ("TF_TOKEN_example", "NVIDIA_API_KEY", "JAXY"):
        monkeypatch.setenv(secret, "a secret")
    outcome = bakeoff("bench", workload, "--backend", "numpy", "--budget", "1s", "--no-parity",
                      "--output", "b", "--json")  # fmt: skip
    assert outcome.json()["machine"]["variables"]["OPENBLAS_L2_SIZE"] == "512"
    assert "a secret" not in outcome.out
    assert "OPENBLAS_L2_SIZE=512" in Path("b/report.md").read_text()


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_keeps_what_was_timed(workload: Path, stop: signal.Signals) -> None:
    command = [sys.executable, "-m", "bakeoff.bench.cli", "bench", str(workload), "--backend",
               "numpy", "--batch-size", "1,2", "--no-parity", "--output", "b"]  # fmt: skip
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=mind_interrupts,
    )
    second = Path("b/cases/tiny-cpu-1t-train-2-numpy-eager/0")
    assert wait_until(second.exists)
    process.send_signal(stop)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "interrupted: 1 of 2 cases were timed" in out
    (measured,) = json.loads(Path("b/summary.json").read_bytes())["measurements"]
    assert (measured["batch_size"], measured["status"]) == (1, "ok")


def test_every_process_has_one_number_of_threads(
    bakeoff: Command, workload: Path, fake: Fake
) -> None:
    outcome = bakeoff("bench", workload, "--backend", fake("has_its_threads_for_life"),
                      "--threads", "1,2", "--budget", "1s", "--output", "b",
                      "--json")  # fmt: skip
    assert outcome.code == 0, outcome.err
    found = [(m["threads"], m["parity"]["verdict"]) for m in outcome.json()["measurements"]]
    assert found == [(1, "pass"), (2, "pass")]


def test_a_device_that_a_backend_lacks_is_a_result_beside_the_others(
    bakeoff: Command, workload: Path
) -> None:
    outcome = bakeoff("bench", workload, "--backend", "numpy", "--device", "cpu,cuda", "--budget",
                      "1s", "--output", "b", "--json")  # fmt: skip
    assert outcome.code == 0, outcome.err
    found = {m["device"]: m for m in outcome.json()["measurements"]}
    assert (found["cpu"]["status"], found["cuda"]["status"]) == ("ok", "unsupported")
    assert "this installed build has cpu" in found["cuda"]["reason"]
    assert found["cuda"]["parity"]["verdict"] == "unsupported"


def test_another_device_has_no_share_of_the_peak_of_the_cpu() -> None:
    task = _task(execution=Execution("cuda", "float32", "eager", 1))
    found = analysis.measurement(task, [_process([0.1] * 8)], peak=100.0)
    assert found.gflops
    assert found.percent_of_peak is None


def test_an_adapter_takes_turns_with_a_loop_by_hand(bakeoff: Command, home: Path) -> None:
    outcome = bakeoff("bench", "mnist-mlp", "linear", "--backend", "numpy", "--against-native",
                      "--budget", "1s", "--output", "b", "--json")  # fmt: skip
    assert outcome.code == 0, outcome.err
    by_name = {m["workload"]: m for m in outcome.json()["measurements"]}
    assert by_name["linear"]["status"] == "unsupported"
    assert by_name["linear"]["reason"] == "native.numpy has no eager linear"
    assert by_name["mnist-mlp"]["samples_per_second"] is None
    assert by_name["mnist-mlp"]["fed_samples_per_second"]["median"] > 0
    (ratio,) = outcome.json()["comparisons"]
    assert (ratio["kind"], ratio["rival"]) == ("native", "native.numpy")
    low, middle, high = (ratio["ratio"][name] for name in ("low", "median", "high"))
    assert (low, high, ratio["verdict"]) == (None, None, "not judged")  # it is one process
    ours, theirs = ratio["samples_per_second"], ratio["rival_samples_per_second"]
    assert middle == pytest.approx(ours["median"] / theirs["median"], rel=0.5)
    assert "native.numpy" in Path("b/report.md").read_text()


def test_without_certificates_nothing_is_compared_with_a_rival(
    bakeoff: Command, home: Path
) -> None:
    outcome = bakeoff("bench", "mnist-mlp", "--backend", "numpy", "--against-native",
                      "--budget", "1s", "--no-parity", "--output", "b", "--json")  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert outcome.json()["comparisons"] == []
    report = Path("b/report.md").read_text()
    assert "Nothing was compared." in report
    assert "it has no parity certificate" in report


def test_a_rival_has_the_core_of_what_it_is_compared_with_and_not_its_settings(home: Path) -> None:
    adapter = home / "numpy.py"
    adapter.write_text(
        "import os\n"
        "from bakeoff.backends.numpy import *\n"
        "from bakeoff.backends.numpy import build, devices, version\n"
        'os.environ["SET_BY_THE_ADAPTER"] = "yes"\n'
    )
    command = [sys.executable, "-P", "-m", "bakeoff.bench.cli", "bench", "mnist-mlp", "--backend",
               str(adapter), "--against-native", "--no-parity", "--output", "b"]  # fmt: skip
    found: dict[str, list[int]] = {}
    environments: dict[str, dict[str, str]] = {}

    def are_confined() -> bool:
        for process in psutil.process_iter(["cwd"]):
            folder = Path(process.info["cwd"] or "/").parent
            if folder.is_relative_to(home):
                name = folder.name.rpartition("-")[2]
                found[name], environments[name] = process.cpu_affinity(), process.environ()
        return {len(cores) for cores in found.values()} == {1} and len(found) == 2

    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as bench:
        assert wait_until(are_confined)
        bench.terminate()
    assert found.keys() == {"adapter", "rival"}
    assert found["adapter"] == found["rival"]
    assert environments["rival"]["OMP_NUM_THREADS"] == "1"
    assert "SET_BY_THE_ADAPTER" not in environments["rival"]


def test_beside_a_rival_all_steps_are_fed_the_first_as_well(bakeoff: Command, home: Path) -> None:
    adapter = home / "numpy.py"
    adapter.write_text(
        "from bakeoff.backends import numpy\n"
        "from bakeoff.backends.numpy import *\n"
        "from bakeoff.backends.numpy import devices, version\n"
        "class Held(tuple): pass\n"
        "def build(*arguments, **options):\n"
        "    trainer = numpy.build(*arguments, **options)\n"
        "    stage, train = trainer.stage, trainer.train\n"
        "    def train_and_tell(batches):\n"
        "        batches = list(batches)\n"
        "        print(*(type(batch).__name__ for batch in batches))\n"
        "        return train([b[0] if isinstance(b, Held) else b for b in batches])\n"
        "    def hold(x, y):\n"
        "        return lambda order: [Held([stage(x[i], y[i], None)]) for i in order]\n"
        "    trainer.hold, trainer.train = hold, train_and_tell\n"
        "    return trainer\n"
    )
    outcome = bakeoff("bench", "mnist-mlp", "--backend", str(adapter), "--against-native",
                      "--budget", "1s", "--no-parity", "--output", "b")  # fmt: skip
    assert outcome.code == 0, outcome.err
    (log,) = Path("b/cases").glob("*-adapter/0/log.txt")
    assert set(log.read_text().split()) == {"Held"}


def test_all_of_a_race_take_turns_and_every_other_round_is_mirrored(
    bakeoff: Command, workload: Path, fake: Fake
) -> None:
    outcome = bakeoff("bench", workload, "--backend", f"{fake('signs_a')},{fake('signs_b')}",
                      "--budget", "1s", "--no-parity", "--output", "b", "--json")  # fmt: skip
    assert outcome.code == 0, outcome.err
    rounds = {
        feed: [
            [record.round for record in records.read(journal)
             if isinstance(record, Sample) and record.feed == feed]
            for journal in Path("b/cases").rglob("records.jsonl")
        ]
        for feed in ("staged", "fed")
    }  # fmt: skip
    count = len(rounds["staged"][0])
    assert count >= 5
    assert rounds["staged"] == [list(range(count))] * 2
    assert rounds["fed"] == [list(range(0, count, 3))] * 2
    signed = Path(fake("signs_a")).with_name("signed").read_text()
    in_turns = "".join(name for name, _ in groupby(signed))
    # Both are made ready; in a b, b a, a b the end of a round and the start of the next are one's.
    assert in_turns == ("ab" * (count + 3))[: 2 + count + 1]


@pytest.mark.parametrize(
    ("behaviour", "status", "code"),
    [
        ("refuses", "unsupported", 0),
        ("dies_when_asked", "failed", 1),
        ("raises", "failed", 1),
        ("is_killed", "failed", 1),
        ("hangs", "timeout", 1),
    ],
)
def test_a_backend_that_fails_is_a_result_and_the_others_go_on(
    bakeoff: Command, workload: Path, fake: Fake, behaviour: str, status: str, code: int
) -> None:
    outcome = bakeoff("bench", workload, "--backend", f"{fake(behaviour)},numpy", "--budget", "1s",
                      "--timeout", "8", "--no-parity", "--output", "b", "--json")  # fmt: skip
    assert outcome.code == code, outcome.err
    theirs, ours = outcome.json()["measurements"]
    assert (theirs["status"], theirs["backend"]) == (status, behaviour)
    assert theirs["reason"]
    assert theirs["samples_per_second"] is None
    assert ours["status"] == "ok"
    assert ours["parity"] is None
    assert outcome.json()["comparisons"] == []  # without certificates nothing is comparable
    if behaviour == "hangs":
        (child,) = Path("b/cases").rglob("child.pid")
        assert wait_until(lambda: not psutil.pid_exists(int(child.read_text())))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nonsense"], 'no workload or model "nonsense"'),
        (["linear", "--budget", "soon"], "expected a time such as"),
        (["linear", "--batch-size", "0"], "expected numbers of 1 or more"),
        (["linear", "--batch-size", "8,8"], '"8" is named twice'),
        (["linear", "--mode", "eager,eager"], '"eager" is named twice'),
        (["linear", "--phase", "both"], "expected one of train, infer"),
        (["linear", "--threads", "9999"], "ask for at most"),
        (["linear", "--device", "cpu,tpu"], '"tpu": expected cpu, cuda or cuda:N'),
        (["linear", "--peers", "--against-native"], "give one of them"),
        (["lenet5", "--against-native", "--phase", "train,infer"], "only train; leave it out"),
        (["linear", "linear"], "named twice"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(
    bakeoff: Command, home: Path, arguments: list[str], words: str
) -> None:
    outcome = bakeoff("bench", *arguments, "--output", "b")
    assert outcome.code == 2
    assert words in outcome.err
    assert outcome.err.count("\n") == 1
    assert not Path("b").exists()


def test_two_benchmarks_would_time_each_other(
    bakeoff: Command, workload: Path, session_cache: Path
) -> None:
    with filelock.FileLock(session_cache / "timing.lock"):
        outcome = bakeoff("bench", workload, "--backend", "numpy", "--output", "b")
    assert outcome.code == 2
    assert "another benchmark is running" in outcome.err
    assert not Path("b").exists()
