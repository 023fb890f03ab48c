"""`bakeoff report`, and how each run and benchmark ends: files are written, tables printed."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Literal

from rich.console import Console

from ...models import InputError
from ..environments.folders import OtherVersionError
from ..printing import say, write_json
from ..report import terminal
from ..report import write as write_reports
from ..results import storage
from ..results.summary import Summary
from ..training import aggregate
from .warn import tell

Shown = Literal["tables", "json", "nothing"]  # on stdout, of a result


def report(folder: Path, console: Console, *, open_page: bool) -> None:
    """Write the report of a run or a benchmark again; of a run, the summary too."""
    is_run = (folder / "run.toml").exists()
    summary = _summarized(folder) if is_run else summary_of(folder)
    show(summary, folder, console, shown="tables")
    if open_page:
        webbrowser.open((folder / "report.html").resolve().as_uri())


def summary_of(folder: Path) -> Summary:
    """Read the summary of a run or a benchmark.

    If a run has none, or an older bakeoff's, its records are summarized. InputError.
    """
    path = folder / "summary.json"
    is_benchmark = path.exists() and not (folder / "run.toml").exists()
    if is_benchmark or storage.is_current(path):
        return storage.read(path)
    return _summarized(folder)


def _summarized(folder: Path) -> Summary:
    """Summarize a run; of one of another version, read its own summary. Raises InputError."""
    try:
        return aggregate.summarize(folder)
    except OtherVersionError:
        if not (folder / "summary.json").exists():
            raise
        return storage.read(folder / "summary.json")


def show(summary: Summary, folder: Path, console: Console, *, shown: Shown) -> None:
    """Print the tables, the JSON or nothing; then write `summary.json` and the reports.

    Raises InputError when they cannot be written.
    """
    if shown == "json":
        write_json(summary)
    elif shown == "tables":
        for table in terminal.tables(summary):
            console.print(table)
    try:
        storage.write(summary, folder / "summary.json")
        missing = write_reports(summary, folder)
    except (OSError, MemoryError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no memory is left"
        raise InputError(
            f"the report of {folder} cannot be written ({reason}); the records are kept: "
            f"free space, then bakeoff report {folder}"
        ) from None
    if missing:
        tell(
            f"{' and '.join(missing)} could not be drawn, often for want of memory; once there is "
            f"more: bakeoff report {folder}",
            console,
        )
    if shown == "tables":
        page = f"report: {folder / 'report.html'}"
        say(console, page)
