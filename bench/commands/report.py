"""`bakeoff report`, and how each run and benchmark ends: files are written, tables printed."""

from __future__ import annotations

import sys
import webbrowser
from pathlib import Path

import msgspec
from rich.console import Console

from ...models import InputError
from ..report import terminal
from ..report import write as write_reports
from ..results.speeds import is_benchmark
from ..results.summary import Summary
from ..results.summary import read as read_summary
from ..results.summary import write as write_summary
from ..training import aggregate


def report(folder: Path, console: Console, *, open_page: bool) -> None:
    """Write the report of a run or a benchmark again; of a run, the summary too."""
    if is_benchmark(folder):
        show(read_summary(folder / "summary.json"), folder, console, as_json=False)
    else:
        show(aggregate.summarize(folder), folder, console, as_json=False)
    if open_page:
        webbrowser.open((folder / "report.html").resolve().as_uri())


def show(summary: Summary, folder: Path, console: Console, *, as_json: bool) -> None:
    """Write `summary.json` and the reports into a folder, and print the tables, or the JSON.

    Raises InputError when they cannot be written.
    """
    try:
        write_summary(summary, folder / "summary.json")
        write_reports(summary, folder)
    except OSError as error:
        raise InputError(
            f"the report of {folder} cannot be written ({error.strerror}); the records are kept: "
            f"free space, then bakeoff report {folder}"
        ) from None
    if as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(summary)).decode() + "\n")
    else:
        for table in terminal.tables(summary):
            console.print(table)
        console.print(f"report: {folder / 'report.html'}", highlight=False, soft_wrap=True)
