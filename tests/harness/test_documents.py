"""What the documents say that a command takes or prints is what it takes and prints."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
import typer

from bakeoff.bench.cli import app
from bakeoff.bench.report import markdown
from bakeoff.models.initializers import Initializer
from bakeoff.models.schedules import Schedule
from conformance.cases import LAYERS, LOSSES, OPTIMIZERS
from harness import samples

_ROOT = Path(__file__).parents[2]
_PAGES = ("README.md", "CONTRIBUTING.md", "backends/EXAMPLE.md", "bench/RESULTS.md")


def _text(page: str) -> str:
    return (_ROOT / page).read_text(encoding="utf-8")


def _tags(union: object) -> set[str]:
    return {spec.__struct_config__.tag for spec in get_args(union)}


@pytest.mark.parametrize("page", _PAGES)
def test_a_command_on_a_page_has_the_options_that_it_is_given(page: str) -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    found = re.findall(
        r"(?:^ {4}|`|&& )bakeoff ([a-z]+)([^`#\n|&]*)", _text(page), flags=re.MULTILINE
    )
    for name, rest in found:
        assert name in commands, f"bakeoff {name}"
        options = {option for param in commands[name].params for option in param.opts}
        assert set(re.findall(r"--[a-z][a-z-]*", rest)) <= options, f"bakeoff {name}{rest}"


def test_the_table_of_the_readme_has_the_columns_of_a_report() -> None:
    summary = samples.summary(samples.row("w", "numpy"), samples.row("w", "torch"))
    headings = next(line for line in _text("README.md").splitlines() if "vs fastest" in line)
    printed = {
        cell.strip()
        for line in markdown.render(summary).splitlines()
        if line.startswith("|")
        for cell in line.strip("|").split("|")
    }
    shown = {cell.strip() for cell in headings.strip("|").split("|")}
    assert shown - {"workload", "test metric"} <= printed  # several workloads share it


def test_the_words_of_the_readme_are_those_of_the_spec() -> None:
    text = " ".join(_text("README.md").split())
    schedules = re.search(r"a `schedule`: `([a-z ]+)`", text)
    plain = re.search(r"Initializers are `([a-z_ ]+)`, and `([a-z ]+)`, each", text)
    assert schedules
    assert plain
    assert set(schedules[1].split()) == _tags(Schedule)
    families = {f"{name}_{kind}" for name in plain[2].split() for kind in ("uniform", "normal")}
    assert set(plain[1].split()) | families == _tags(Initializer)


def test_a_case_that_contributing_names_is_there() -> None:
    cases = {case.id for case in [*LAYERS, *LOSSES, *OPTIMIZERS]}
    named = re.findall(
        r'tests/conformance[^`]* -k "?(?:eager-)?([\w-]+?)\]?"?`', _text("CONTRIBUTING.md")
    )
    assert named
    assert set(named) <= cases
