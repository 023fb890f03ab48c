"""A campaign of strangers: seeded mutations of valid files and command lines.

Whatever is typed, the answer is a result or one line, with no traceback, nothing that a terminal
obeys, and no folder left. `BAKEOFF_FAULTS` is how many are tried, if it is set.
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from bakeoff.bench.commands import bench, parity, run
from bakeoff.bench.environments import find
from bakeoff.bench.environments import install as installer
from bakeoff.models import InputError

_FAULTS = int(os.environ.get("BAKEOFF_FAULTS", "100"))
_OBEYED = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_SPECS = [
    file.read_text(encoding="utf-8")
    for package in ("bakeoff.models", "bakeoff.bench")
    for folder in ("zoo", "workloads")
    if (files(package) / folder).is_dir()
    for file in sorted((files(package) / folder).iterdir(), key=str)
]
_WORDS = [
    "", "-", "--", "0", "-1", "1e9", "nan", "inf", "1" * 30, "9" * 5000, "true", "3.5",
    "\x1b[31mred", "\x1b]0;title\x07", "a\rb", "a\nb", "\u202egnp", "\u2028", "\udcff", "\0",
    "~nouser/x", "~", "..", "../../x", "/", "/dev/null", "x" * 300, "é", "🜲", "[/red]", "[bold",
    "{0}", "%s", "'", '"', "$HOME", "folder.toml", "nobody.toml", "bytes.toml", "closed.toml",
    "csv:", "csv:~nouser/x?target=y", "csv:/dev/null?target=y", "csv:\0?target=y",
    f"csv:{'x' * 300}?target=y", "csv:folder.toml?target=y", "synthetic-table?samples=-1",
    "synthetic-table?samples=x", "line?", "line?a=b", "LSTM", "cross_entropy", "tensorflow",
    "torch-a", "torch-../../x", "a.b", ".py", "x.py", "cuda:0", "cuda:999999", "cpu,cpu",
    "float32,float64", "eager,compiled", "numpy,", "numpy=", "numpy=~nouser/x", "=",
    "numpy-\x1b=x",
]  # fmt: skip
_COMMANDS = [
    "run line-linear --backend numpy --seeds 2 --epochs 3 --batch-size 2 --output out",
    "run spec.toml --backend numpy --dataset line --dtype float64 --mode eager --threads 1",
    "run --resume out --json",
    "train line-linear --backend numpy --seed 1 --checkpoint c --timeout 9 --device cpu",
    "train --resume c --backend numpy --epochs 9",
    "bench spec.toml --backend numpy --batch-size 1,8 --threads 1 --phase train,infer --budget 1s",
    "parity spec.toml --backend numpy --steps 5 --dtype float32 --output certificates",
    "show spec.toml",
    "show lenet5",
    "explain adam",
    "list models --json",
    "list datasets",
    "report out --open",
    "compare out out --fail-above 5% --json",
    "install troch",
    "conform nobody",
]
_KEYS = [
    "lr", "activation", "units", "channels", "type", "name", "body", "betas", "input", "0",
    "\u202e",
]  # fmt: skip
_VALUES = [
    "1", "-1", "0.5", "nan", "inf", "true", "[]", "{}", "[[]]", '""', '"x\\n"', '"\\u0000.toml"',
    '"\\u001b[31m"', '"../../x"', '"Linear"', '"relu"', '{ type = "LSTM" }', "[28, 28, 1]",
    "9" * 5000, "1e400", "2026-01-01", "[" * 200 + "]" * 200, "{ a = " * 200 + "1" + "}" * 200,
    f'"{"x" * 300}"', '"csv:~nouser/x?target=y"',
]  # fmt: skip


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check everything, and start nothing."""

    def stop(*arguments: object, **named: object) -> Any:
        raise InputError("stopped before anything runs")

    for room, name in (
        (run, "prepare"),
        (installer, "install"),
        (bench, "_folder"),
        (parity, "certify"),
    ):
        monkeypatch.setattr(room, name, stop)
    monkeypatch.setattr(find, "lacking_modules", lambda python, modules: [])


