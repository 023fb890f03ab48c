"""bakeoff in Python, for notebooks and scripts: the commands as functions, models as objects.

    import bakeoff

    run = bakeoff.run("mnist-mlp", backends=["numpy", "torch"], seeds=3)
    run                                       # in a notebook: table and picture
    run.to_frame(), run.curves(), run.comparisons()
    bakeoff.load("bakeoff-runs/20261127-120000")

`run`, `train`, `bench`, `parity`, `compare` take the options of the commands of those names and
check them alike: InputError, with the command's own line, for what is wrong. `Model`, `Workload`
and `layers`, `losses`, `optimizers`, `schedules`, `initializers` are what a TOML file is read as,
and `to_toml()` writes it. Nothing is imported before it is asked for, a framework never.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from . import bench as _bench  # which imports nothing

if TYPE_CHECKING:
    from .bench.workload import Workload
    from .bench.workload import read as read_workload
    from .calls import bench, compare, load, parity, run, train
    from .models import InputError, Model, initializers, layers, losses, optimizers, schedules
    from .models import read as read_model
    from .outcome import Certificates, Report, Run

    __version__: str

__all__ = [
    "Certificates",
    "InputError",
    "Model",
    "Report",
    "Run",
    "Workload",
    "__version__",
    "bench",
    "compare",
    "initializers",
    "layers",
    "load",
    "losses",
    "optimizers",
    "parity",
    "read_model",
    "read_workload",
    "run",
    "schedules",
    "train",
]

_LATE = {
    "Certificates": "outcome.Certificates",
    "InputError": "models.InputError",
    "Model": "models.Model",
    "Report": "outcome.Report",
    "Run": "outcome.Run",
    "Workload": "bench.workload.Workload",
    "compare": "calls.compare",
    "initializers": "models.initializers",
    "layers": "models.layers",
    "load": "calls.load",
    "losses": "models.losses",
    "optimizers": "models.optimizers",
    "parity": "calls.parity",
    "read_model": "models.read",
    "read_workload": "bench.workload.read",
    "run": "calls.run",
    "schedules": "models.schedules",
    "train": "calls.train",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("importlib.metadata").version(__name__)
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _LATE[name].rpartition(".")
    return getattr(import_module(f".{module}", __name__), attribute)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Bench(ModuleType):
    """The subpackage and the function have one name: the package is called."""

    def __call__(self, *names: Any, **options: Any) -> Any:
        return import_module(".calls", __name__).bench(*names, **options)


_bench.__class__ = _Bench
