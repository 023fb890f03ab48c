"""Going on: with a benchmark that was killed, in somebody else's folder, on a disk that is full."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bakeoff.bench.environments import process
from bakeoff.bench.timing import race
from bakeoff.bench.worker import files, records
from bakeoff.models import sealed

Fake = Callable[[str], str]
Command = Callable[..., Any]


def _reseal(path: Path, old: str, new: str) -> None:
    """Change a folder's TOML as somebody else may: with a seal that fits."""
    _, _, text = path.read_text(encoding="utf-8").partition("\n")
    assert old in text
    path.write_bytes(sealed.seal_toml(text.replace(old, new).encode()))


def _evil(folder: Path) -> Path:
    """An interpreter that leaves a mark."""
    python = folder / "evil"
    python.write_text(f'#!/bin/sh\ntouch {folder}/ran\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return python


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a run and a benchmark lie that all tests begin with a copy of."""
    return tmp_path_factory.mktemp("made")


@pytest.fixture
def unfinished(bakeoff: Command, workload: Path, made: Path) -> Path:
    """A run of two seeds, of which one is not done."""
    if (made / "out").exists():
        return shutil.copytree(made / "out", Path("out"))
    outcome = bakeoff("run", workload, "--backend", "numpy", "--seeds", 2, "--output", "out",
                      "--no-parity")  # fmt: skip
    assert outcome.code == 0, outcome.err
    Path("out/jobs/tiny/numpy-eager-1/records.jsonl").unlink()
    shutil.copytree("out", made / "out")
    return Path("out")


def test_interpreters_are_those_of_this_machine(
    bakeoff: Command, unfinished: Path, tmp_path: Path
) -> None:
    evil = _evil(tmp_path)
    description = unfinished / "jobs/tiny/numpy-eager-1/job.json"
    content = json.loads(description.read_bytes())
    description.write_text(json.dumps(content | {"python": str(evil)}))
    _reseal(unfinished / "run.toml", f'python = "{sys.executable}"', f'python = "{evil}"')
    outcome = bakeoff("run", "--resume", unfinished)
    assert outcome.code == 0, outcome.err
    assert f"numpy: goes on with {sys.executable}; it had {evil}" in outcome.out
    assert not (tmp_path / "ran").exists()
    assert json.loads(description.read_bytes())["python"] == sys.executable


def test_an_interpreter_that_is_given_again_is_taken(
    bakeoff: Command, unfinished: Path, tmp_path: Path
) -> None:
    own = _evil(tmp_path)
    outcome = bakeoff("run", "--resume", unfinished, "--python", f"numpy={own}")
    assert outcome.code == 0, outcome.err
    assert (tmp_path / "ran").exists()


def test_an_adapter_that_was_not_chosen_here_is_not_run(
    bakeoff: Command, unfinished: Path, tmp_path: Path
) -> None:
    adapter = tmp_path / "evil.py"
    adapter.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    _reseal(unfinished / "run.toml", 'adapter = "numpy"', f'adapter = "{adapter}"')
    outcome = bakeoff("run", "--resume", unfinished)
    assert outcome.code == 2
    assert "was not chosen on this machine" in outcome.err
    assert not (tmp_path / "ran").exists()


def test_the_code_that_runs_is_that_of_this_installation(
    bakeoff: Command, unfinished: Path
) -> None:
    archive = unfinished / "code.zip"
    sound = archive.read_bytes()
    archive.write_bytes(b"somebody else's")
    assert bakeoff("run", "--resume", unfinished).code == 0
    assert archive.read_bytes() == sound
    code = re.search('code_sha256 = "(.*)"', (unfinished / "run.toml").read_text())
    assert code
    _reseal(unfinished / "run.toml", code[1], "0" * 64)
    outcome = bakeoff("run", "--resume", unfinished)
    assert outcome.code == 2
    assert "other code than this installation has" in outcome.err


@pytest.mark.parametrize("name", ["../../x", "/tmp/x", "tiny/numpy-eager-7", "tiny/../../x"])
def test_paths_stay_in_the_folder(bakeoff: Command, unfinished: Path, name: str) -> None:
    outside = unfinished.parent / "x"
    outside.mkdir()
    (outside / "records.jsonl").touch()
    _reseal(unfinished / "run.toml", '"tiny/numpy-eager-1"', f'"{name}"')
    for command in (["run", "--resume", unfinished], ["report", unfinished]):
        outcome = bakeoff(*command)
        assert outcome.code == 2
        assert "its jobs are not those of its workloads" in outcome.err
        assert outcome.err.count("\n") == 1
    assert [path.name for path in outside.iterdir()] == ["records.jsonl"]


@pytest.mark.parametrize("place", ["jobs", "jobs/tiny/numpy-eager-1", "inputs", ".lock"])
def test_links_that_lead_out_are_refused(bakeoff: Command, unfinished: Path, place: str) -> None:
    outside = unfinished.parent / "outside"
    (unfinished / place).rename(outside)
    (unfinished / place).symlink_to(outside.absolute())
    before = sorted(outside.rglob("*"))
    outcome = bakeoff("run", "--resume", unfinished)
    assert outcome.code == 2
    assert f"{place} is a symbolic link" in outcome.err
    assert sorted(outside.rglob("*")) == before


def test_a_checkpoint_of_somebody_elses_run_is_not_written(
    bakeoff: Command, workload: Path
) -> None:
    bakeoff("train", workload, "--backend", "numpy", "--checkpoint", "c", "--output", "out")
    Path("out/jobs/tiny/numpy-eager-0/records.jsonl").unlink()
    victim = Path("victim").absolute()
    victim.touch()
    _reseal(Path("out/run.toml"), str(Path("c").absolute()), str(victim))
    outcome = bakeoff("run", "--resume", "out")
    assert outcome.code == 2
    assert "was not begun on this machine" in outcome.err
    assert victim.read_bytes() == b""


def test_a_changed_run_is_refused(bakeoff: Command, unfinished: Path) -> None:
    path = unfinished / "run.toml"
    path.write_bytes(path.read_bytes().replace(b"threads = 1", b"threads = 2"))
    for command in (["run", "--resume", unfinished], ["report", unfinished]):
        outcome = bakeoff(*command)
        assert outcome.code == 2
        assert "run.toml is damaged: it is not what was written" in outcome.err


@pytest.fixture
def killed(bakeoff: Command, workload: Path, made: Path) -> Path:
    """A benchmark of two races, as if it had been killed while the second was run."""
    if (made / "b").exists():
        shutil.copytree(made / "b", "b")
        _reseal(Path("b/bench.toml"), str(made / "tiny.toml"), str(workload))
        return Path("b")
    outcome = bakeoff("bench", workload, "--backend", "numpy", "--batch-size", "1,2", "--budget",
                      "1s", "--no-parity", "--output", "b")  # fmt: skip
    assert outcome.code == 0, outcome.err
    for report in Path("b").glob("report.*"):
        report.unlink()
    Path("b/summary.json").unlink()
    for process_folder in Path("b/cases/tiny-cpu-1t-train-2-numpy-eager").iterdir():
        journal = process_folder / "records.jsonl"
        journal.write_bytes(journal.read_bytes()[:-5])
    shutil.copytree("b", made / "b")
    _reseal(made / "b/bench.toml", str(workload), str(made / "tiny.toml"))
    return Path("b")


def test_a_killed_benchmark_goes_on(bakeoff: Command, killed: Path) -> None:
    kept = killed / "cases/tiny-cpu-1t-train-1-numpy-eager/0/records.jsonl"
    again = killed / "cases/tiny-cpu-1t-train-2-numpy-eager/0/records.jsonl"
    before, cut = kept.read_bytes(), again.read_bytes()
    refused = bakeoff("bench", "tiny.toml", "--backend", "numpy", "--output", killed)
    assert refused.code == 2
    assert f"bakeoff bench --resume {killed}" in refused.err
    assert f"bakeoff bench --resume {killed}" in bakeoff("report", killed).err
    outcome = bakeoff("bench", "--resume", killed, "--json")
    assert outcome.code == 0, outcome.err
    assert [m["batch_size"] for m in outcome.json()["measurements"]] == [1, 2]
    assert {m["status"] for m in outcome.json()["measurements"]} == {"ok"}
    assert kept.read_bytes() == before
    assert again.read_bytes() != cut
    assert (killed / "report.html").exists()
    assert bakeoff("bench", "--resume", killed, "--budget", "2s").code == 2
    assert bakeoff("bench", "--resume", killed).code == 0  # nothing is left to be timed
    assert kept.read_bytes() == before


def test_a_damaged_benchmark_is_told_and_timed_again(bakeoff: Command, killed: Path) -> None:
    process_folder = killed / "cases/tiny-cpu-1t-train-1-numpy-eager/0"
    journal = process_folder / "records.jsonl"
    journal.write_bytes(journal.read_bytes().replace(b"0", b"1", 1))
    (killed / "session.json").write_bytes(b"\0")
    (killed / "inputs" / "tiny.npz").write_bytes(b"\0")
    outcome = bakeoff("bench", "--resume", killed)
    assert outcome.code == 0, outcome.err
    assert (
        "train-1-numpy-eager/0 is damaged: records.jsonl: line 1 is not what was written"
        in outcome.out
    )
    spec = killed / "bench.toml"
    spec.write_bytes(spec.read_bytes()[:-3])
    assert "bench.toml" in bakeoff("bench", "--resume", killed).err


def test_a_model_that_has_changed_is_not_gone_on_with(bakeoff: Command, killed: Path) -> None:
    text = Path("tiny.toml").read_text(encoding="utf-8")
    Path("tiny.toml").write_text(text.replace("0.0625", "0.125"), encoding="utf-8")
    outcome = bakeoff("bench", "--resume", killed)
    assert outcome.code == 2
    assert "tiny, or its data, has changed" in outcome.err


def test_entrants_of_a_race_are_kept_together(tmp_path: Path) -> None:
    from bakeoff.bench.timing.bench_folder import keep
    from harness.test_timing import _process, _task

    entrants = [race.Entrant(_task(backend=name), tmp_path / name) for name in "ab"]
    for entrant, processes in zip(entrants, (3, 2), strict=True):
        for number in range(processes):
            path = entrant.folder / str(number) / "records.jsonl"
            path.parent.mkdir(parents=True)
            for record in _process([1.0, 1.0, 1.0]):
                records.append(path, record)
    assert keep([race.Race(entrants)]) == []
    assert [len(entrant.processes) for entrant in entrants] == [2, 2]
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["0", "1"]


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "weights.npz"
    files.write_arrays(path, {"a": np.arange(3)})
    before = path.read_bytes()
    with pytest.raises(ValueError, match="Object arrays"):
        files.write_arrays(path, {"a": np.arange(3), "b": np.array([object()])})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_journal_on_a_full_disk_has_whole_lines(tmp_path: Path) -> None:
    """/dev/full is a disk without room; a journal on it loses the line, and says why."""
    journal = tmp_path / "records.jsonl"
    journal.symlink_to("/dev/full")
    end = records.Failed(reason="x")
    with records.emitter(journal) as emit:
        with pytest.raises(OSError, match="No space left"):
            emit(end)
        assert records.fail(emit, RuntimeError("x")) == 28
    assert "No space left on device" in process.cause_of_death(28)
    assert process.conclude(journal, end)
    assert records.read(journal) == [end]


def test_a_disk_that_fills_during_a_job_is_its_error_and_the_others_go_on(
    bakeoff: Command, workload: Path, fake: Fake
) -> None:
    outcome = bakeoff("run", workload, "--backend", f"{fake('fills_the_disk')},numpy", "--seeds",
                      1, "--output", "out", "--json", "--no-parity")  # fmt: skip
    assert outcome.code == 1
    rows = {row["backend"]: row for row in outcome.json()["rows"]}
    assert rows["fills_the_disk"]["status"] == "failed"
    assert "No space left on device" in rows["fills_the_disk"]["reason"]
    assert rows["numpy"]["status"] == "ok"
    left = {path.name for path in Path("out/jobs/tiny/fills_the_disk-eager-0").iterdir()}
    assert "weights.npz" not in left
    assert not [name for name in left if "partial" in name]


def test_a_training_that_diverges_in_the_oracle_too_is_an_audit_that_failed(
    bakeoff: Command, workload: Path
) -> None:
    text = workload.read_text(encoding="utf-8")
    workload.write_text(text.replace("0.0625", "1e9"), encoding="utf-8")
    outcome = bakeoff("bench", workload, "--backend", "numpy", "--budget", "1s", "--output", "b",
                      "--json")  # fmt: skip
    assert outcome.code == 1
    (measured,) = outcome.json()["measurements"]
    assert "the training diverges in the oracle itself" in measured["audits"]["failure"]
