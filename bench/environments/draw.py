"""Drawing, in a process of its own: V8 ends the one that it is in where memory is short.

Run as `python -P -m bakeoff.bench.environments.draw`, with a picture in Vega-Lite on stdin.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from ..worker import parent
from .process import same_modules


def draw(spec: dict[str, Any], *, scale: int = 2) -> tuple[str, bytes]:
    """Return the JavaScript that draws charts in a browser, and the picture as PNG; what could not
    be made is empty.
    """
    done = subprocess.run(
        [sys.executable, "-P", "-m", __name__],
        input=json.dumps([spec, scale]).encode(),
        env=same_modules(),
        capture_output=True,
        start_new_session=True,  # Ctrl-C is for the parent, with which this one ends
    )
    size, _, answer = done.stdout.partition(b"\n")
    length = int(size) if size.isdigit() else 0
    vega, picture = answer[:length], answer[length:]
    return vega.decode() if len(vega) == length else "", b"" if done.returncode else picture


def _main() -> None:
    parent.end_with_parent()
    import vl_convert

    spec, scale = json.load(sys.stdin.buffer)
    vega = vl_convert.javascript_bundle().encode()  # type: ignore[call-arg]
    sys.stdout.buffer.write(b"%d\n%s" % (len(vega), vega))
    sys.stdout.buffer.flush()
    sys.stdout.buffer.write(vl_convert.vegalite_to_png(spec, scale=scale))


if __name__ == "__main__":
    _main()
