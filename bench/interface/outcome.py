"""What the functions return: a run or a benchmark, certificates, a report. Tables are pandas'."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin

from msgspec import Struct, structs

from .bench.parity.certificate import Certificate
from .bench.results.changes import Aspect, Change
from .bench.results.summary import Comparison, Measurement, Row, Summary

if TYPE_CHECKING:
    from pandas import DataFrame

_OF_ITSELF = ("mean", "median", "verdict")  # what a column named like the whole holds


class Run(Struct, frozen=True):
    """A run or a benchmark: its summary, and the folder in which all of it lies.

    A notebook shows it as a table and a picture. `summary` has whatever the frames leave out.
    """

    folder: Path
    summary: Summary

    def to_frame(self) -> DataFrame:
        """Return a row per workload, backend and execution; of a benchmark, per phase and batch
        size too. The columns are the fields of `Row` or `Measurement` in bench/results/summary.py;
        `metric` is a mean and `samples_per_second` a median, `metric_low` and so on its interval.
        """
        if self.summary.measurements:
            return frame(Measurement, self.summary.measurements)
        return frame(Row, self.summary.rows)

    def curves(self) -> DataFrame:
        """Return a row per epoch: training loss, validation metric, seconds of training up to it,
        averaged over seeds.
        """
        names = ("workload", "backend", "mode")
        columns = [*names, "epoch", "loss", "metric", "seconds"]
        lines = [
            {name: getattr(row, name) for name in names} | structs.asdict(point)
            for row in self.summary.rows
            for point in row.curve
        ]
        return _data_frame(lines, columns)

    def comparisons(self) -> DataFrame:
        """Return a row per comparison: `ratio` is how many times as fast `subject` is as `rival`,
        with its 95 % interval.
        """
        return frame(Comparison, self.summary.comparisons)

    def report(self) -> Report:
        """Return what a notebook shows of it."""
        from .bench.report import fragment  # and with it what draws charts

        return Report(fragment.render(self.summary), self.folder / "report.html")

    def __repr__(self) -> str:
        count = len(self.summary.entries)
        return f"<Run {str(self.folder)!r}: {count} {'row' if count == 1 else 'rows'}>"

    def _repr_html_(self) -> str:
        return self.report().html


class Report(Struct, frozen=True):
    """Table and picture as HTML that needs nothing else; `page` is the whole report, on disk."""

    html: str
    page: Path

    def __repr__(self) -> str:
        return f"<Report {str(self.page)!r}>"

    def _repr_html_(self) -> str:
        return self.html


class Certificates(Struct, frozen=True):
    """What came of `parity`: a certificate per model, backend and execution."""

    certificates: list[Certificate]

    @property
    def all_pass(self) -> bool:
        """Whether none fails, and one passes: some may be of what a backend does not support."""
        verdicts = {certificate.verdict for certificate in self.certificates}
        return "pass" in verdicts and not verdicts & {"fail", "error"}

    def to_frame(self) -> DataFrame:
        """Return a row per certificate; a rung's column is its worst error, in units of rounding
        noise.
        """
        return _data_frame([_line(certificate) for certificate in self.certificates])

    def __iter__(self) -> Iterator[Certificate]:
        return iter(self.certificates)

    def __len__(self) -> int:
        return len(self.certificates)

    def __repr__(self) -> str:
        return f"<Certificates: {len(self)}>"

    def _repr_html_(self) -> str:
        return str(self.to_frame().to_html(float_format="{:.2g}".format, na_rep=""))


def _line(certificate: Certificate) -> dict[str, Any]:
    failure = certificate.first_failure
    return (
        {"model": certificate.model, "backend": certificate.backend}
        | structs.asdict(certificate.execution)
        | {"version": certificate.version, "verdict": certificate.verdict}
        | {rung.name: rung.worst.ratio for rung in certificate.rungs}
        | {"fails_at": failure.tensor if failure else None}
        | {"reason": certificate.reason or None, "cause": certificate.cause or None}
    )


def frame_of_changes(changes: Iterable[Change]) -> DataFrame:
    """Return a row per aspect of each change, and one of what cannot be compared."""
    names = ("workload", "backend", "execution")
    lines = [
        {name: getattr(change, name) for name in names} | {"aspect": aspect} | cells
        for change in changes
        for aspect, cells in _aspects(change).items()
    ]
    return _data_frame(lines, [*names, "aspect", *_cells(Aspect, None)])


def _aspects(change: Change) -> dict[str, dict[str, Any]]:
    if not change.aspects:
        return {"": {"verdict": change.verdict, "reason": change.reason}}
    return {name: _cells(Aspect, aspect) for name, aspect in change.aspects.items()}


def frame(kind: type[Struct], values: Iterable[Struct]) -> DataFrame:
    """Return a row per value; the columns are the same whatever is null."""
    return _data_frame([_cells(kind, value) for value in values], list(_cells(kind, None)))


def _data_frame(lines: list[dict[str, Any]], columns: list[str] | None = None) -> DataFrame:
    import pandas as pd

    return pd.DataFrame(lines, columns=columns)


def _cells(kind: type[Struct], value: Struct | None) -> dict[str, Any]:
    """Return the fields by column, those of a Struct inside beside the others; but no lists."""
    cells: dict[str, Any] = {}
    for field in _fields(kind):
        if get_origin(field.type) in (list, dict):
            continue
        inner = getattr(value, field.name, None)
        for choice in get_args(field.type) or (field.type,):
            if isinstance(choice, type) and issubclass(choice, Struct):
                cells |= {
                    field.name if name in _OF_ITSELF else f"{field.name}_{name}": cell
                    for name, cell in _cells(choice, inner).items()
                }
                break
        else:
            cells[field.name] = inner
    return cells


_fields = cache(structs.fields)
