"""The steps of a backend under pytest-benchmark: `tox -e torch -- tests/bench`.

It saves its JSON under the backend's name, and the device's (`--device cuda`), so `pytest-benchmark
compare` puts them side by side. What is called is what `bakeoff bench` calls; the clock here is
pytest-benchmark's own.
"""

from __future__ import annotations

import pytest

from bakeoff import backends
from bakeoff.backends.contract import Adapter


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--backend", default="numpy", help="the adapter under test")
    parser.addoption("--device", default="cpu", help="where it computes: cpu, cuda or cuda:N")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    if config.option.benchmark_save is None:
        backend, device = config.getoption("--backend"), config.getoption("--device")
        config.option.benchmark_save = backend if device == "cpu" else f"{backend}-{device}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes `mode` runs in every mode that the adapter has."""
    if "mode" in metafunc.fixturenames:
        adapter = backends.load(metafunc.config.getoption("--backend"))
        metafunc.parametrize("mode", adapter.MODES)


@pytest.fixture(scope="session")
def adapter(request: pytest.FixtureRequest) -> Adapter:
    return backends.load(request.config.getoption("--backend"))


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> str:
    return str(request.config.getoption("--device"))
