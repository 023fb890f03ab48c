"""Say once more what failed, where it is seen: at the end of an hour's log.

`failures.py RESULT.json` reads what `tox --result-json` wrote.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

_SHOWN = 30  # lines of each environment


def telling(output: str) -> list[str]:
    """Return the lines in which pytest names what failed and why, or else the last ones."""
    lines = output.splitlines()
    named = [line for line in lines if line.startswith(("E  ", "FAILED", "ERROR"))]
    return (named or lines)[-_SHOWN:]


def failures(path: Path) -> Iterator[str]:
    """Yield what failed in every environment."""
    for name, environment in json.loads(path.read_text(encoding="utf-8"))["testenvs"].items():
        for command in environment.get("test", ()):
            if command["retcode"]:
                yield f"\n{name} failed:"
                yield from telling(command["output"] + command["err"])


sys.stdout.writelines(f"{line[:200]}\n" for line in failures(Path(sys.argv[1])))
