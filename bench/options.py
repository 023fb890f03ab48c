"""The options of the command line, by what they are; and what their texts mean.

A text that means nothing raises typer.TyperException, which the command line says in one line.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from typer import Argument, Option


def _python(help_text: str) -> Any:
    return Option("--python", metavar="NAME=PATH", help=help_text)


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"bakeoff {version('bakeoff')}")
        raise typer.Exit


def _seconds(help_text: str) -> Any:
    return Option(metavar="SECONDS", parser=_finite_seconds, help=help_text)


def _finite_seconds(text: str | float) -> float:
    """Return a time; what is no number of it is a bad parameter."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not _SHORTEST <= value <= _LONGEST:
        raise typer.BadParameter(f'"{text}": expected seconds, {_SHORTEST} or more')
    return value


_SHORTEST, _LONGEST = 0.1, 1e9  # seconds that may be asked for
_MOST = 2**53  # the greatest integer that JSON holds for every reader
_INSTEAD = "Instead of the workload's."
_NAMES_OR_FILES = "Names, or paths of TOML files."
_TYPICAL = "each backend as its users train in it."
_NEW_FOLDER = "A new folder; bakeoff-runs/<time> by default."

# What is done
Workloads = Annotated[
    list[str] | None,
    Argument(metavar="[WORKLOAD ...]", help="Names, or paths of your own TOML files."),
]
Workload = Annotated[
    str | None, Argument(metavar="[WORKLOAD]", help="A name, or a path of your own TOML.")
]
WorkloadsOrModels = Annotated[
    list[str] | None, Argument(metavar="[WORKLOAD|MODEL ...]", help=_NAMES_OR_FILES)
]
Environments = Annotated[
    list[str] | None,
    Argument(
        metavar="[BACKEND ...]",
        help="Six by default; or `keras-jax`, `keras-torch`, `peers`; or versions: `torch@2.11.0`.",
    ),
]
Installed = Annotated[
    list[str] | None, Argument(metavar="[BACKEND ...]", help="Whose environments; or `peers`.")
]
Shown = Annotated[str, Argument(metavar="MODEL|WORKLOAD|DATASET|CSV")]
Word = Annotated[
    str, Argument(help="A layer, loss, optimizer, schedule, initializer, field, metric, dataset.")
]
Listed = Annotated[
    str | None, Argument(metavar="[WHAT]", help="workloads, models, datasets or backends.")
]
Adapter = Annotated[str, Argument(help="A backend, the path of an adapter (.py), or a module.")]
Run = Annotated[Path, Argument(metavar="RUN", help="A folder made by bakeoff run.")]
RunA = Annotated[Path, Argument(metavar="RUN_A", help="A folder made by bakeoff run.")]
RunB = Annotated[Path, Argument(metavar="RUN_B", help="Another one.")]

# By whom
Backends = Annotated[
    str | None,
    Option(
        help="Backends, separated by commas; by default all that are found, but for keras-jax and "
        "keras-torch. torch@2.11.0 is one in that version."
    ),
]
Backend = Annotated[str, Option(help="The one backend that trains.")]
Pythons = Annotated[list[str] | None, _python("The interpreter of a backend; may be repeated.")]
BackendsPython = Annotated[list[str] | None, _python("The interpreter of the backend.")]
AdaptersPython = Annotated[list[str] | None, _python("The interpreter of the adapter.")]
AliasedPythons = Annotated[
    list[str] | None,
    _python("The interpreter of a backend; torch-a=PATH and torch-b=PATH compare two."),
]
Install = Annotated[bool, Option("--install", help="Make missing environments.")]
ListEnvironments = Annotated[
    bool, Option("--list", help="Make none: list those there are, and what the others take.")
]
AllEnvironments = Annotated[bool, Option("--all", help="All that there are.")]

# On what, and how it is trained
Dataset = Annotated[str | None, Option(help=_INSTEAD)]
DataDir = Annotated[Path | None, Option(help="Where your MNIST files are; or set BAKEOFF_DATA.")]
Epochs = Annotated[int | None, Option(min=1, max=_MOST, help=_INSTEAD)]
EpochsInAll = Annotated[
    int | None, Option(min=1, max=_MOST, help="In all; instead of the workload's.")
]
BatchSize = Annotated[int | None, Option(min=1, max=_MOST, help=_INSTEAD)]
BatchSizes = Annotated[
    str | None, Option(metavar="1,8,64", help="Instead of the workload's; a model's: 64.")
]
Seeds = Annotated[int, Option(min=1, max=1000, help="How many seeds: 0, 1, ...")]
Seed = Annotated[int, Option(min=0, max=_MOST, help="Of weights and batch order.")]
Checkpoint = Annotated[Path | None, Option(help="A new file: the training after each epoch.")]
ResumedRun = Annotated[
    Path | None, Option(metavar="RUN", help="Go on with a run: only what is missing.")
]
ResumedBenchmark = Annotated[
    Path | None, Option(metavar="FOLDER", help="Go on with a benchmark: what was timed is kept.")
]
ResumedTraining = Annotated[
    Path | None, Option(metavar="CHECKPOINT", help="Go on with another training's.")
]

