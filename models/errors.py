"""The exception for what a user got wrong: the command line prints it as one line and exits 2."""

from __future__ import annotations


class InputError(ValueError):
    """Something that the user gave is wrong.

    The message says in one line what happened, the value, what was expected, and how to fix it.
    """

    def _render_traceback_(self) -> list[str]:
        """Return what IPython shows: that line, and not how it came to it."""
        return [f"{type(self).__name__}: {self}"]