@pytest.fixture
def folder(home: Path) -> Path:
    """What lies about: no file, a folder, bytes that are no text, a file that nobody may read."""
    (home / "folder.toml").mkdir()
    (home / "bytes.toml").write_bytes(bytes(range(256)))
    (home / "closed.toml").write_text("", encoding="utf-8")
    (home / "closed.toml").chmod(0)
    return home


@pytest.mark.usefixtures("stopped")
def test_whatever_is_typed_is_answered_in_one_line(
    bakeoff: Callable[..., Any], folder: Path
) -> None:
    wrong = [problem for seed in range(_FAULTS) if (problem := _try(bakeoff, folder, seed))]
    assert not wrong, f"{len(wrong)} of {_FAULTS}:\n" + "\n".join(wrong[:20])


def _try(bakeoff: Callable[..., Any], folder: Path, seed: int) -> str:
    draw = random.Random(seed)
    spec = folder / "spec.toml"
    text = _mutated_spec(draw)
    spec.write_bytes(text.encode("utf-8", "surrogateescape"))
    words = draw.choice(_COMMANDS).split()
    if "spec.toml" not in words or draw.random() < 0.2:
        words = _mutated_words(draw, words)
    before = sorted(folder.iterdir())
    try:
        outcome = bakeoff(*words)
    except BaseException as error:  # whatever it is, it is the finding
        return f"seed {seed}: {words}: {type(error).__name__}: {str(error)[:300]}"
    problems = [
        outcome.code not in (0, 2) and f"exit code {outcome.code}",
        outcome.code == 2 and not outcome.err.startswith("bakeoff: ") and "no line",
        len(outcome.err.splitlines()) != (outcome.code == 2) and f"not one line: {outcome.err!r}",
        _OBEYED.search(outcome.out + outcome.err) and f"obeyed: {outcome.err!r}",
        sorted(folder.iterdir()) != before and "something was left",
    ]
    found = ", ".join(problem for problem in problems if problem)
    return f"seed {seed}: {words}: {found[:500]}" if found else ""


def _mutated_words(draw: random.Random, words: list[str]) -> list[str]:
    words = list(words)
    for _ in range(draw.choice([1, 1, 2, 3])):
        place = draw.randrange(len(words))
        match draw.randrange(5):
            case 0 | 1:
                words[place] = draw.choice(_WORDS)
            case 2:
                words.insert(place + 1, draw.choice(_WORDS))
            case 3:
                words[place] = words[place][: draw.randrange(len(words[place]) + 1)]
            case 4 if len(words) > 1:
                del words[place]
    return words


def _mutated_spec(draw: random.Random) -> str:
    lines = draw.choice(_SPECS).splitlines()
    for _ in range(draw.choice([1, 1, 1, 2, 4])):
        place = draw.randrange(len(lines))
        key, equals, value = lines[place].partition(" = ")
        match draw.randrange(7):
            case 0:
                lines[place] = f"{key}{equals}{draw.choice(_VALUES)}"
            case 1:
                lines[place] = f"{draw.choice(_KEYS)}{equals}{value}"
            case 2:
                lines.insert(place, f"{draw.choice(_KEYS)} = {draw.choice(_VALUES)}")
            case 3:
                lines[place] = ""
            case 4:
                other = draw.randrange(len(lines))
                lines[place], lines[other] = lines[other], lines[place]
            case 5:
                cut = draw.randrange(len(lines[place]) + 1)
                wild = draw.choice(["\x00", "\x1b", "\udcff", "\u202e", "é", '"', "[", "=", "\t"])
                lines[place] = lines[place][:cut] + wild + lines[place][cut:]
            case 6:
                lines = lines[: place + 1]
    return "\n".join(lines) + "\n"
