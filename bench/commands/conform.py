"""`bakeoff conform`: the conformance suite on anybody's adapter, in the adapter's own interpreter.

The suite is `tests/conformance`, which is installed with the package. It is run by pytest; what it
needs besides the framework goes into a folder of ours, not into the interpreter's environment.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from shutil import copytree
from typing import Literal
from xml.etree import ElementTree

import platformdirs
from msgspec import Struct
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ...models import InputError
from ..environments.code import write_zip
from ..environments.find import find
from ..environments.install import InstallError
from ..environments.process import clean_environment, worker_variables
from ..printing import say

_SUITE = f"{__package__.partition('.')[0]}.conformance"
_TOOLS = ("hypothesis", "pytest", "tomli-w")
_CONFIGURATION = """[pytest]
addopts = --import-mode=importlib -p no:cacheprovider
pythonpath = .
xfail_strict = true
"""
_WHY_NO_TESTS = re.compile(r"(?:E  |Exit:|INTERNALERROR>) *(.+)")  # not collected, refused, broken
_COLUMNS = {  # test -> column; the tests that are not here are of no one construct
    "test_activations_loss_and_gradients": "gradients",
    "test_predictions_in_evaluation_mode": "predict",
    "test_weights_survive_the_round_trip": "weights",
    "test_steps": "train",
    "test_a_restart_goes_on_as_if_unbroken": "state",
}

TestVerdict = Literal["pass", "FAIL", "unsupported"]


class Result(Struct, frozen=True):
    """One test: its function, its id, the construct that its case is of, how it went, and why."""

    test: str
    id: str
    construct: str | None
    verdict: TestVerdict
    reason: str


def conform(adapter: str, device: str, pythons: Mapping[str, Path], console: Console) -> int:
    """Run the suite on an adapter and print what passes, fails and is unsupported.

    Returns 0 if nothing failed, else 1. Raises InputError if there is no interpreter, adapter or
    device.
    """
    backend = find(adapter, pythons)
    if backend.python is None:
        raise InputError(f"{backend.name}: {backend.reason}; run: {backend.fix}")
    with console.status(f"conformance of {backend.name}: a minute or two"):
        results = _run(backend.python, backend.adapter, device, _tools(backend.python))
    _print(backend.name, results, console)
    return int(any(result.verdict == "FAIL" for result in results))


def _tools(python: str) -> Path:
    """Return a folder with pytest and its like for this interpreter; make it if need be."""
    asked = [python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    version = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    folder = Path(platformdirs.user_data_dir("bakeoff"), f"conformance-tools-{version}")
    if not (folder / "pytest").is_dir():
        command = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet"]
        done = subprocess.run(
            [*command, "--target", str(folder), *_TOOLS], capture_output=True, text=True
        )
        if done.returncode:
            raise InstallError(f"pip could not install pytest: {done.stderr.strip()[-300:]}")
    return folder


def _run(python: str, adapter: str, device: str, tools: Path) -> list[Result]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copytree(str(files(_SUITE)), folder / "conformance")
        write_zip(folder / "code.zip")
        (folder / "pytest.ini").write_text(_CONFIGURATION, encoding="utf-8")
        command = [python, "-P", "-m", "pytest", "conformance", "-q"]
        command += ["--backend", adapter, "--device", device]
        command += ["--ignore=conformance/test_findings.py"]  # they are of frameworks, not adapters
        code = f"{folder / 'code.zip'}:{tools}"
        done = subprocess.run(
            [*command, "--junit-xml=results.xml"],
            cwd=folder,
            env=clean_environment() | worker_variables(1, code),
            capture_output=True,
            text=True,
        )
        if done.returncode not in (0, 1):  # pytest says with 0 or 1 that the tests were run
            raise InputError(f"{adapter} cannot be tested: {_reason(done)}")
        return list(_read(folder / "results.xml"))


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    """Return what pytest says last of why it ran no tests."""
    lines = [*done.stderr.splitlines(), *done.stdout.splitlines()]
    reasons = [match[1] for line in lines if (match := _WHY_NO_TESTS.match(line))]
    return (reasons or done.stderr.strip().splitlines() or [f"code {done.returncode}"])[-1]


def _read(report: Path) -> Iterator[Result]:
    for case in ElementTree.parse(report).iter("testcase"):
        properties = {p.get("name"): p.get("value") for p in case.iter("property")}
        case_id = properties.get("case")
        name = case.get("name", "")
        verdict, reason = _verdict(case)
        yield Result(
            test=name.partition("[")[0],
            id=name,
            construct=case_id and case_id.partition("-")[0],
            verdict=verdict,
            reason=reason,
        )


def _verdict(case: ElementTree.Element) -> tuple[TestVerdict, str]:
    for tag in ("failure", "error"):
        if (failure := case.find(tag)) is not None:
            return "FAIL", (failure.get("message") or "").splitlines()[0]
    if (skipped := case.find("skipped")) is not None:
        return "unsupported", skipped.get("message") or ""
    return "pass", ""


def _print(name: str, results: list[Result], console: Console) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("construct", *_COLUMNS.values()):
        table.add_column(column, no_wrap=True)
    for construct in dict.fromkeys(r.construct for r in results if r.construct):
        of_it = [r for r in results if r.construct == construct]
        cells = [_cell([r for r in of_it if r.test == test]) for test in _COLUMNS]
        table.add_row(escape(construct), *cells)
    console.print(table)
    rules = Table("rule", "", box=box.SIMPLE_HEAD, pad_edge=False)
    for test in dict.fromkeys(r.test for r in results if r.test not in _COLUMNS):
        rules.add_row(_words(test), _cell([r for r in results if r.test == test]))
    console.print(rules)
    _print_reasons(results, console)
    count = Counter(result.verdict for result in results)
    console.print(
        f"{name}: {count['pass']} passed, {count['FAIL']} failed, "
        f"{count['unsupported']} unsupported",
        highlight=False,
    )


def _cell(results: list[Result]) -> str:
    """Return `12`: all passed; `FAIL 2/12`; a dash, if all of it is unsupported."""
    failed = sum(result.verdict == "FAIL" for result in results)
    passed = sum(result.verdict == "pass" for result in results)
    if failed:
        return f"[red]FAIL {failed}/{failed + passed}[/red]"
    if results and not passed:
        return "[yellow]–[/yellow]"
    return str(passed) if results else ""


def _words(test: str) -> str:
    return test.removeprefix("test_").replace("_", " ")


def _print_reasons(results: list[Result], console: Console) -> None:
    for result in results:
        if result.verdict == "FAIL":
            line = f"FAIL {result.id}: {result.reason}"
            say(console, line, "red")
    tested = {r.construct for r in results if r.verdict != "unsupported"}
    for reason in dict.fromkeys(r.reason for r in results if r.verdict == "unsupported"):
        constructs = dict.fromkeys(r.construct for r in results if r.reason == reason)
        words = ", ".join(word for word in constructs if word and word not in tested)
        line = f"unsupported ({words or 'in some cases'}): {reason}"
        say(console, line)
