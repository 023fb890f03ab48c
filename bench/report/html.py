"""The summary as one web page that needs nothing but itself: styles, data and Vega are inside."""

from __future__ import annotations

import json
from importlib.resources import files

import msgspec
import vl_convert
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from ..summary import Summary
from . import charts, words
from .sections import TEXT_COLUMNS, sections


def render(summary: Summary) -> str:
    """Return the text of `report.html`."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    source = files(__package__).joinpath("page.html.j2").read_text(encoding="utf-8")
    panels = charts.panels(summary)
    return environment.from_string(source).render(
        sections=sections(summary),
        panels=panels,
        charts=_json(panels),
        cells=msgspec.structs.astuple,
        text_columns=TEXT_COLUMNS,
        machine=words.machine(summary),
        versions=words.versions(summary),
        command=words.plain(summary.command),
        created=words.plain(summary.created),
        parity=words.PARITY,
        reading=words.READING,
        vega=Markup(vl_convert.javascript_bundle()),  # type: ignore[call-arg]
    )


def _json(value: object) -> Markup:
    # Inside <script>, HTML knows no escapes: a "<" would let a name end the element.
    return Markup(json.dumps(value, allow_nan=False).replace("<", "\\u003c"))
