"""Whole runs with backends that misbehave: each ends in a record, and the others go on."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from bakeoff.bench.training import prepare
from bakeoff.bench.worker import records
from bakeoff.bench.worker.records import Failed, Interrupted
from harness.processes import children_with, mind_interrupts, wait_until

Fake = Callable[[str], str]
Command = Callable[..., Any]


def _rows(outcome: Any) -> dict[str, Any]:
    return {row["backend"]: row for row in outcome.json()["rows"]}


def test_a_run_from_one_file_leaves_what_the_readme_says(
    bakeoff: Command, workload: Path, home: Path
) -> None:
    outcome = bakeoff("run", workload, "--backend", "numpy", "--seeds", 2, "--output", "out")
    assert outcome.code == 0, outcome.err
    assert f"report: {home}/out/report.html" in outcome.out.replace("\n", "")
    run = home / "out"
    assert {path.name for path in run.iterdir() if not path.name.startswith(".")} == {
        *("run.toml", "summary.json", "report.md", "report.html", "report.png"),
        *("jobs", "inputs", "certificates", "code.zip"),
    }
    job = run / "jobs" / "tiny" / "numpy-eager-1"
    assert {"job.json", "records.jsonl", "log.txt"} <= {path.name for path in job.iterdir()}
    row = json.loads((run / "summary.json").read_text(encoding="utf-8"))["rows"][0]
    assert {
        *("workload", "backend", "framework_version", "device", "dtype", "mode", "threads"),
        *("seeds", "status", "reason", "metric", "loss", "epochs", "samples_per_second"),
        *("first_block_seconds", "import_seconds", "build_seconds", "peak_rss_mb", "parameters"),
    } <= row.keys()
    assert row["metric"].keys() == {"name", "mean", "low", "high", "values"}
    assert (row["status"], row["seeds"], len(row["metric"]["values"])) == ("ok", 2, 2)
    assert row["parameters"] == 2
    assert row["parity"]["verdict"] == "pass"
    assert [rung["name"] for rung in row["parity"]["rungs"]] == [
        *("weights", "forward", "loss", "gradients", "step", "trajectory", "evaluation"),
        "accuracy",
    ]
    assert row["samples_per_second"].keys() == {"median", "low", "high"}
    assert len(row["curve"]) == row["epochs"] == 3


def test_a_backend_that_computes_something_else_is_not_compared(
    bakeoff: Command, workload: Path, fake: Fake
) -> None:
    outcome = bakeoff("run", workload, "--backend", f"numpy,{fake('doubles')}", "--seeds", 2,
                      "--output", "out", "--json")  # fmt: skip
    assert outcome.code == 1
    row = _rows(outcome)["doubles"]
    assert (row["status"], row["parity"]["verdict"]) == ("ok", "fail")
    failed = [rung["name"] for rung in row["parity"]["rungs"] if rung["passes"] is False]
    assert failed[0] == "step"
    assert "doubles eager: not comparable: step" in bakeoff("report", "out").out.replace("\n", " ")


def test_without_certificates_nothing_is_compared(bakeoff: Command, workload: Path) -> None:
    outcome = bakeoff("run", workload, "--backend", "numpy", "--seeds", 1, "--no-parity")
    assert outcome.code == 0
    assert "not comparable" in outcome.out
    assert "no parity certificate" in outcome.out.replace("\n", " ")


def test_json_is_the_summary_and_nothing_else(bakeoff: Command, workload: Path) -> None:
    outcome = bakeoff("run", workload, "--backend", "numpy", "--json", "--output", "out")
    assert outcome.json() == json.loads(Path("out/summary.json").read_text(encoding="utf-8"))
    assert "seed 0" in outcome.err


def test_the_least_squares_line_is_found(bakeoff: Command, workload: Path) -> None:
    """y = 2x: gradient descent on three points approaches weight 2, bias 0."""
    bakeoff("run", workload, "--backend", "numpy", "--dtype", "float64", "--epochs", 300,
            "--seeds", 1, "--output", "out")  # fmt: skip
    weights = np.load("out/jobs/tiny/numpy-eager-0/weights.npz", allow_pickle=False)
    assert weights["output.weight"][0, 0] == pytest.approx(2, abs=1e-3)
    assert weights["output.bias"][0] == pytest.approx(0, abs=1e-3)


_ENDINGS = {
    "raises": ("failed", "RuntimeError: out of luck"),
    "exits": ("failed", "exit code 3"),
    "is_killed": ("failed", "SIGKILL"),
    "diverges": ("failed", "lower the learning rate"),
    "unimportable": ("failed", "No module named 'a_framework_that_is_not_there'"),
    "refuses": ("unsupported", "for the sake of <this> test"),
}


@pytest.mark.parametrize("behaviour", _ENDINGS)
def test_a_bad_backend_is_a_row_with_a_reason_and_the_others_go_on(
    bakeoff: Command, fake: Fake, workload: Path, behaviour: str
) -> None:
    outcome = bakeoff("run", workload, "--backend", f"{fake(behaviour)},numpy", "--seeds", 2,
                      "--json", "--output", "out")  # fmt: skip
    status, reason = _ENDINGS[behaviour]
    rows = _rows(outcome)
    assert outcome.code == (1 if status == "failed" else 0)
    assert rows[behaviour]["status"] == status
    assert reason in rows[behaviour]["reason"]
    assert "\n" not in rows[behaviour]["reason"]
    assert rows[behaviour]["metric"] is None
    assert (rows["numpy"]["status"], len(rows["numpy"]["metric"]["values"])) == ("ok", 2)
    page = Path("out/report.html").read_text(encoding="utf-8")
    assert "<this>" not in page


@pytest.mark.parametrize("command", ["run", "train", "bench"])
def test_where_no_backend_finishes_all_is_not_well(
    bakeoff: Command, workload: Path, command: str
) -> None:
    outcome = bakeoff(command, workload, "--backend", "numpy", "--device", "cuda",
                      *(["--budget", "1s"] if command == "bench" else []), "--json")  # fmt: skip
    assert outcome.code == 1, outcome.err
    found = outcome.json()
    assert {row["status"] for row in found["rows"] + found["measurements"]} == {"unsupported"}


def test_a_worker_that_hangs_is_ended_with_its_children(
    bakeoff: Command, fake: Fake, workload: Path
) -> None:
    outcome = bakeoff("run", workload, "--backend", f"{fake('hangs')},numpy", "--seeds", 1,
                      "--timeout", 2, "--json", "--output", "out")  # fmt: skip
    rows = _rows(outcome)
    assert outcome.code == 1
    assert rows["hangs"]["status"] == "timeout"
    assert "2 s" in rows["hangs"]["reason"]
    assert rows["numpy"]["status"] == "ok"
    child = int(Path("out/jobs/tiny/hangs-eager-0/child.pid").read_text(encoding="utf-8"))
    assert wait_until(lambda: not _alive(child))


def test_what_a_framework_prints_is_kept_as_a_log(
    bakeoff: Command, fake: Fake, workload: Path
) -> None:
    outcome = bakeoff("run", workload, "--backend", fake("chatters"), "--json", "--output", "out")
    assert _rows(outcome)["chatters"]["status"] == "ok"
    log = Path("out/jobs/tiny/chatters-eager-0/log.txt").read_text(encoding="utf-8")
    assert "noise on stdout" in log
    assert "noise on stderr" in log


def test_a_failure_keeps_its_traceback(bakeoff: Command, fake: Fake, workload: Path) -> None:
    bakeoff("run", workload, "--backend", fake("raises"), "--seeds", 1, "--output", "out")
    end = records.read(Path("out/jobs/tiny/raises-eager-0/records.jsonl"))[-1]
    assert isinstance(end, Failed)
    assert 'raise RuntimeError("out of\\nluck")' in end.traceback


def test_resume_does_only_what_is_missing(bakeoff: Command, fake: Fake, workload: Path) -> None:
    first = bakeoff("run", workload, "--backend", f"{fake('recovers')},numpy", "--seeds", 1,
                    "--json", "--output", "out")  # fmt: skip
    assert _rows(first)["recovers"]["status"] == "failed"
    finished = Path("out/jobs/tiny/numpy-eager-0/records.jsonl")
    before = (finished.stat().st_mtime_ns, finished.read_bytes())
    Path("../mended").touch()
    second = bakeoff("run", "--resume", "out", "--json")
    assert second.code == 0, second.err
    assert _rows(second)["recovers"]["status"] == "ok"
    assert (finished.stat().st_mtime_ns, finished.read_bytes()) == before
    rows = _rows(second)
    assert rows["recovers"]["metric"]["values"] == rows["numpy"]["metric"]["values"]


def test_resume_refuses_data_that_have_changed(bakeoff: Command, workload: Path) -> None:
    table = Path("table.csv")
    table.write_text("x,y\n" + "".join(f"{i},{2 * i}\n" for i in range(40)), encoding="utf-8")
    dataset = "csv:table.csv?target=y"
    bakeoff("run", workload, "--backend", "numpy", "--dataset", dataset, "--output", "out")
    table.write_text("x,y\n" + "".join(f"{i},{3 * i + 1}\n" for i in range(41)), encoding="utf-8")
    outcome = bakeoff("run", "--resume", "out")
    assert outcome.code == 2
    assert "has changed since" in outcome.err


def test_two_processes_do_not_run_one_folder(bakeoff: Command, workload: Path) -> None:
    import filelock

    bakeoff("run", workload, "--backend", "numpy", "--output", "out")
    with filelock.FileLock("out/.lock"):
        outcome = bakeoff("run", "--resume", "out")
    assert outcome.code == 2
    assert "another process" in outcome.err


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_the_worker_and_keeps_what_is_finished(
    bakeoff: Command, fake: Fake, workload: Path, stop: signal.Signals
) -> None:
    command = [sys.executable, "-m", "bakeoff.bench.cli", "run", str(workload), "--seeds", "1",
               "--backend", f"numpy,{fake('hangs')}", "--output", "out"]  # fmt: skip
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=mind_interrupts,
    )
    pid_file = Path("out/jobs/tiny/hangs-eager-0/child.pid")
    assert wait_until(lambda: pid_file.exists() and pid_file.read_text(encoding="utf-8") != "")
    process.send_signal(stop)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "--resume" in out
    assert wait_until(lambda: not _alive(int(pid_file.read_text(encoding="utf-8"))))
    rows = {r["backend"]: r for r in json.loads(Path("out/summary.json").read_bytes())["rows"]}
    assert (rows["numpy"]["status"], rows["hangs"]["status"]) == ("ok", "interrupted")
    end = records.read(Path("out/jobs/tiny/hangs-eager-0/records.jsonl"))[-1]
    assert isinstance(end, Interrupted)


def test_a_worker_stops_when_its_parent_is_gone(fake: Fake, workload: Path, home: Path) -> None:
    workload.write_text(
        workload.read_text(encoding="utf-8").replace("epochs = 3", "epochs = 200000")
    )
    command = [sys.executable, "-m", "bakeoff.bench.cli", "run", str(workload), "--seeds", "1",
               "--backend", "numpy", "--output", "out"]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    journal = Path("out/jobs/tiny/numpy-eager-0/records.jsonl")
    assert wait_until(lambda: len(records.read(journal)) > 3)
    worker = next(r.pid for r in records.read(journal) if isinstance(r, records.Started))
    process.kill()
    process.wait()
    assert wait_until(lambda: not _alive(worker))


def test_a_prober_stops_when_its_parent_is_gone(fake: Fake, workload: Path, home: Path) -> None:
    adapter = fake("hangs_when_asked")
    command = [sys.executable, "-m", "bakeoff.bench.cli", "parity", str(workload),
               "--backend", adapter]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def probers() -> list[psutil.Process]:
        return children_with("bakeoff.bench.worker.probe", process.pid)

    assert wait_until(lambda: bool(probers()))
    (prober,) = probers()
    process.kill()
    process.wait()
    assert wait_until(lambda: not _alive(prober.pid))


def test_a_worker_whose_parent_was_gone_before_it_was_born_does_nothing(
    bakeoff: Command, workload: Path
) -> None:
    bakeoff("run", workload, "--backend", "numpy", "--seeds", 1, "--output", "out")
    folder = Path("out/jobs/tiny/numpy-eager-0")
    (folder / "weights.npz").unlink()
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    command = json.loads((folder / "job.json").read_bytes())["command"]
    orphan = subprocess.run(
        command, shell=True, check=False, env=os.environ | {"BAKEOFF_PARENT": str(gone.pid)}
    )
    assert orphan.returncode == 1
    assert not (folder / "weights.npz").exists()


def test_a_worker_runs_again_by_hand(bakeoff: Command, workload: Path) -> None:
    bakeoff("run", workload, "--backend", "numpy", "--seeds", 1, "--output", "out")
    folder = Path("out/jobs/tiny/numpy-eager-0")
    first = np.load(folder / "weights.npz", allow_pickle=False)["output.weight"]
    (folder / "weights.npz").unlink()
    command = json.loads((folder / "job.json").read_bytes())["command"]
    subprocess.run(command, shell=True, check=True)
    again = np.load(folder / "weights.npz", allow_pickle=False)["output.weight"]
    np.testing.assert_array_equal(first, again)


def test_backends_of_one_seed_start_from_the_same_bytes(
    bakeoff: Command, fake: Fake, workload: Path
) -> None:
    outcome = bakeoff("run", workload, "--backend", f"{fake('chatters')},numpy", "--json",
                      "--output", "out")  # fmt: skip
    rows = _rows(outcome)
    assert rows["chatters"]["metric"]["values"] == rows["numpy"]["metric"]["values"]
    assert len(set(rows["numpy"]["metric"]["values"])) == 3
    jobs = [json.loads(p.read_bytes()) for p in Path("out/jobs/tiny").glob("*-1/job.json")]
    assert {job["inputs"] for job in jobs} == {"../../../inputs/tiny-1"}


def test_a_full_disk_is_refused_before_anything_is_written(
    bakeoff: Command, workload: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = prepare.shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(prepare.shutil, "disk_usage", lambda folder: usage)
    outcome = bakeoff("run", workload, "--backend", "numpy", "--output", "out")
    assert outcome.code == 2
    assert "0.0 MB are free" in outcome.err
    assert sorted(path.name for path in Path().iterdir()) == ["tiny.toml"]


def test_a_disk_that_fills_while_the_run_is_written_leaves_nothing(
    bakeoff: Command, workload: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(prepare, "write_zip", full)
    outcome = bakeoff("run", workload, "--backend", "numpy", "--output", "out")
    assert outcome.code == 2
    assert "No space left on device" in outcome.err
    assert sorted(path.name for path in Path().iterdir()) == ["tiny.toml"]


def test_typical_and_best_compare_across_modes_and_say_so(
    bakeoff: Command, workload: Path, fake: Fake
) -> None:
    """By NumPy, under the name of a backend that compiles."""
    both = Path(fake("both"))
    text = both.read_text()
    text = text.replace('TYPICAL = ("eager"', 'TYPICAL = ("compiled"')
    text = text.replace("MODES, UNSUPPORTED, DEVIATIONS = real.MODES, real.UNSUPPORTED,",
                        'MODES = ("eager", "compiled")\nUNSUPPORTED, DEVIATIONS = {},')  # fmt: skip
    both.write_text(text)
    ran = {}
    for asked in ("typical", "best", "eager,compiled"):
        arguments = ("--backend", f"numpy,{both}", "--mode", asked, "--output", asked)
        summary = bakeoff("run", workload, *arguments, "--json").json()
        modes = sorted((row["backend"], row["mode"]) for row in summary["rows"])
        compared = [
            {(c["subject"], c["mode"]), (c["rival"], c["rival_mode"])}
            for c in summary["comparisons"]
        ]
        said = " ".join(bakeoff("report", asked).out.split())
        ran[asked] = modes, compared, said
    numpy, eager, compiled = ("numpy", "eager"), ("both", "eager"), ("both", "compiled")
    assert ran["typical"][:2] == ([compiled, numpy], [{compiled, numpy}])
    names = "(numpy eager|both compiled)"
    assert re.search(f"typical: .*{names}.*{names}", ran["typical"][2])
    assert ran["best"][0] == [compiled, eager, numpy]
    ((best, *others),) = (sorted(pair, reverse=True) for pair in ran["best"][1])
    assert best == numpy
    assert others in ([eager], [compiled])
    assert "best: " in ran["best"][2]
    assert ran["eager,compiled"][0] == [compiled, eager, ("numpy", "compiled"), numpy]
    assert ran["eager,compiled"][1] == [{eager, numpy}]
    assert "compiled: Only both can be compared" in ran["eager,compiled"][2]


def test_a_job_without_all_it_was_told_is_told_again(
    bakeoff: Command, workload: Path, fake: Fake
) -> None:
    bakeoff("run", workload, "--backend", fake("recovers"), "--seeds", 1, "--output", "out")
    (job,) = Path("out").glob("jobs/*/*/job.json")
    content = json.loads(job.read_text())
    del content["target_mean"]
    job.write_text(json.dumps(content))
    said = " ".join(bakeoff("report", "out").out.split())
    assert "is damaged: job.json: Object missing required field `target_mean`" in said
    Path("../mended").touch()
    outcome = bakeoff("run", "--resume", "out", "--json")
    assert outcome.code == 0, outcome.err
    assert "is damaged: job.json" in outcome.err
    assert _rows(outcome)["recovers"]["status"] == "ok"


def test_a_disk_that_fills_while_the_report_is_written_keeps_the_records(
    bakeoff: Command, workload: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bakeoff.bench.commands import report

    def full(summary: object, folder: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(report, "write_reports", full)
    outcome = bakeoff("run", workload, "--backend", "numpy", "--seeds", 1, "--output", "out")
    assert outcome.code == 2
    assert "bakeoff report" in outcome.err
    monkeypatch.undo()


def _alive(pid: int) -> bool:
    """A zombie that nobody has reaped yet is not alive."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z" and os.path.exists(f"/proc/{pid}")  # noqa: PTH110


def test_a_run_of_another_version_is_reported_from_its_own_summary(
    bakeoff: Command, workload: Path
) -> None:
    bakeoff("run", workload, "--backend", "numpy", "--seeds", 1, "--output", "out")
    Path("out/run.toml").write_text(
        "bakeoff_version = '0.0.1'\nschema_version = 1\n", encoding="utf-8"
    )
    before = json.loads(Path("out/summary.json").read_bytes())
    Path("out/report.html").unlink()
    assert bakeoff("report", "out").code == 0
    assert Path("out/report.html").exists()
    assert json.loads(Path("out/summary.json").read_bytes())["rows"] == before["rows"]
    refused = bakeoff("run", "--resume", "out")
    assert (refused.code, "use bakeoff 0.0.1" in refused.err) == (2, True)
    Path("out/summary.json").unlink()
    assert "use bakeoff 0.0.1" in bakeoff("report", "out").err
