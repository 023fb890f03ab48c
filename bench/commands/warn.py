"""How every command says what is legal and hardly meant: one line each, and it goes on."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console


def warn(lines: Iterable[str], console: Console) -> None:
    """Print each as a warning."""
    for line in lines:
        tell(f"warning: {line}", console)


def tell(line: str, console: Console) -> None:
    """Print a line that is not as it should be."""
    console.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)
