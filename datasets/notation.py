"""How a table writes numbers and what is missing; `columns` asks it of every cell."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

from msgspec import Struct

# Those of pandas.read_csv, and what spreadsheets and statistics packages write; in any case.
MISSING = frozenset(
    {
        *("", "#n/a", "#n/a n/a", "#na", "-1.#ind", "-1.#qnan", "-nan", "1.#ind", "1.#qnan"),
        *("<na>", "n/a", "na", "nan", "none", "null"),
        *("?", "-", "--", ".", "n.a.", "#null!", "#div/0!", "#value!", "#ref!", "#name?", "#num!"),
    }
)

_SIGN = r"[+\-−]?"
_MONEY = r"[$€£¥%]?"
# A number in any notation: 1,250  1.250,5  1 250  1'250  32_137  (5)  $5  5 %  −5
_LIKE_A_NUMBER = re.compile(
    rf"\(?\s?{_SIGN}\s?{_MONEY}\s?{_SIGN}[.,]?\d[\d.,'’_\s]*(?:[eE][+\-−]?\d+)?\s?{_MONEY}\)?"
)
_LIKE_A_DATE = re.compile(r"\d{1,4}([./-])\d{1,2}\1\d{1,4}(?:[T ].*)?")


def _proof(mark: str, other: str) -> re.Pattern[str]:
    """Return what can only be read with `mark` as the decimal mark: 1,5  0,125  1.250,125."""
    mark, other = re.escape(mark), re.escape(other)
    whole = rf"0?{mark}\d+|\d+{mark}(?:\d{{1,2}}|\d{{4,}})|\d{{4,}}{mark}\d+"
    return re.compile(rf"{_SIGN}(?:{whole}|\d{{1,3}}(?:{other}\d{{3}})+{mark}\d+)")


_IN_DOUBT = re.compile(rf"{_SIGN}\d{{1,3}}\.\d{{3}}")
_COMMA, _POINT = _proof(",", "."), _proof(".", ",")


def is_missing(cell: str) -> bool:
    """Tell whether a cell stands for nothing."""
    return cell.lower() in MISSING


def is_like_a_number(cell: str) -> bool:
    """Tell whether a cell is a number in some notation, if not in that of its file."""
    return bool(_LIKE_A_NUMBER.fullmatch(cell)) and not _LIKE_A_DATE.fullmatch(cell)


class Notation(Struct, frozen=True, dict=True):
    """The decimal mark, and the mark between thousands if there is one."""

    decimal: str = "."
    thousands: str = ""

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        mark, digits = re.escape(self.decimal), r"\d+"
        if self.thousands:
            digits = rf"(?:\d{{1,3}}(?:{re.escape(self.thousands)}\d{{3}})+|\d+)"
        return re.compile(rf"[+-]?(?:{digits}(?:{mark}\d*)?|{mark}\d+)(?:[eE][+-]?\d+)?", re.ASCII)

    def number(self, cell: str) -> float | None:
        """Return a cell as a finite number, NaN when it is missing, None when it is a text."""
        if is_missing(cell):
            return math.nan
        if not self._pattern.fullmatch(cell):
            return None
        if self.thousands:
            cell = cell.replace(self.thousands, "")
        value = float(cell.replace(self.decimal, "."))
        return value if math.isfinite(value) else None

    def advice(self, cell: str) -> list[str]:
        """Return the options by which a number in another notation may be read."""
        marks = [
            mark for mark in ",.'’_ \u00a0\u202f" if mark != self.decimal or cell.count(mark) > 1
        ]
        between = [m for m in marks if re.search(rf"\d{re.escape(m)}\d{{3}}(?!\d)", cell)]
        word = {" ": "space", "\u00a0": "%C2%A0", "\u202f": "%E2%80%AF"}
        ways = [f"thousands={word.get(mark, mark)}" for mark in between]
        return ["decimal=,", *ways] if self.decimal == "." and cell.count(",") == 1 else ways


def find(columns: Mapping[str, Sequence[str]], numeric: Iterable[str]) -> tuple[str, str]:
    """Return the decimal mark of a file: a comma if columns of numbers prove it, and none a point.

    Those are the columns that are mostly numbers, or told to be `numeric`. 1,5 and 0,125 prove it,
    1,250 does not: that may be thousands as well. Where nothing proves either, the first 1.250 is
    returned beside the point.
    """
    comma, doubtful = False, ""
    for name, cells in columns.items():
        marked = [cell for cell in cells if "," in cell or "." in cell]
        if not marked or not (name in numeric or mostly_numbers(cells)):
            continue
        if any(map(_POINT.fullmatch, marked)):
            return ".", ""
        comma |= any(map(_COMMA.fullmatch, marked))
        doubtful = doubtful or next(filter(_IN_DOUBT.fullmatch, marked), "")
    return (",", "") if comma else (".", doubtful)


NUMBERS_SHARE = 0.95  # of the cells that are not missing: a column of numbers, with errors in it


def mostly_numbers(cells: Iterable[str]) -> bool:
    """Tell whether enough of the cells are numbers in some notation."""
    known = [cell for cell in cells if not is_missing(cell)]
    return bool(known) and sum(map(is_like_a_number, known)) >= NUMBERS_SHARE * len(known)