# The execution
Device = Annotated[str, Option(help="cpu, cuda or cuda:N.")]
BuildDevice = Annotated[str, Option(help="cuda: builds for GPUs, wherever this is.")]
Devices = Annotated[str, Option(help="cpu, cuda, cuda:N, or several: cpu,cuda.")]
DType = Annotated[str, Option(help="float32 or float64.")]
DTypes = Annotated[str, Option(help="float64, float32, or both.")]
Mode = Annotated[str, Option(help=f"eager, compiled, or typical: {_TYPICAL}")]
Modes = Annotated[
    str,
    Option(
        help=f"typical: {_TYPICAL} best: each backend's faster one. Or eager, compiled, "
        "eager,compiled: each mode by itself."
    ),
]
EitherMode = Annotated[str, Option(help="eager, compiled, both: eager,compiled, or typical.")]
WorkersThreads = Annotated[int, Option(min=1, help="Threads of the worker.")]
Threads = Annotated[int, Option(min=1, help="Threads of each worker.")]
SeveralThreads = Annotated[str, Option(metavar="1,2", help="Threads of each worker.")]
JobTimeout = Annotated[float, _seconds("Seconds that a job may take.")]
TrainingTimeout = Annotated[float, _seconds("Seconds it may take.")]
SilenceTimeout = Annotated[float, _seconds("Seconds of silence.")]
TurnTimeout = Annotated[
    float, _seconds("Seconds to get ready, for a turn, or to end, of each process.")
]

# What is judged and timed
NoParity = Annotated[
    bool, Option("--no-parity", help="No certificates: speeds are not comparable.")
]
Steps = Annotated[int, Option(min=3, max=_MOST, help="Updates that are judged.")]
NoCache = Annotated[bool, Option("--no-cache", help="Judge everything anew.")]
SelfTest = Annotated[bool, Option("--self-test", help="Test the comparison itself, with mutants.")]
Phases = Annotated[str, Option(help="train, infer, or both: train,infer.")]
Budget = Annotated[str, Option(metavar="10min", help="Time to spend where intervals are widest.")]
AgainstNative = Annotated[
    bool, Option("--against-native", help="Each adapter against the same net by hand.")
]
Peers = Annotated[bool, Option("--peers", help="NumPy against other libraries of pure Python.")]
FailAbove = Annotated[
    str | None,
    Option(
        metavar="5%",
        help="Exit with 1 too if a row is slower by more than this, and not by chance, or its "
        "speed is not judged.",
    ),
]

# Where it goes
RunFolder = Annotated[
    Path | None, Option(help="The run's new folder; bakeoff-runs/<time> by default.")
]
BenchmarkFolder = Annotated[Path | None, Option(help=_NEW_FOLDER)]
ParityFolder = Annotated[
    Path | None, Option(help="A new folder for certificates.json and parity.png.")
]
Json = Annotated[bool, Option("--json", help="Print summary.json instead.")]
CertificatesJson = Annotated[bool, Option("--json", help="Print the certificates.")]
ListJson = Annotated[bool, Option("--json", help="Print it as JSON.")]
RowsJson = Annotated[bool, Option("--json", help="Print differences, rows and failures as JSON.")]
Matrix = Annotated[bool, Option("--matrix", help="Print what each backend supports, as Markdown.")]
Version = Annotated[
    bool,
    Option("--version", is_eager=True, callback=_print_version, help="Print the version."),
]
OpenPage = Annotated[bool, Option("--open", help="Open the page in a browser.")]


