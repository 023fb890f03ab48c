"""A campaign of damage: whatever becomes of a file of a run, it is told, and the rest goes on.

How many cases: $BAKEOFF_FAULTS, else few. Each is drawn from its own number, which is its name in
a failure.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from bakeoff.bench.results.summary import Row
from bakeoff.bench.training import aggregate, checkpoint, journal, resume
from bakeoff.bench.training.run_folder import read_run
from bakeoff.models import InputError

Command = Callable[..., Any]
Damage = Callable[[Path, np.random.Generator], None]

_CASES = int(os.environ.get("BAKEOFF_FAULTS", "40"))
_FILES = (
    "run.toml", "jobs/*/*/job.json", "jobs/*/*/records.jsonl", "jobs/*/*/audit.json",
    "jobs/*/*/weights.npz", "jobs/*/*/predictions.npy", "jobs/*/*/validation.npy",
    "inputs/*/*.np[yz]", "certificates/*/*.json", "code.zip", "jobs/*/*", "certificates/*", "jobs",
)  # fmt: skip


def _missing(path: Path, rng: np.random.Generator) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def _directory(path: Path, rng: np.random.Generator) -> None:
    _missing(path, rng)
    path.mkdir()


def _link(path: Path, rng: np.random.Generator) -> None:
    target = path.with_name("elsewhere")
    path.rename(target)
    path.symlink_to(target.name)


def _dangling(path: Path, rng: np.random.Generator) -> None:
    _missing(path, rng)
    path.symlink_to("nowhere")


def _of_bytes(change: Callable[[bytes, int, np.random.Generator], bytes]) -> Damage:
    def damage(path: Path, rng: np.random.Generator) -> None:
        content = b"" if path.is_dir() else path.read_bytes()
        if path.is_dir():
            shutil.rmtree(path)
        changed = change(content, int(rng.integers(len(content) + 1)), rng)
        path.write_bytes(changed if changed != content else changed + b"x")

    return damage


def _flipped(content: bytes, place: int, rng: np.random.Generator) -> bytes:
    flipped = bytearray(content or b"x")
    flipped[place % len(flipped)] ^= 1 << int(rng.integers(8))
    return bytes(flipped)


def _other_value(content: bytes, place: int, rng: np.random.Generator) -> bytes:
    """Put what is no such value in the place of one, as if by hand: without seal or checksum."""
    content = re.sub(rb'"seal":"\w+",|,"crc32":"\w+"|^seal = .*\n', b"", content)
    values = list(
        re.finditer(rb'(?<=[:=] )[^,\n]+|(?<=":)("[^"]*"|-?[\d.e-]+|\[|\{|null)', content)
    )
    if not values:
        return b"[]"
    value = values[place % len(values)]
    others = (b"null", b'"x"', b"[]", b"{}", b"-1", b"0", b"1e308", b"9" * 30, b'"\\u0000/../x"')
    return content[: value.start()] + others[rng.integers(len(others))] + content[value.end() :]


_DAMAGES: dict[str, Damage] = {
    "missing": _missing,
    "a directory": _directory,
    "a link": _link,
    "a dangling link": _dangling,
    "empty": _of_bytes(lambda content, place, rng: b""),
    "cut": _of_bytes(lambda content, place, rng: content[:place]),
    "NUL bytes": _of_bytes(
        lambda content, place, rng: content[:place] + b"\0\x7f\0" + content[place + 3 :]
    ),
    "longer": _of_bytes(lambda content, place, rng: content + rng.bytes(9)),
    "a flipped bit": _of_bytes(_flipped),
    "no UTF-8": _of_bytes(lambda content, place, rng: content[:place] + b"\xff" + content[place:]),
    "another value": _of_bytes(_other_value),
}


@pytest.fixture
def run(bakeoff: Command, workload: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished run of two seeds; making it ready leaves out the zip of the code, for speed."""
    outcome = bakeoff("run", workload, "--backend", "numpy", "--seeds", 2, "--output", "sound")
    assert outcome.code == 0, outcome.err
    monkeypatch.setattr(resume.code, "write_zip", lambda path: None)
    monkeypatch.setattr(resume.folders, "check_code", lambda sha256, made_by: None)
    return Path("sound")


def _rows(folder: Path) -> list[Row]:
    return aggregate.summarize(folder).rows


def _make_ready(folder: Path) -> list[str]:
    told: list[str] = []
    resume.folders.check_confined(folder)
    resume.make_ready(folder, read_run(folder), {}, None, told.append)
    return told


def test_no_damage_of_a_run_goes_unnoticed_or_stops_the_rest(run: Path) -> None:
    sound = _rows(run)
    for case in range(_CASES):
        rng = np.random.default_rng(case)
        found = sorted(run.glob(_FILES[rng.integers(len(_FILES))]))
        path = found[rng.integers(len(found))].relative_to(run)
        kind = list(_DAMAGES)[rng.integers(len(_DAMAGES))]
        shutil.rmtree("hurt", ignore_errors=True)
        shutil.copytree(run, "hurt")
        _DAMAGES[kind](Path("hurt") / path, rng)
        try:
            _examine(Path("hurt").absolute(), path, kind, sound)
        except Exception as error:
            error.add_note(f"case {case}: {path}: {kind}")
            raise


