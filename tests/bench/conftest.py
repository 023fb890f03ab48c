"""The steps of a backend under pytest-benchmark: `tox -e torch -- tests/bench`.

It saves its JSON under the backend's name, so `pytest-benchmark compare` puts backends side by
side. What is called is what `bakeoff bench` calls; the clock here is pytest-benchmark's own.
"""

from __future__ import annotations

import pytest

from bakeoff import backends
from bakeoff.backends.contract import Adapter


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--backend", default="numpy", help="the adapter under test")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    if config.option.benchmark_save is None:
        config.option.benchmark_save = config.getoption("--backend")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes `mode` runs in every mode that the adapter has."""
    if "mode" in metafunc.fixturenames:
        adapter = backends.load(metafunc.config.getoption("--backend"))
        metafunc.parametrize("mode", adapter.MODES)


@pytest.fixture(scope="session")
def adapter(request: pytest.FixtureRequest) -> Adapter:
    return backends.load(request.config.getoption("--backend"))
