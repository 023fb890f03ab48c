"""The summary as one web page that needs nothing but itself: styles, data and Vega are inside."""

from __future__ import annotations

import json
from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from ..results.summary import Summary
from . import charts, context, overview, tables, wording
from .sections import sections


def render(summary: Summary, vega: str = "") -> str:
    """Return the text of `report.html`; without Vega's JavaScript, its charts are not drawn."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    parts = sections(summary)
    plots = [charts.overview(parts), *charts.plots(parts)]
    first = overview.of(parts)
    return environment.from_string(_read("page.html.j2")).render(
        sections=parts,
        overview=first,
        lines=_json(first.data if first else []),
        plots=plots,
        charts=_json([plot.panels for plot in plots]),
        has_curves=bool(summary.rows),
        peaks=tables.of_peaks(summary),
        machine=context.machine(summary),
        versions=context.versions(summary),
        command=wording.plain(summary.command),
        created=wording.plain(summary.created),
        caveat=wording.caveat(summary),
        reading=wording.reading(summary),
        style=Markup(_read("report.css")),
        vega=Markup(vega),
        script=Markup(_read("report.js")),
    )


def _read(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _json(value: object) -> Markup:
    # Inside <script>, HTML knows no escapes: a "<" would let a name end the element.
    return Markup(json.dumps(value, allow_nan=False).replace("<", "\\u003c"))
