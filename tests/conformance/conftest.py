"""Conformance: does a backend compute what the spec says? `pytest tests/conformance --backend X`.

X is a name of ours, the path of an adapter, or a module. Every test compares it with the NumPy
reference in float64; the reference itself is proved in `test_reference.py`. `--device cuda` is
where the adapter computes; the reference does on the CPU.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from bakeoff import backends
from bakeoff.backends.contract import Adapter, Unsupported
from bakeoff.models.init import initial_weights
from conformance import driving
from conformance.cases import OPTIMIZERS

_LONG = {"test_no_false_alarm.py", "test_random_models.py"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--backend", default="numpy", help="the adapter under test")
    parser.addoption("--device", default="cpu", help="where it computes: cpu, cuda or cuda:N")


def pytest_configure(config: pytest.Config) -> None:
    driving.device = config.getoption("--device")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Refuse a device that the adapter does not have: once, in its own words, before any test."""
    if driving.device == "cpu":
        return
    adapter, model = backends.load(session.config.getoption("--backend")), OPTIMIZERS[0].model
    how, weights = driving.execution(adapter, "float32"), initial_weights(model, 0, "float32")
    try:
        adapter.build(model, weights, how, seed=0, state=None)
    except Unsupported as refusal:
        if driving.device in str(refusal):  # or it is the model: a test will say that
            pytest.exit(str(refusal), pytest.ExitCode.USAGE_ERROR)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """The reference is proved once, in the run for NumPy; findings are of our own backends."""
    backend = config.getoption("--backend")
    needed = {
        "test_reference.py": backend == "numpy",
        "test_findings.py": backend in backends.NAMES,
    }
    return None if needed.get(collection_path.name, True) else True


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes `mode` runs in every mode that the adapter has."""
    if "mode" in metafunc.fixturenames:
        adapter = backends.load(metafunc.config.getoption("--backend"))
        metafunc.parametrize("mode", adapter.MODES)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Note in a JUnit report which case a test is of: `bakeoff conform` makes its table of it.

    What takes minutes comes first, or one of two processes waits for the other at the end.
    """
    items.sort(key=lambda item: item.path.name not in _LONG)
    for item in items:
        callspec = getattr(item, "callspec", None)
        if callspec and "case" in callspec.params:
            item.user_properties.append(("case", callspec.params["case"].id))


@pytest.fixture(scope="session")
def adapter(request: pytest.FixtureRequest) -> Adapter:
    return backends.load(request.config.getoption("--backend"))


@pytest.fixture(params=["float64", "float32"])
def dtype(request: pytest.FixtureRequest) -> str:
    return str(request.param)
