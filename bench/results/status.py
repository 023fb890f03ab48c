"""How a job or a timed case ended, in the words of a summary."""

from __future__ import annotations

from ..worker.records import Ending, Failed, Finished, Interrupted, Measured, Refused, TimedOut
from .summary import Status


def status_of(end: Ending | None) -> tuple[Status, str | None]:
    """Return how a job ended, and why if it did not finish."""
    match end:
        case Finished() | Measured():
            return "ok", None
        case Refused(reason=reason):
            return "unsupported", reason
        case Failed(reason=reason):
            return "failed", reason
        case TimedOut(seconds=seconds):
            return "timeout", f"ended after {seconds:g} s; give it longer with --timeout"
        case Interrupted():
            return "interrupted", "stopped by the user; go on with --resume"
        case None:
            return "interrupted", "not run yet; go on with --resume"