EXAMPLES = {
    "run": "Examples: `bakeoff run` · "
    "`bakeoff run mnist-mlp --backend numpy,torch --seeds 5` · "
    "`bakeoff run mnist-mlp --backend jax@0.9.2,jax@0.10.2` · "
    "`bakeoff run my-workload.toml` · "
    "`bakeoff run mnist-lenet5 --dataset mnist --data-dir ~/mnist` · "
    "`bakeoff run --resume bakeoff-runs/20260101-120000`",
    "train": "Examples: "
    "`bakeoff train mnist-mlp --backend torch --epochs 3 --checkpoint c.safetensors` · "
    "`bakeoff train --resume c.safetensors --backend mxnet`",
    "install": "Examples: `bakeoff install` · `bakeoff install torch peers` · "
    "`bakeoff install jax@0.9.2 keras@3.11.3 keras@tensorflow-2.20.0` · `bakeoff install --list`",
    "uninstall": "Examples: `bakeoff uninstall torch` · `bakeoff uninstall --all`",
    "list": "Examples: `bakeoff list` · `bakeoff list models --json` · `bakeoff list --matrix`",
    "show": "Examples: `bakeoff show lenet5` · `bakeoff show my.toml` · `bakeoff show houses.csv`",
    "explain": "Examples: `bakeoff explain adam` · `bakeoff explain nn.Linear` · "
    "`bakeoff explain accuracy`",
    "parity": "Examples: `bakeoff parity` · "
    "`bakeoff parity lenet5 --backend torch,keras --dtype float32` · "
    "`bakeoff parity lenet5 --python torch-a=OLD --python torch-b=NEW`",
    "conform": "Examples: `bakeoff conform my_adapter.py` · "
    "`bakeoff conform torch --device cuda` · "
    "`bakeoff conform package.module --python module=/opt/venv/bin/python`",
    "bench": "Examples: `bakeoff bench` · "
    "`bakeoff bench mnist-mlp lenet5 --batch-size 1,8,64,256 --phase train,infer` · "
    "`bakeoff bench --against-native --threads 1,2` · "
    "`bakeoff bench --resume bakeoff-runs/20260101-120000`",
    "report": "Example: `bakeoff report bakeoff-runs/20260101-120000 --open`",
    "compare": "Example: `bakeoff compare runs/before runs/after --fail-above 5%`",
    "doctor": "Example: `bakeoff doctor`",
}


def split(option: str, value: str) -> tuple[str, ...]:
    """Return the parts of a list with commas, each of which is there once."""
    from .checks import check_unique

    parts = tuple(part.strip() for part in value.split(","))
    if not all(parts):
        raise typer.TyperException(
            f'"{value}": expected names separated by commas, such as numpy,torch'
        )
    check_unique(list(parts), option)
    return parts


def backends(value: str | None) -> tuple[str, ...] | None:
    """Return the backends asked for by name, or None."""
    return None if value is None else split("--backend", value)


def modes(value: str) -> tuple[Any, ...]:
    """Return the modes asked for."""
    from ..backends.contract import AskedMode

    return _choices("--mode", value, AskedMode)


def mode(value: str) -> Any:
    """Return the one mode asked for."""
    return _single("--mode", modes(value), value)


def dtypes(value: str) -> tuple[Any, ...]:
    """Return the dtypes asked for."""
    from ..backends.contract import DType

    return _choices("--dtype", value, DType)


def dtype(value: str) -> Any:
    """Return the one dtype asked for."""
    return _single("--dtype", dtypes(value), value)


def phases(value: str) -> tuple[Any, ...]:
    """Return the phases asked for."""
    from .worker.records import Phase

    return _choices("--phase", value, Phase)


def _choices(option: str, value: str, literal: Any) -> tuple[Any, ...]:
    legal, chosen = get_args(literal), split(option, value)
    for choice in chosen:
        if choice not in legal:
            raise typer.TyperException(f'{option} "{choice}": expected one of {", ".join(legal)}')
    return chosen


def _single(option: str, chosen: tuple[Any, ...], value: str) -> Any:
    if len(chosen) > 1:
        listed = ", ".join(chosen)
        raise typer.TyperException(f'{option} "{value}": expected one of {listed}, not several')
    return chosen[0]


def numbers(option: str, value: str) -> tuple[int, ...]:
    """Return the numbers of a list with commas, each 1 or more."""
    parts = split(option, value)
    if wrong := [p for p in parts if not re.fullmatch("0*[1-9][0-9]{0,14}", p)]:
        raise typer.TyperException(
            f'{option} "{wrong[0]}": expected numbers of 1 or more, such as 1,8,64'
        )
    return tuple(map(int, parts))


def interpreters(values: list[str] | None) -> dict[str, Path]:
    """Return the path of each `NAME=PATH`, by name."""
    paths = {}
    for value in values or []:
        name, equals, path = value.partition("=")
        if not (name and equals and path):
            raise typer.TyperException(
                f'--python "{value}": expected NAME=PATH, such as torch=/opt/venv/bin/python'
            )
        paths[name] = _expanded(path).absolute()
    return paths


def _expanded(path: str) -> Path:
    """Return the path with `~` as the user's folder; as it is, if there is no such user."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def given(context: typer.Context) -> list[str]:
    """Return what stood on the command line: an argument's values, an option's name."""
    words: list[str] = []
    for parameter in context.command.params:
        source = context.get_parameter_source(str(parameter.name))
        if source is None or source.name != "COMMANDLINE":
            continue
        value = context.params[str(parameter.name)]
        if parameter.param_type_name == "option":
            words.append(max(parameter.opts, key=len))
        else:
            words += value if isinstance(value, list) else [value]
    return words
