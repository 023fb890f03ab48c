"""The commands as functions: the same options, the same checks, progress where one looks.

A function returns when all is done, and raises InputError for what is wrong. On KeyboardInterrupt
what is finished is kept, and `run(resume=FOLDER)` goes on with it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from .backends.contract import AskedMode, DType, Mode
from .bench.checks import DEFAULT_SUITE, check_unique, check_values, default_output
from .bench.commands import bench as bench_command
from .bench.commands import parity as parity_command
from .bench.commands import run as run_command
from .bench.commands import train as train_command
from .bench.commands.report import summary_of
from .bench.interrupts import EXIT_CODE
from .bench.printing import Screen
from .bench.results.changes import changes
from .bench.timing.plan import NATIVE_SUITE, BenchRequest, rivals_asked, seconds_of
from .bench.training.plan import RunRequest
from .bench.worker.records import Phase
from .bench.workload import Named, Workload
from .models import InputError, Model
from .outcome import Certificates, Run, frame_of_changes

if TYPE_CHECKING:
    from pandas import DataFrame

Place = str | Path
Several = str | Sequence[str]
_PLURALS = ("backends", "modes", "devices", "pythons", "phases", "batch_sizes")


def run(
    workloads: str | Workload | Sequence[str | Workload] = DEFAULT_SUITE,
    *,
    backends: Several | None = None,
    seeds: int = 3,
    epochs: int | None = None,
    batch_size: int | None = None,
    dataset: str | None = None,
    data_dir: Place | None = None,
    device: str = "cpu",
    dtype: DType = "float32",
    modes: AskedMode | Sequence[AskedMode] = "typical",
    threads: int = 1,
    timeout: float = 3600,
    output: Place | None = None,
    pythons: Mapping[str, Place] | None = None,
    install: bool = False,
    resume: Place | None = None,
    parity: bool = True,
    progress: bool = True,
) -> Run:
    """Train workloads with every backend from the same weights and batches, and compare them.

    The options are those of `bakeoff run`. `workloads` are names, paths of TOML files, or built in
    Python. `pythons` are interpreters by backend. `resume` goes on with a run, and takes nothing
    else. `progress=False` says nothing.

    >>> import bakeoff
    >>> run = bakeoff.run(
    ...     "line-linear", backends="numpy", epochs=5, output="lines", progress=False
    ... )
    >>> run.to_frame()[["backend", "status", "parity", "comparable"]]
      backend status parity  comparable
    0   numpy     ok   pass        True
    >>> len(run.curves())
    5
    """
    given = dict(locals())
    console = _console(progress)
    if resume is not None:
        options = _interpreters(pythons), _options(run, given)
        run_command.resume(_path(resume), *options, console, shown="nothing")
        return load(resume)
    request = RunRequest(
        workloads=_several("workload", workloads),
        backends=_several("backend", backends),
        pythons=_interpreters(pythons),
        seeds=_seeds(seeds),
        epochs=epochs,
        batch_size=batch_size,
        dataset=dataset,
        data_dir=_path_or_none(data_dir),
        device=device,
        dtype=dtype,
        modes=_several("mode", modes),
        threads=threads,
        timeout=timeout,
        output=_path_or_none(output) or default_output(),
        parity=parity,
        audited=parity,
        command=_typed(run, given),
    )
    run_command.start(request, console, make_missing=install, shown="nothing")
    return load(request.output.resolve())


def train(
    workload: str | Workload | None = None,
    *,
    backend: str,
    checkpoint: Place | None = None,
    resume: Place | None = None,
    epochs: int | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    dataset: str | None = None,
    data_dir: Place | None = None,
    device: str = "cpu",
    dtype: DType = "float32",
    mode: AskedMode = "typical",
    threads: int = 1,
    timeout: float = 3600,
    output: Place | None = None,
    python: Place | None = None,
    progress: bool = True,
) -> Run:
    """Train a workload with one backend; put the training aside in the file `checkpoint`, or go on
    with that of the file `resume`, whichever backend wrote it.

    The options are those of `bakeoff train`; `python` is the interpreter of the backend.
    """
    given = dict(locals())
    request = RunRequest(
        workloads=() if workload is None else (workload,),
        backends=(backend,),
        pythons=_interpreters({backend: python} if python is not None else None),
        seeds=(seed,),
        epochs=epochs,
        batch_size=batch_size,
        dataset=dataset,
        data_dir=_path_or_none(data_dir),
        device=device,
        dtype=dtype,
        modes=(mode,),
        threads=threads,
        timeout=timeout,
        output=_path_or_none(output) or default_output(),
        parity=False,
        checkpoint=_path_or_none(checkpoint),
        command=_typed(train, given),
    )
    check_values(request)
    start, options = _path_or_none(resume), _options(train, given)
    train_command.train(request, start, options, _console(progress), shown="nothing")
    return load(request.output.resolve())


def bench(
    names: Named | Sequence[Named] | None = None,
    *,
    backends: Several | None = None,
    modes: AskedMode | Sequence[AskedMode] = "typical",
    devices: Several = "cpu",
    dtype: DType = "float32",
    batch_sizes: int | Sequence[int] | None = None,
    threads: int | Sequence[int] = 1,
    phases: Phase | Sequence[Phase] = "train",
    budget: str = "10min",
    against_native: bool = False,
    peers: bool = False,
    timeout: float = 300,
    data_dir: Place | None = None,
    output: Place | None = None,
    pythons: Mapping[str, Place] | None = None,
    resume: Place | None = None,
    parity: bool = True,
    progress: bool = True,
) -> Run:
    """Measure throughput, latency and memory: fresh processes, interleaved, steady state.

    The options are those of `bakeoff bench`. `names` are workloads and models: names, paths of TOML
    files, or built in Python. `resume` goes on with a benchmark, and takes nothing else.
    """
    given = dict(locals())
    console = _console(progress)
    if resume is not None:
        options = _interpreters(pythons), _options(bench, given)
        code = bench_command.resume(_path(resume), *options, console, shown="nothing")
        return _measured(code, _path(resume))
    asked = _several("phase", phases)
    rivals = rivals_asked(against_native, peers, asked)
    request = BenchRequest(
        names=_several("workload", names) or (NATIVE_SUITE if rivals else DEFAULT_SUITE),
        backends=_several("backend", backends),
        pythons=_interpreters(pythons),
        modes=_several("mode", modes),
        devices=_several("device", devices),
        dtype=dtype,
        batch_sizes=_several("batch size", batch_sizes),
        threads=_several("number of threads", threads),
        phases=asked,
        budget=seconds_of(str(budget)),
        timeout=timeout,
        data_dir=_path_or_none(data_dir),
        output=_path_or_none(output) or default_output(),
        parity=parity,
        rivals=rivals,
        command=_typed(bench, given),
    )
    code = bench_command.run(request, console, shown="nothing")
    return _measured(code, request.output.resolve())


def _measured(code: int, folder: Path) -> Run:
    if code == EXIT_CODE:
        raise KeyboardInterrupt
    return load(folder)


def parity(
    names: Named | Sequence[Named] = DEFAULT_SUITE,
    *,
    backends: Several | None = None,
    dtypes: DType | Sequence[DType] = ("float64", "float32"),
    modes: Mode | Sequence[Mode] = ("eager", "compiled"),
    steps: int = 20,
    device: str = "cpu",
    threads: int = 1,
    timeout: float = 300,
    data_dir: Place | None = None,
    pythons: Mapping[str, Place] | None = None,
    use_cache: bool = True,
    progress: bool = True,
) -> Certificates:
    """Prove, or disprove, that each backend computes what NumPy computes in float64.

    The options are those of `bakeoff parity`.

    >>> import bakeoff
    >>> certificates = bakeoff.parity("linear", backends="numpy", modes="eager", progress=False)
    >>> certificates.all_pass
    True
    >>> certificates.to_frame()[["model", "backend", "dtype", "verdict"]]
        model backend    dtype verdict
    0  linear   numpy  float64    pass
    1  linear   numpy  float32    pass
    """
    request = parity_command.ParityRequest(
        names=_several("workload or model", names),
        backends=_several("backend", backends),
        pythons=_interpreters(pythons),
        dtypes=_several("dtype", dtypes),
        modes=_several("mode", modes),
        device=device,
        threads=threads,
        steps=steps,
        timeout=timeout,
        data_dir=_path_or_none(data_dir),
        use_cache=use_cache,
        output=None,
    )
    return Certificates(parity_command.certify_all(request, _console(progress)))


def load(folder: Place) -> Run:
    """Return the run or the benchmark in a folder, finished or not."""
    place = _path(folder)
    return Run(place, summary_of(place))


def compare(old: Run | Place, new: Run | Place) -> DataFrame:
    """Return what changed from one run or benchmark to another: a row per row and aspect, such as
    its metric or its speed. `change` is b - a of a metric and b / a of all else.
    """
    before, after = (
        run.summary if isinstance(run, Run) else load(run).summary for run in (old, new)
    )
    return frame_of_changes(changes(before, after))


def _console(progress: bool) -> Console:
    """Return where progress is shown: a script's stderr, a notebook's cell, line by line."""
    console = Screen(stderr=True)
    if console.is_jupyter:  # where stderr is red, and Rich's live display wants a library more
        console = Screen(plain=True)
    console.quiet = not progress
    return console


def _several(what: str, values: Any) -> Any:
    """Return a tuple of one or of several, of which each is there once; None stays None."""
    if values is None:
        return None
    is_one = isinstance(values, str | Mapping) or not isinstance(values, Iterable)
    several = (values,) if is_one else tuple(values)
    check_unique([value for value in several if isinstance(value, str)], what)
    return several


def _seeds(count: Any) -> tuple[int, ...]:
    if type(count) is not int or count < 1:
        raise InputError(f"seeds {count!r}: expected how many, 1 or more")
    return tuple(range(count))


def _path(value: Place) -> Path:
    try:
        path = Path(value).expanduser()
    except (TypeError, RuntimeError) as error:  # no path, or of nobody's home
        raise InputError(f"{value!r}: expected a path ({error})") from None
    if "\0" in str(path):
        raise InputError(f"{value!r}: expected a path, which holds no NUL")
    return path


def _path_or_none(value: Place | None) -> Path | None:
    return None if value is None else _path(value)


def _interpreters(pythons: Mapping[str, Place] | None) -> dict[str, Path]:
    if not isinstance(pythons or {}, Mapping):
        raise InputError(f"pythons {pythons!r}: expected paths by backend")
    return {name: _path(python).absolute() for name, python in (pythons or {}).items()}


def _changed(function: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a function was given that is not its default."""
    parameters = inspect.signature(function).parameters
    return {
        name: value
        for name, value in given.items()
        if name != "progress" and repr(value) != repr(parameters[name].default)
    }


def _options(function: Callable[..., Any], given: Mapping[str, Any]) -> list[str]:
    """Return it as the names of the command's options, which are not in the plural."""
    names = [
        name.removesuffix("s") if name in _PLURALS else name for name in _changed(function, given)
    ]
    return [f"--{name.replace('_', '-')}" for name in names]


def _typed(function: Callable[..., Any], given: Mapping[str, Any]) -> str:
    """Return the call as one would type it: what a run says of how it was asked for."""
    words = [f"{name}={_word(value)}" for name, value in _changed(function, given).items()]
    return f"bakeoff.{function.__name__}({', '.join(words)})"


def _word(value: Any) -> str:
    if isinstance(value, Workload | Model):
        return f"<{type(value).__name__} {value.name}>"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_word, value))}]"
    return repr(str(value) if isinstance(value, Path) else value)
