"""A certificate: the outcome of the ladder for one backend, model, execution and versions."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from ...backends.contract import Execution
from .ladder import BEYOND, RUNGS, Check, RungName
from .noise import MULTIPLE

SCHEMA_VERSION = 2

Verdict = Literal["pass", "fail", "unsupported", "error"]


class Rung(Struct, frozen=True):
    """A rung's verdict, and its worst check."""

    name: RungName
    passes: bool
    worst: Check


class Certificate(Struct, frozen=True, kw_only=True):
    """What was judged, and how it went.

    `key` is the hash of all that it depends on and that is known before a backend is asked;
    `sources` has the hash of every file that the backend's process had loaded: it holds for exactly
    those. `reason` says in one line why there is no ladder
    (`unsupported`: the backend refused; `error`: it died), `cause` which single difference from the
    formulas explains a failure. `checks` has every tensor of every rung and step.
    """

    schema_version: int = SCHEMA_VERSION
    key: str
    backend: str
    model: str
    execution: Execution
    version: str  # the framework's
    verdict: Verdict
    reason: str = ""
    cause: str = ""
    deviations: list[str] = []
    sources: dict[str, str] = {}
    checks: list[Check] = []

    @property
    def rungs(self) -> list[Rung]:
        """The rungs that were climbed, in order."""
        rungs = []
        for name in RUNGS:
            if checks := [check for check in self.checks if check.rung == name]:
                worst = max(checks, key=lambda check: (bool(check.problem), check.ratio))
                rungs.append(Rung(name, all(check.passes for check in checks), worst))
        return rungs

    @property
    def noise_ratio(self) -> float:
        """The worst ratio of all: a backend that is right is off by a few times the noise."""
        return max((check.ratio for check in self.checks), default=0.0)

    @property
    def first_failure(self) -> Check | None:
        """The first check that fails, in the order of rungs, steps and layers."""
        return next((check for check in self.checks if not check.passes), None)


def in_words(check: Check) -> str:
    """Say where a check failed, with both values: one line."""
    place = f"{check.rung}, {check.tensor}" + (f", step {check.step}" if check.step else "")
    if check.problem:
        return f"{place}: {check.problem}"
    index = f"[{', '.join(map(str, check.index))}]" if check.index else ""
    if check.ratio == BEYOND:  # the round trip of the weights, and the step count
        return f"{place}{index}: {check.actual:.9g}, expected exactly {check.expected:.9g}"
    return (
        f"{place}{index}: {check.actual:.9g}, expected {check.expected:.9g}: "
        f"{check.ratio:.3g}x rounding noise, {MULTIPLE}x is allowed"
    )


def in_a_line(certificate: Certificate) -> str:
    """Say whose certificate it is and what came of it."""
    execution = f"{certificate.execution.dtype} {certificate.execution.mode}"
    who = f"parity: {certificate.model} {certificate.backend} {execution}: "
    if failure := certificate.first_failure:
        return f"{who}FAIL: {in_words(failure)}"
    if certificate.verdict == "pass":
        return f"{who}{certificate.noise_ratio:.1f}x rounding noise"
    return f"{who}{certificate.verdict}: {certificate.reason}"
