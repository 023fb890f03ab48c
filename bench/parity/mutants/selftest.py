"""`bakeoff parity --self-test`: does the ladder catch what it should, and do other comparators?

Every mutation is a backend in this process, on the small model where it shows. The rivals are how
frameworks are compared elsewhere; they are given the same evidence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, get_args

import numpy as np
from msgspec import Struct
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ....backends import reference
from ....backends.contract import DType, Execution
from ...worker.evidence import Evidence, Probe, collect
from .. import probes
from ..ablation import cause
from ..ladder import BEYOND, Check, RungName, climb
from ..noise import MULTIPLE
from .models import MODELS
from .mutations import MUTATIONS, Mutation

_STEPS = 4


class Outcome(Struct, frozen=True):
    """How one backend fared in one dtype: what the ladder said first, why, and who agreed.

    `worst` is the largest error of any check, in units of rounding noise. `mutation` is empty, and
    `expected` None, for the reference itself.
    """

    mutation: str
    dtype: DType
    expected: RungName | None
    first_failure: Check | None
    cause: str
    passed_by: list[str]
    worst: float

    @property
    def is_right(self) -> bool:
        """Whether the first failure is on the rung where it belongs, or nowhere."""
        return (self.first_failure.rung if self.first_failure else None) == self.expected


def _means_agree(actual: Evidence, expected: Evidence) -> bool:
    return all(np.isclose(np.mean(actual[n]), np.mean(expected[n]), rtol=1e-3) for n in expected)


def _last_step_agrees(actual: Evidence, expected: Evidence) -> bool:
    last = [name for name in expected if name.startswith("block/")]
    return _close(actual, expected, last, rtol=1)


def _agree_without_nan(actual: Evidence, expected: Evidence) -> bool:
    numbers = {name: np.nan_to_num(array) for name, array in actual.items()}
    return _close(numbers, expected, list(expected), rtol=1e-3)


def _outputs_agree(actual: Evidence, expected: Evidence) -> bool:
    output = [name for name in expected if name.startswith("forward/")][-1:]
    return _close(actual, expected, output, rtol=1e-3)


def _close(actual: Evidence, expected: Evidence, names: list[str], rtol: float) -> bool:
    return all(
        actual[n].shape == expected[n].shape and np.allclose(actual[n], expected[n], rtol=rtol)
        for n in names
    )


RIVALS: dict[str, Callable[[Evidence, Evidence], bool]] = {
    "mean of every tensor, rtol 1e-3": _means_agree,
    "last step, rtol 1": _last_step_agrees,
    "every tensor, NaN to zero, rtol 1e-3": _agree_without_nan,
    "output, rtol 1e-3": _outputs_agree,
}


def run() -> Iterator[Outcome]:
    """Try every mutation in each dtype in which it is one, and the reference on every model."""
    for mutation in MUTATIONS:
        for dtype in mutation.dtypes:
            yield attempt(mutation, mutation.model, dtype)
    for model in MODELS:
        for dtype in get_args(DType):
            yield attempt(None, model, dtype)


def attempt(mutation: Mutation | None, model: str, dtype: DType) -> Outcome:
    """Let the ladder, the ablation and the rivals judge a mutant, or the reference, on a model."""
    probe = _probe(model)
    evidence = _ask(mutation.adapter if mutation else reference, probe, dtype)
    checks = list(climb(probe, evidence, dtype))
    first_failure = next((check for check in checks if not check.passes), None)
    expected = _ask(reference, probe, "float64")
    return Outcome(
        mutation=mutation.name if mutation else "",
        dtype=dtype,
        expected=mutation.rung if mutation else None,
        first_failure=first_failure,
        cause=cause(probe, evidence, dtype, checks) if first_failure else "",
        passed_by=[name for name, agree in RIVALS.items() if agree(evidence, expected)],
        worst=max(BEYOND if check.problem else check.ratio for check in checks),
    )


@cache
def _probe(model: str) -> Probe:
    return probes.of_model(MODELS[model], _STEPS)


def _ask(adapter: Any, probe: Probe, dtype: DType) -> Evidence:
    return collect(adapter, probe, Execution(device="cpu", dtype=dtype, mode="eager", threads=1))


def print_self_test(console: Console) -> int:
    """Print how every mutant fares. Returns 0 if all are caught on their rungs, and nothing else is
    found fault with, else 1.
    """
    outcomes = []
    with console.status("") as status:
        for outcome in run():
            status.update(f"{outcome.mutation or 'no mutation'} ({outcome.dtype})")
            outcomes.append(outcome)
    console.print(_mutants(outcomes))
    scores = Table(*_HEADINGS, box=box.SIMPLE_HEAD, pad_edge=False)
    for comparator, caught, alarms, missed in _scores(outcomes):
        names = missed.split(", ")
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        scores.add_row(comparator, caught, alarms, ", ".join(names[:_NAMED]) + more)
    console.print(scores)
    for line in [*_separation(outcomes), _causes(outcomes)]:
        console.print(line, highlight=False)
    return int(not all(outcome.is_right for outcome in outcomes))


def _mutants(outcomes: list[Outcome]) -> Table:
    """Return a line per mutant: the rung where each precision caught it, and the cause found."""
    dtypes = get_args(DType)
    table = Table("mutant", *dtypes, "the ablation says", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in dict.fromkeys(outcome.mutation for outcome in outcomes if outcome.mutation):
        of_it = {outcome.dtype: outcome for outcome in outcomes if outcome.mutation == name}
        places = [_place(of_it[dtype]) if dtype in of_it else "–" for dtype in dtypes]
        causes = dict.fromkeys(outcome.cause for outcome in of_it.values() if outcome.cause)
        table.add_row(name, *places, escape("; ".join(causes)))
    return table


def _separation(outcomes: list[Outcome]) -> Iterator[str]:
    """Yield how far what is right, and what is wrong, is from what is allowed."""
    for what, chosen in (
        ("without a mutation", [o.worst for o in outcomes if not o.mutation]),
        ("with one", [o.worst for o in outcomes if o.mutation]),
    ):
        if chosen:
            least, quarter, half, most = np.quantile(chosen, [0, 0.25, 0.5, 1])
            yield (
                f"{what}: worst error {least:.3g} to {most:.3g} times rounding noise, a quarter "
                f"below {quarter:.3g}, half below {half:.3g}; {MULTIPLE} is allowed"
            )


def _causes(outcomes: list[Outcome]) -> str:
    """Say of how many mutants that have words the cause was named, and how often a wrong one."""
    words = {mutation.name: mutation.words for mutation in MUTATIONS}
    caught = [o for o in outcomes if o.mutation and o.first_failure]
    named = [o for o in caught if words[o.mutation]]
    right = sum(o.cause == f"matches if {words[o.mutation]}" for o in named)
    wrong = sum(o.cause.startswith("matches") for o in caught) - right
    return f"causes: {right} of {len(named)} named right, {wrong} of {len(caught)} wrong"


def _place(outcome: Outcome) -> str:
    rung = outcome.first_failure.rung if outcome.first_failure else "MISSED"
    return rung if outcome.is_right else f"[red]{rung}[/red], expected {outcome.expected}"


def markdown(outcomes: list[Outcome]) -> str:
    """Return how many mutants the ladder and each rival caught, as a table in Markdown."""
    rows = [_HEADINGS, ["---"] * len(_HEADINGS), *_scores(outcomes)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


_NAMED = 4  # of the mutants that a comparator missed
_HEADINGS = ["comparator", "mutants caught", "false alarms", "missed"]


def _scores(outcomes: list[Outcome]) -> Iterator[list[str]]:
    """Yield what each comparator caught, of how many, and which mutants it missed."""
    yield _score("the ladder", outcomes, [o for o in outcomes if o.first_failure is None])
    for rival in RIVALS:
        yield _score(rival, outcomes, [o for o in outcomes if rival in o.passed_by])


def _score(name: str, outcomes: list[Outcome], passed: list[Outcome]) -> list[str]:
    mutants = sum(bool(outcome.mutation) for outcome in outcomes)
    missed = [outcome.mutation for outcome in passed if outcome.mutation]
    right = len(outcomes) - mutants
    alarms = right - (len(passed) - len(missed))
    names = ", ".join(dict.fromkeys(missed))
    return [name, f"{mutants - len(missed)} of {mutants}", f"{alarms} of {right}", names or "none"]
