"""How every command says what is legal and hardly meant, and it goes on; and of what there is no
result, and why: one line each.
"""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console

from ..printing import Screen, say


def warn(lines: Iterable[str], console: Console) -> None:
    """Print each as a warning."""
    for line in lines:
        tell(f"warning: {line}", console)


def tell(line: str, console: Console) -> None:
    """Print a line that is not as it should be."""
    say(console, line, "yellow")


def nothing_of(outcomes: Iterable[tuple[str, str, str]]) -> bool:
    """Say on stderr, a line each, of what no backend has a result, and why; return whether so.

    An outcome is what was asked, of whom, and why there is no result: "" if there is one.
    """
    asked: dict[str, dict[str, dict[str, None]]] = {}
    for what, backend, reason in outcomes:
        asked.setdefault(what, {}).setdefault(reason, {})[backend] = None
    empty = {what: reasons for what, reasons in asked.items() if "" not in reasons}
    for what, reasons in empty.items():
        why = "; ".join(f"{', '.join(who)}: {reason}" for reason, who in reasons.items())
        Screen(stderr=True).say(f"bakeoff: {what}: no backend finished; {' '.join(why.split())}")
    if not asked:
        Screen(stderr=True).say("bakeoff: nothing was asked that could run")
    return bool(empty) or not asked