def _examine(folder: Path, path: Path, kind: str, sound: list[Row]) -> None:
    by_hand = kind == "another value"
    try:
        rows = _rows(folder)
    except InputError as error:
        _check_refusal(error, path)
        return
    said = " ".join(str(each) for row in rows for each in _said(row))
    assert by_hand or rows == sound or re.search("damaged|missing|not run|no certificate", said)
    try:
        told = _make_ready(folder)
    except (InputError, OSError) as error:  # the command says either in one line
        _check_refusal(error, path)
        return
    if path.parts[0] == "inputs" and not by_hand:
        assert any("drawn again" in line for line in told)
    spec = read_run(folder)
    for name in spec.jobs:
        (result,) = journal.read_row([folder / "jobs" / name], [0], "mse")
        assert not result.damage
    assert not resume.inputs.damage(folder / "inputs", spec.inputs)


def _check_refusal(error: Exception, path: Path) -> None:
    assert "\n" not in str(error)
    is_folder = path.parts[-1] in ("jobs", "tiny")
    assert is_folder or path.name == "run.toml" or "is a symbolic link" in str(error)


def _said(row: Row) -> Iterator[str | None]:
    yield row.reason
    yield row.parity.reason if row.parity else "no certificate"
    yield row.parity_float64.reason if row.parity_float64 else None


def test_resume_does_again_what_is_damaged(bakeoff: Command, workload: Path) -> None:
    bakeoff("run", workload, "--backend", "numpy", "--seeds", 3, "--output", "out")
    (before,) = _rows(Path("out"))
    jobs = [Path(f"out/jobs/tiny/numpy-eager-{seed}") for seed in range(3)]
    kept = (jobs[2] / "records.jsonl").read_bytes()
    lines = jobs[0] / "records.jsonl"
    lines.write_bytes(lines.read_bytes().replace(b'"loss"', b'\0\0\0ss"', 1))
    (jobs[1] / "job.json").unlink()
    for certificate in Path("out/certificates/tiny").iterdir():
        certificate.write_bytes(certificate.read_bytes()[:-9])
    order = Path("out/inputs/tiny-0/order.npy")
    whole = order.read_bytes()
    order.write_bytes(whole[:-8] + bytes(8))
    report = bakeoff("report", "out")
    said = " ".join(report.out.split())
    assert report.code == 0, report.err
    assert re.search("numpy-eager-0 is damaged: records.jsonl: line", said)
    assert re.search(r"numpy-eager-1 is damaged: job\.json", said)
    assert bakeoff("compare", "out", "out").code == 1  # of a damaged row nothing is judged
    outcome = bakeoff("run", "--resume", "out")
    assert outcome.code == 0, outcome.err
    assert "inputs/tiny-0/order.npy is not what was written; it was drawn again" in outcome.out
    assert order.read_bytes() == whole
    assert (jobs[2] / "records.jsonl").read_bytes() == kept
    (after,) = _rows(Path("out"))
    assert (after.metric, after.comparable) == (before.metric, True)
    assert after.parity
    assert after.parity.verdict == "pass"


def test_a_worker_and_a_judge_refuse_inputs_that_have_changed(
    bakeoff: Command, workload: Path
) -> None:
    from bakeoff.bench.training import audits
    from bakeoff.bench.worker import records, train

    bakeoff("run", workload, "--backend", "numpy", "--seeds", 1, "--output", "out", "--no-parity")
    folder = Path("out/jobs/tiny/numpy-eager-0")
    np.save("out/inputs/tiny-0/order.npy", np.zeros((3, 3, 1), np.int64))
    audits.judge_jobs([str(folder)])
    found = audits.read(folder)
    assert found
    assert "order.npy is not what was written" in found.failure
    assert train.main(folder) == 1
    end = records.ending(records.read(folder / "records.jsonl"))
    assert isinstance(end, records.Failed)
    assert "order.npy is not what was written" in end.reason


@pytest.fixture
def put_aside(bakeoff: Command, workload: Path) -> Path:
    """A checkpoint of one epoch."""
    text = workload.read_text(encoding="utf-8")
    workload.write_text(text.replace('"sgd"', '"adam"'), encoding="utf-8")
    bakeoff("train", workload, "--backend", "numpy", "--epochs", 1, "--checkpoint", "c")
    return Path("c")


def test_no_bit_of_a_checkpoint_flips_unnoticed(put_aside: Path) -> None:
    content = put_aside.read_bytes()
    bits = np.random.default_rng(0).permutation(8 * len(content))[: 10 * _CASES]
    for bit in map(int, bits):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        put_aside.write_bytes(flipped)
        with pytest.raises(InputError) as refused:
            checkpoint.read(put_aside)
        assert "\n" not in str(refused.value), bit
    put_aside.write_bytes(content)
    assert checkpoint.read(put_aside).epochs == 1


def test_every_tensor_of_a_checkpoint_has_the_shape_and_dtype_of_the_model(
    bakeoff: Command, put_aside: Path
) -> None:
    sound = checkpoint.read(put_aside)
    for name, tensor in sound.tensors.items():
        for wrong in (tensor[None], tensor.astype(np.float16), np.zeros(0, tensor.dtype)):
            tensors = sound.tensors | {name: wrong}
            checkpoint.write(msgspec.structs.replace(sound, tensors=tensors), put_aside)
            with pytest.raises(InputError, match=rf"{name} is \w+ \[.*\], expected {tensor.dtype}"):
                checkpoint.read(put_aside)
    outcome = bakeoff("train", "--backend", "numpy", "--resume", put_aside)
    assert outcome.code == 2
    assert outcome.err.count("\n") == 1
