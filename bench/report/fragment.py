"""The summary as a piece of HTML that a notebook shows: the essential tables, and the picture."""

from __future__ import annotations

from base64 import b64encode
from importlib.resources import files

from jinja2 import Environment, StrictUndefined

from ..environments.draw import draw
from ..results.summary import Summary
from . import charts, wording
from .sections import sections


def render(summary: Summary) -> str:
    """Return HTML that needs nothing but itself and runs nothing; whatever a name holds is text."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    _, picture = draw(charts.spec(summary), scale=1)
    template = files(__package__).joinpath("fragment.html.j2").read_text(encoding="utf-8")
    return environment.from_string(template).render(
        sections=sections(summary),
        caveat=wording.caveat(summary),
        picture=b64encode(picture).decode(),
    )
