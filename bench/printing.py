"""Where words reach the user: text is shown and never obeyed, and numbers are whole. Called by the
command line.
"""

from __future__ import annotations

import json
import re
import sys
import unicodedata
from collections.abc import Iterable
from typing import Any

import msgspec
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

_NUMBER = re.compile(r"(?=.*\d)[\W\dex]+")  # digits and signs, 1e-3, 1.5x
_ENDLESS = 100_000  # characters: what reads a pipe has no edge


class Screen(Console):
    """A console for text of anybody's.

    What a terminal would obey (escape codes, carriage returns, turns of the writing direction) is
    shown as �. A pipe gets whole lines. In a terminal that is too narrow the text of a table is
    folded, but no number; a column that is right-aligned, or not to be wrapped, stays whole.

    A `plain` one gets whole lines whatever it is.
    """

    def __init__(self, *, stderr: bool = False, plain: bool = False) -> None:
        stream = sys.stderr if stderr else sys.stdout
        has_edge = stream is not None and stream.isatty() and not plain
        super().__init__(
            stderr=stderr,
            width=None if has_edge else _ENDLESS,
            force_terminal=False if plain else None,
            force_jupyter=False if plain else None,
        )

    def print(self, *objects: Any, crop: bool = False, **how: Any) -> None:
        for table in objects:
            if isinstance(table, Table):
                self._widen(table)
        super().print(*objects, crop=crop, **how)

    def say(self, text: object, style: str = "") -> None:
        """See `say`."""
        say(self, text, style)

    def render_str(self, text: str, **how: Any) -> Text:
        return super().render_str(shown(text), **how)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            harmless = segment.control or segment.text.isprintable()
            yield segment if harmless else segment._replace(text=shown(segment.text))

    def _widen(self, table: Table) -> None:
        for column in table.columns:
            cells = [self._text(cell) for cell in column.cells]
            title = self._text(column.header)
            if column.justify == "right" or column.no_wrap:
                whole = [*cells, *([title] if column.no_wrap else title.split())]
            else:
                words = (word for cell in cells for word in cell.split())
                whole = [word for word in words if _NUMBER.fullmatch(word)]
            column.min_width = max(map(cell_len, whole), default=1)

    def _text(self, cell: RenderableType) -> str:
        return cell.plain if isinstance(cell, Text) else self.render_str(str(cell)).plain


def say(console: Console, text: object, style: str = "") -> None:
    """Print a text as it is, which the terminal folds where it must."""
    console.print(str(text), style=style, markup=False, highlight=False, soft_wrap=True)


def shown(text: str) -> str:
    """Return a text in which nothing moves a cursor, changes a colour or hides what is there."""
    return "".join(c if c in "\n\t" or c.isprintable() or _is_space(c) else "�" for c in text)


def _is_space(character: str) -> bool:
    return unicodedata.category(character) == "Zs"


def write_json(value: Any) -> None:
    """Print a value as JSON in ASCII, which every terminal and every encoding can take."""
    plain = json.loads(msgspec.json.encode(value))
    sys.stdout.write(json.dumps(plain, indent=2) + "\n")
    sys.stdout.flush()
