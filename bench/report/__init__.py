"""Reports: one `Summary`, rendered for a terminal, a pull request, a browser and as a picture.

`wording`, `formatting`, `context` and `tables` decide what is said, once, and `sections` in which
order; `overview` sets the speeds of all sections side by side. `terminal`, `markdown`, `page` (with
`page.html.j2`, `report.css`, `report.js`) and `charts` (with `chart_data` and `chart_kinds`) only
lay it out, as does `fragment`, for a notebook. Nothing here reads another file, so an old summary
can be reported anew.
The libraries for charts and pages are imported when a report is written, not before.
"""

from __future__ import annotations

from pathlib import Path

from ..environments.draw import draw
from ..results.summary import Summary
from ..worker.files import write_whole


def write(summary: Summary, folder: Path) -> list[str]:
    """Write `report.md`, `report.html` and `report.png` into the folder, each whole or not.

    Returns what could not be drawn: the tables are there without it. Raises OSError.
    """
    from . import charts, markdown, page

    write_whole(folder / "report.md", markdown.render(summary).encode())
    vega, picture = draw(charts.spec(summary))
    write_whole(folder / "report.html", page.render(summary, vega).encode())
    if picture:
        write_whole(folder / "report.png", picture)
    else:
        (folder / "report.png").unlink(missing_ok=True)
    drawn = {"the charts of report.html": vega, "report.png": picture}
    return [what for what, content in drawn.items() if not content]
