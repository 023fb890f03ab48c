"""Which single difference from the formulas explains a failure."""

from typing import Any


def cause(probe: Any, found: Any, dtype: Any, checks: Any) -> str:
    return ""
