"""Error by layer and by step: one picture over all certificates, in units of rounding noise."""

from __future__ import annotations

from typing import Any

import altair as alt

from ..environments.draw import draw
from .certificate import Certificate
from .ladder import RUNGS
from .noise import MULTIPLE

_SIZE = 11  # pixels of a cell
_PANELS = 24
_SMALLEST = 0.01  # of the logarithmic scale: below, an error is as good as none


def png(certificates: list[Certificate]) -> bytes:
    """Return the picture: tensors downwards, rungs and steps across, the worst certificates.

    It is empty if it could not be drawn.
    """
    judged = [certificate for certificate in certificates if certificate.checks]
    judged.sort(key=lambda certificate: (certificate.verdict != "fail", -certificate.noise_ratio))
    panels = [_panel(certificate) for certificate in judged[:_PANELS]]
    chart = alt.concat(*panels, columns=4, spacing=24) if panels else alt.Chart().mark_text()
    title = alt.TitleParams(
        "Parity: the worst error of each tensor, in units of rounding noise",
        subtitle=f"blue: below the noise; red: more than the {MULTIPLE}x that is allowed; "
        f"the worst {len(panels)} of {len(judged)} certificates",
    )
    spec = chart.properties(title=title, background="white", padding=16).to_dict()
    return draw(spec, scale=1)[1]


def _panel(certificate: Certificate) -> Any:
    execution = certificate.execution
    data: list[dict[str, Any]] = [
        {
            "tensor": check.tensor.partition("/")[2] or check.tensor,
            "place": check.rung if not check.step else f"step {check.step:02d}",
            "ratio": 1e9 if check.problem else max(check.ratio, _SMALLEST),
        }
        for check in certificate.checks
    ]
    places = dict.fromkeys(point["place"] for point in data)
    order = sorted(places, key=lambda place: (place not in RUNGS, list(places).index(place)))
    colour = alt.Color(
        "max(ratio):Q",
        title="x noise",
        scale=alt.Scale(
            type="log", domain=[_SMALLEST, 1, MULTIPLE, 1000], clamp=True,
            range=["#f2f6fb", "#9ecae1", "#fdbb84", "#b30000"],
        ),
    )  # fmt: skip
    return (
        alt.Chart(alt.InlineData(values=data))
        .mark_rect()
        .encode(
            x=alt.X("place:N", sort=order, title=None, axis=alt.Axis(labelFontSize=8)),
            y=alt.Y("tensor:N", sort=None, title=None, axis=alt.Axis(labelFontSize=8)),
            color=colour,
        )
        .properties(
            width=alt.Step(_SIZE),
            height=alt.Step(_SIZE),
            title=f"{certificate.backend} {certificate.model} {execution.dtype} {execution.mode}: "
            f"{certificate.verdict}",
        )
    )
