"""What a summary says of a certificate."""

from __future__ import annotations

from ..results.summary import LayerError, Parity, RungResult
from .certificate import Certificate, in_words
from .ladder import BEYOND
from .noise import MULTIPLE


def parity_of(certificate: Certificate) -> Parity:
    """Return what a summary says of a certificate."""
    reason = certificate.reason
    if failure := certificate.first_failure:
        reason = "; ".join(part for part in (in_words(failure), certificate.cause) if part)
    worst = max(certificate.checks, key=lambda check: check.ratio, default=None)
    return Parity(
        verdict=str(certificate.verdict),
        rungs=[RungResult(rung.name, rung.passes, rung.worst.ratio) for rung in certificate.rungs],
        worst=in_words(worst) if worst else "",
        noise_ratio=certificate.noise_ratio,
        certificate=certificate.key,
        reason=reason,
        deviations=certificate.deviations,
        layers=_layers(certificate),
        allowed=float(MULTIPLE),
    )


def _layers(certificate: Certificate) -> list[LayerError]:
    """Return the worst errors by layer, in the order of the model, which that of outputs is."""
    forward: dict[str, float] = {}
    gradients: dict[str, float] = {}
    for check in certificate.checks:
        ratio = BEYOND if check.problem else check.ratio
        if check.rung == "forward":
            forward[check.tensor] = ratio
        elif check.rung == "gradients":
            layer = check.tensor.rpartition(".")[0]
            gradients[layer] = max(ratio, gradients.get(layer, 0.0))
    return [
        LayerError(layer, forward.get(layer), gradients.get(layer))
        for layer in dict.fromkeys([*forward, *gradients])
    ]
