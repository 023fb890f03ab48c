"""How text reaches the user: nothing of it is obeyed, a pipe has no edge, numbers are whole."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from fcntl import ioctl
from pathlib import Path
from struct import pack
from termios import TIOCSWINSZ
from typing import Any

import pytest
from rich.table import Table
from rich.text import Text

from bakeoff.bench.commands import listing
from bakeoff.bench.printing import Screen, shown
from bakeoff.bench.worker.describe import Description

Command = Callable[..., Any]
_EVIL = "\x1b[2J\x1b]0;title\x07\r\x9b31m\u202eevil\u2066\u200b"
_OBEYED = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b\u202e\u2066]")
_MODULE = [sys.executable, "-m", "bakeoff.bench.cli"]


def test_what_a_terminal_obeys_is_shown_and_the_rest_is_left() -> None:
    assert shown("a\x1b[31m\r\u202e\udcffb") == "a�[31m���b"
    kept = "x̂ ← ‖g‖ 1\u00a0MB, Ωéß日本🜲\nnext\tcolumn"
    assert shown(kept) == kept


def test_a_plain_screen_is_no_terminal_whatever_is_asked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as every kernel of Jupyter's has it
    monkeypatch.setenv("TERM", "xterm-color")
    assert Screen().is_terminal
    screen = Screen(plain=True)
    assert not screen.is_terminal
    screen.print("[bold]whole[/]", style="red")
    assert capsys.readouterr().out == "whole\n"


@pytest.mark.parametrize("object_", [_EVIL, Text(_EVIL), "table"])
def test_no_way_of_printing_lets_it_through(
    capsys: pytest.CaptureFixture[str], object_: str | Text
) -> None:
    table = Table(_EVIL)
    table.add_row(_EVIL)
    screen = Screen()
    screen.print(table if object_ == "table" else object_)
    screen.say(_EVIL)
    out = capsys.readouterr().out
    assert out.count("evil") >= 2
    assert not _OBEYED.search(out)


def test_text_of_a_file_is_not_obeyed(bakeoff: Command, workload: Path) -> None:
    evil = _EVIL.encode("unicode_escape").decode().replace("\\x", "\\u00")
    text = workload.read_text(encoding="utf-8")
    described = text.replace('name = "tiny"', f'name = "tiny"\ndescription = "{evil}"')
    workload.write_text(described, encoding="utf-8")
    shown_ = bakeoff("show", workload)
    assert "evil" in shown_.out
    named = workload.with_name("named.toml")
    named.write_text(text.replace('"line"', f'"{evil}"'), encoding="utf-8")
    refused = bakeoff("run", named, "--backend", "numpy")
    assert "evil" in refused.err
    done = bakeoff(
        "run", workload, "--backend", "numpy", "--no-parity", "--seeds", 1, "--output", "o"
    )
    again = bakeoff("report", "o")
    for outcome in (
        shown_,
        refused,
        done,
        again,
        bakeoff("explain", _EVIL),
        bakeoff("list", _EVIL),
    ):
        assert not _OBEYED.search(outcome.out + outcome.err)


@pytest.mark.parametrize("columns", ["10", "80", "500"])
def test_a_pipe_gets_whole_lines_whatever_columns_says(
    bakeoff: Command, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    lines = bakeoff("show", "resnet20").out.splitlines()
    assert re.search(r"stage3-3a-norm +batch_norm +\[64, 8, 8\] +128 +0 +0", "\n".join(lines))
    assert any("momentum=0.875 nesterov=0 weight_decay=0" in x and "sgd" in x for x in lines)
    row = next(x for x in bakeoff("list", "datasets").out.splitlines() if "diabetes" in x)
    assert "442 x 10, regression" in row
    assert "one year after ten measurements" in row


def _on_a_terminal(columns: int, *words: str) -> str:
    """Return what the command line prints on a terminal of so many columns, without its colours."""
    ours, theirs = pty.openpty()
    ioctl(theirs, TIOCSWINSZ, pack("HHHH", 24, columns, 0, 0))
    environment = {k: v for k, v in os.environ.items() if k != "COLUMNS"} | {"TERM": "xterm"}
    with subprocess.Popen(
        [*_MODULE, *words], stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    ):
        os.close(theirs)
        printed = b""
        while chunk := _read(ours):
            printed += chunk
    os.close(ours)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", printed.decode())


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 2**16)
    except OSError:  # its other end is closed
        return b""


def test_a_narrow_terminal_folds_text_and_no_number() -> None:
    printed = _on_a_terminal(60, "show", "resnet20")
    for number in ("81,626,368", "243,994,368", "4,718,592", "[64, 8, 8]", "272,474"):
        assert number in printed
    assert "…" not in printed
    assert "stage3-3a-norm" not in printed  # it was folded


def test_a_number_among_words_is_not_folded(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table()
    for title in ("what", "speed"):
        table.add_column(title, overflow="fold")
    table.add_row("a-long-name-that-folds", "1,234,567.25x [1,230,000.5–1,240,000] slower")
    table.add_row(Text("mnist"), Text("1e-300"))
    screen = Screen()
    screen.width = 30
    screen.print(table)
    out = capsys.readouterr().out
    for number in ("1,234,567.25x", "[1,230,000.5–1,240,000]", "1e-300"):
        assert number in out
    assert "a-long-name-that-folds" not in out


def test_json_is_ascii_and_the_same_under_any_encoding() -> None:
    done = {
        encoding: subprocess.run(
            [*_MODULE, "list", "models", "--json"],
            capture_output=True,
            check=True,
            env=os.environ | {"PYTHONIOENCODING": encoding},
        ).stdout
        for encoding in ("ascii", "utf-8")
    }
    assert done["ascii"] == done["utf-8"]
    rows = json.loads(done["ascii"])["models"]
    assert {"model": "lenet5", "parameters": 61706}.items() <= next(
        row for row in rows if row["model"] == "lenet5"
    ).items()


def test_an_ascii_terminal_gets_what_it_cannot_show_in_ascii() -> None:
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run([*_MODULE, "explain", "adam"], capture_output=True, env=environment)
    assert done.returncode == 0
    assert rb"\u03b2" in done.stdout
    done = subprocess.run([*_MODULE, "show", "lenet6\udcff"], capture_output=True, env=environment)
    assert done.returncode == 2
    assert done.stderr.startswith(b"bakeoff: argument 2 ('lenet6\\udcff') is not UTF-8")
    assert done.stderr.count(b"\n") == 1


def test_a_folder_whose_name_is_markup_is_shown_as_it_is(bakeoff: Command, workload: Path) -> None:
    name = "[/red][bold]x"
    outcome = bakeoff(
        "run", workload, "--backend", "numpy", "--no-parity", "--seeds", 1, "--output", name
    )
    assert outcome.code == 0, outcome.err
    assert f"run folder: {workload.parent}/{name}" in outcome.out


_WRONG = {
    "output not UTF-8": (["run", "--output", "bad\udcff"], "is not UTF-8"),
    "empty value": (["run", "--output", ""], 'argument 3 ("") is empty'),
    "empty value after =": (["run", "--output="], "is empty"),
    "no such user": (["run", "--python", "torch=~nouser/x"], "not a Python interpreter"),
    "alias of folders": (
        ["run", "--backend", "torch-../../x", "--python", "torch-../../x=/bin/true"],
        "cannot name a backend",
    ),
    "alias too long": (
        ["parity", "--python", f"torch-{'x' * 240}=/bin/true"],
        "cannot name a backend",
    ),
    "module of folders": (["run", "--backend", "a./../b"], 'no backend "a./../b"'),
    "adapter too long": (["conform", f"{'x' * 300}.py"], "File name too long"),
    "report of a name too long": (["report", "x" * 300], "File name too long"),
    "so many seeds": (["run", "--seeds", "99999999999"], "less than or equal to 1000"),
    "no time": (["run", "--timeout", "nan"], "expected seconds"),
    "endless budget": (["bench", "--budget", f"{'9' * 400}h"], "expected a time"),
    "endless number": (["bench", "--batch-size", "9" * 5000], "expected numbers of 1 or more"),
    "digits of others": (["bench", "--batch-size", "١"], "expected numbers of 1 or more"),
    "device of others' digits": (["run", "--device", "cuda:١"], "expected cpu, cuda or cuda:N"),
    "tensorflow": (["run", "--backend", "tensorflow"], "did you mean keras?"),
    "list of nothing": (["list", "bakends"], "did you mean backends?"),
}


@pytest.mark.parametrize("wrong", _WRONG)
def test_wild_arguments(bakeoff: Command, home: Path, wrong: str) -> None:
    words, message = _WRONG[wrong]
    outcome = bakeoff(*words)
    assert outcome.code == 2
    assert message in outcome.err
    assert outcome.err.startswith("bakeoff: ")
    assert outcome.err.count("\n") == 1
    assert len(outcome.err) < 3200
    assert list(home.iterdir()) == []


def test_a_model_whose_name_no_file_can_have(bakeoff: Command, workload: Path) -> None:
    terms = workload.read_text(encoding="utf-8").partition("[model]")[0]
    workload.write_text(f'{terms}\nmodel = "\\u0000.toml"', encoding="utf-8")
    outcome = bakeoff("show", workload)
    assert outcome.code == 2
    assert "cannot be read (embedded null byte)" in outcome.err


@pytest.mark.parametrize("name", ["folder.toml", "zero.toml", "pipe.toml"])
def test_what_is_no_file_is_not_read(bakeoff: Command, home: Path, name: str) -> None:
    (home / "folder.toml").mkdir()
    (home / "zero.toml").symlink_to("/dev/zero")
    os.mkfifo(home / "pipe.toml")
    outcome = bakeoff("show", name)
    assert outcome.code == 2
    assert f"{name}: cannot be read (" in outcome.err


@pytest.mark.parametrize("arguments", [["list", "models"], ["list", "--json"], ["--help"]])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_disk_that_is_full_is_one_line(arguments: list[str], unbuffered: str) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*_MODULE, *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        )
    assert done.returncode == 2
    assert done.stderr == "bakeoff: No space left on device; free space, and go on\n"


def test_without_a_command_there_is_help(bakeoff: Command) -> None:
    outcome = bakeoff()
    assert (outcome.code, outcome.err) == (0, "")
    assert "Usage" in outcome.out


def test_list_prints_one_kind_alone(bakeoff: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    described = Description("1.2", ["cpu"], ["eager"], {}, {})
    monkeypatch.setattr(listing, "recall", lambda backend: described)
    assert "Fashion-MNIST" not in bakeoff("list", "models").out
    assert list(bakeoff("list", "--json").json()) == ["workloads", "models", "datasets", "backends"]
    row = bakeoff("list", "backends", "--json").json()["backends"][0]
    assert (row["backend"], row["version"], row["devices"]) == ("numpy", "1.2", "cpu")


@pytest.mark.parametrize("command", ["run", "train", "parity", "bench"])
def test_a_device_that_is_not_there_is_said_and_fails(
    bakeoff: Command, workload: Path, command: str
) -> None:
    more = {"run": ["--seeds", "1"], "bench": ["--budget", "1s"]}.get(command, [])
    outcome = bakeoff(command, workload, "--backend", "numpy", "--device", "cuda", *more)
    assert outcome.code == 1
    (line,) = outcome.err.splitlines()
    assert re.match(r"bakeoff: (\S*/)?tiny(\.toml)?: no backend finished", line)
    assert "no backend finished; numpy: device cuda: this installed build has cpu" in line
