"""Reports: one `Summary`, rendered for a terminal, a pull request, a browser and as a picture.

`wording`, `formatting`, `context` and `tables` decide what is said, once, and `sections` in which
order; `terminal`, `markdown`, `page` (with `page.html.j2`, `report.css`, `report.js`) and `charts`
(with `chart_data` and `chart_kinds`) only lay it out. Nothing here reads another file, so an old
summary can be reported anew.
The libraries for charts and pages are imported when a report is written, not before.
"""

from __future__ import annotations

from pathlib import Path

from ..results.summary import Summary
from ..worker.files import write_whole


def write(summary: Summary, folder: Path) -> None:
    """Write `report.md`, `report.html` and `report.png` into the folder, each whole or not."""
    from . import charts, markdown, page

    files = {
        "report.md": markdown.render(summary).encode(),
        "report.html": page.render(summary).encode(),
        "report.png": charts.png(summary),
    }
    for name, content in files.items():
        write_whole(folder / name, content)
