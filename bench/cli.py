"""The command line: parse, dispatch, and turn every error of the user's into one line.

Exit codes: 0 all well; 1 the comparison finished but a job or a certificate failed; 2 the input is
wrong, nothing was written; 130 interrupted.
"""

from __future__ import annotations

import shlex
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from ..models import InputError
from .install import InstallError

app = typer.Typer(
    name="bakeoff",
    help="One neutral model, trained by every framework from the same bytes, then compared.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run the command line and exit."""
    signal.signal(signal.SIGTERM, _interrupt)
    console = Console(stderr=True)
    try:
        code = app(standalone_mode=False)
    except (InputError, InstallError, typer.TyperException) as error:
        format_message = getattr(error, "format_message", error.__str__)
        message = " ".join(format_message().split())
        console.print(f"bakeoff: {message}", markup=False, highlight=False, soft_wrap=True)
        code = 1 if isinstance(error, InstallError) else 2
    except (KeyboardInterrupt, typer.Abort):
        console.print("bakeoff: interrupted")
        code = 130
    sys.exit(code or 0)


def _interrupt(signum: int, frame: Any) -> None:
    raise KeyboardInterrupt


def _split(option: str, value: str | None) -> tuple[str, ...] | None:
    from .plan import check_unique

    if value is None:
        return None
    parts = tuple(part.strip() for part in value.split(","))
    if not all(parts):
        raise InputError(f'"{value}": expected names separated by commas, such as numpy,torch')
    check_unique(list(parts), option)
    return parts


def _choices(option: str, value: str, legal: tuple[str, ...]) -> tuple[Any, ...]:
    chosen = _split(option, value) or ()
    for choice in chosen:
        if choice not in legal:
            raise InputError(f'{option} "{choice}": expected one of {", ".join(legal)}')
    return chosen


def _choice(option: str, value: str, legal: tuple[str, ...]) -> Any:
    chosen = _choices(option, value, legal)
    if len(chosen) > 1:
        raise InputError(f'{option} "{value}": expected one of {", ".join(legal)}, not several')
    return chosen[0]


def _numbers(option: str, value: str) -> tuple[int, ...]:
    numbers = _split(option, value) or ()
    if wrong := [n for n in numbers if not n.isdecimal() or int(n) < 1]:
        raise InputError(f'{option} "{wrong[0]}": expected numbers of 1 or more, such as 1,8,64')
    return tuple(int(number) for number in numbers)


def _pythons(values: list[str]) -> dict[str, Path]:
    pythons = {}
    for value in values:
        name, equals, path = value.partition("=")
        if not (name and equals and path):
            raise InputError(
                f'--python "{value}": expected NAME=PATH, such as torch=/opt/venv/bin/python'
            )
        pythons[name] = Path(path).expanduser().absolute()
    return pythons


@app.command(
    epilog="Examples: `bakeoff run` · `bakeoff run mnist-mlp --backend numpy,torch --seeds 5` · "
    "`bakeoff run my-workload.toml` · `bakeoff run mnist-lenet5 --dataset mnist "
    "--data-dir ~/mnist` · `bakeoff run --resume bakeoff-runs/20260101-120000`"
)
def run(
    workloads: Annotated[
        list[str] | None,
        typer.Argument(metavar="[WORKLOAD ...]", help="Names, or paths of your own TOML files."),
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(help="Backends, separated by commas; all that are found by default."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds: 0, 1, ...")] = 3,
    epochs: Annotated[int | None, typer.Option(min=1, help="Instead of the workload's.")] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Instead of the workload's.")
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="Instead of the workload's.")] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Where your MNIST files are; or set BAKEOFF_DATA.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
    dtype: Annotated[str, typer.Option(help="float32 or float64.")] = "float32",
    mode: Annotated[str, typer.Option(help="eager, compiled, or both: eager,compiled.")] = "eager",
    threads: Annotated[int, typer.Option(min=1, help="Threads of each worker.")] = 1,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds that a job may take.")] = 3600,
    output: Annotated[
        Path | None, typer.Option(help="The run's new folder; bakeoff-runs/<time> by default.")
    ] = None,
    python: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=PATH", help="The interpreter of a backend; may be repeated."),
    ] = None,
    install: Annotated[bool, typer.Option("--install", help="Make missing environments.")] = False,
    resume: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Go on with a run: only what is missing.")
    ] = None,
    no_parity: Annotated[
        bool, typer.Option("--no-parity", help="No certificates: speeds are not comparable.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print summary.json instead.")] = False,
) -> int:
    """Train workloads with every backend from the same weights and batches, and compare them.

    Without a WORKLOAD: boston-linear, mnist-mlp and mnist-lenet5.
    """
    from . import compare
    from .plan import DEFAULT_SUITE, Request, default_output

    console = Console(stderr=as_json)
    if resume:
        _refuse_with_resume(workloads)
        return compare.resume(resume, console, as_json=as_json)
    request = Request(
        workloads=tuple(workloads or DEFAULT_SUITE),
        backends=_split("--backend", backend),
        pythons=_pythons(python or []),
        seeds=tuple(range(seeds)),
        epochs=epochs,
        batch_size=batch_size,
        dataset=dataset,
        data_dir=data_dir,
        device=device,
        dtype=_choice("--dtype", dtype, ("float32", "float64")),
        modes=_choices("--mode", mode, ("eager", "compiled")),
        threads=threads,
        timeout=timeout,
        output=output or default_output(),
        command=shlex.join(["bakeoff", *sys.argv[1:]]),
        parity=not no_parity,
    )
    return compare.start(request, console, install=install, as_json=as_json)


def _refuse_with_resume(workloads: list[str] | None) -> None:
    """A run goes on as it was asked: refuse what would change it."""
    allowed = {"--resume", "--json"}
    if surplus := [*(workloads or []), *(o for o in _options_given() if o not in allowed)]:
        raise InputError(
            f"--resume goes on with a run as it was asked; it cannot take {surplus[0]}, "
            "start a new run for that"
        )


def _options_given() -> list[str]:
    return [word.partition("=")[0] for word in sys.argv[1:] if word.startswith("--")]


@app.command(
    epilog="Examples: `bakeoff train mnist-mlp --backend torch --epochs 3 "
    "--checkpoint c.safetensors` · `bakeoff train --resume c.safetensors --backend mxnet`"
)
def train(
    backend: Annotated[str, typer.Option(help="The one backend that trains.")],
    workload: Annotated[
        str | None, typer.Argument(metavar="[WORKLOAD]", help="A name, or a path of your own TOML.")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="A new file: the training after each epoch.")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="CHECKPOINT", help="Go on with another training's.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="In all; instead of the workload's.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of weights and batch order.")] = 0,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Instead of the workload's.")
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="Instead of the workload's.")] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Where your MNIST files are; or set BAKEOFF_DATA.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
    dtype: Annotated[str, typer.Option(help="float32 or float64.")] = "float32",
    mode: Annotated[str, typer.Option(help="eager or compiled.")] = "eager",
    threads: Annotated[int, typer.Option(min=1, help="Threads of the worker.")] = 1,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds it may take.")] = 3600,
    output: Annotated[
        Path | None, typer.Option(help="The run's new folder; bakeoff-runs/<time> by default.")
    ] = None,
    python: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=PATH", help="The interpreter of the backend."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print summary.json instead.")] = False,
) -> int:
    """Train a workload with one backend; put the training aside, or go on with one.

    Any backend goes on with the checkpoint of any other: weights, optimizer state and step are in
    it, in canonical layout, and the batches follow from the seed.
    """
    from . import checkpoint as checkpoints
    from . import compare
    from .plan import Request, default_output

    if resume is None and workload is None:
        raise InputError("name a WORKLOAD to train, or a checkpoint to go on with: --resume FILE")
    start = None
    if resume:
        _refuse_changes()
        start = checkpoints.read(resume)
        seed, dtype = start.origin.seed, start.origin.dtype
        dataset = start.origin.workload.dataset
        batch_size = start.origin.workload.batch_size
    if checkpoint and checkpoint.exists() and checkpoint != resume:
        raise InputError(
            f"--checkpoint {checkpoint} exists already; choose another path, "
            f"or go on with it: --resume {checkpoint}"
        )
    request = Request(
        workloads=(workload,) if workload else (),
        backends=(_one_backend(backend),),
        pythons=_pythons(python or []),
        seeds=(seed,),
        epochs=epochs,
        batch_size=batch_size,
        dataset=dataset,
        data_dir=data_dir,
        device=device,
        dtype=_choice("--dtype", dtype, ("float32", "float64")),
        modes=(_choice("--mode", mode, ("eager", "compiled")),),
        threads=threads,
        timeout=timeout,
        output=output or default_output(),
        command=shlex.join(["bakeoff", *sys.argv[1:]]),
        parity=False,  # there is nothing to compare
        start=start,
        checkpoint=checkpoint,
    )
    return compare.start(request, Console(stderr=as_json), install=False, as_json=as_json)


def _one_backend(value: str) -> str:
    if "," in value:
        raise InputError(f'--backend "{value}": expected one backend; bakeoff run compares several')
    return value


def _refuse_changes() -> None:
    """A training goes on with its data, batches, seed and precision: refuse what changes them."""
    refused = ("--seed", "--dtype", "--dataset", "--batch-size")
    if given := [option for option in _options_given() if option in refused]:
        raise InputError(
            f"--resume goes on with what is in the checkpoint; it cannot take {given[0]}, "
            "start anew without --resume for that"
        )


@app.command(epilog="Examples: `bakeoff install` · `bakeoff install torch peers`")
def install(
    backends: Annotated[
        list[str] | None,
        typer.Argument(metavar="[BACKEND ...]", help="All by default; or `peers`."),
    ] = None,
) -> None:
    """Make a virtual environment for each backend in your data folder, with plain pip.

    `peers` is the environment of the libraries that NumPy's speed is compared with.

    An environment that is complete is left as it is; a broken one is made anew.
    """
    from . import compare

    compare.install_all(tuple(backends or ()), Console())


@app.command("list", epilog="Examples: `bakeoff list` · `bakeoff list --matrix`")
def list_all(
    matrix: Annotated[
        bool, typer.Option("--matrix", help="Print what each backend supports, as Markdown.")
    ] = False,
) -> None:
    """List workloads, models, datasets, and backends with version, interpreter, devices, modes."""
    from . import listing

    if matrix:
        sys.stdout.write(listing.support_matrix())
    else:
        listing.print_all(Console())


@app.command(
    epilog="Examples: `bakeoff show lenet5` · `bakeoff show mnist-mlp` · `bakeoff show my.toml`"
)
def show(name: Annotated[str, typer.Argument(metavar="MODEL|WORKLOAD|DATASET")]) -> None:
    """Show the layers, shapes, parameters and FLOPs of a model; or a dataset's card."""
    from . import listing

    listing.print_one(name, Console())


@app.command(epilog="Examples: `bakeoff explain adam` · `bakeoff explain batch_norm`")
def explain(
    word: Annotated[str, typer.Argument(help="A layer, loss, optimizer, schedule, initializer.")],
) -> None:
    """Print a construct's formula, shapes and source, and what each framework does instead."""
    from . import listing

    listing.explain(word, Console())


@app.command(
    epilog="Examples: `bakeoff parity` · `bakeoff parity lenet5 --backend torch,keras --dtype "
    "float32` · `bakeoff parity lenet5 --python torch-a=OLD --python torch-b=NEW`"
)
def parity(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[WORKLOAD|MODEL ...]", help="Names, or paths of TOML files."),
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(help="Backends, separated by commas; all that are found by default."),
    ] = None,
    dtype: Annotated[str, typer.Option(help="float64, float32, or both.")] = "float64,float32",
    mode: Annotated[str, typer.Option(help="eager, compiled, or both.")] = "eager,compiled",
    steps: Annotated[int, typer.Option(min=3, help="Updates that are judged.")] = 20,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
    threads: Annotated[int, typer.Option(min=1, help="Threads of each worker.")] = 1,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds of silence.")] = 300,
    data_dir: Annotated[
        Path | None, typer.Option(help="Where your MNIST files are; or set BAKEOFF_DATA.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="A new folder for certificates.json and parity.png.")
    ] = None,
    python: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=PATH",
            help="The interpreter of a backend; torch-a=PATH and torch-b=PATH compare two.",
        ),
    ] = None,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Judge everything anew.")] = False,
    self_test: Annotated[
        bool, typer.Option("--self-test", help="Test the comparison itself, with mutants.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the certificates.")] = False,
) -> int:
    """Prove, or disprove, that each backend computes what NumPy computes in float64.

    Without a name: the workloads of the default suite. Exit code 1 when a certificate fails.
    """
    if self_test:
        from .parity.mutants.selftest import print_self_test

        return print_self_test(Console())
    from .parity import command
    from .plan import DEFAULT_SUITE

    request = command.Request(
        names=tuple(names or DEFAULT_SUITE),
        backends=_split("--backend", backend),
        pythons=_pythons(python or []),
        dtypes=_choices("--dtype", dtype, ("float32", "float64")),
        modes=_choices("--mode", mode, ("eager", "compiled")),
        device=device,
        threads=threads,
        steps=steps,
        timeout=timeout,
        data_dir=data_dir,
        use_cache=not no_cache,
        output=output,
    )
    return command.run(request, Console(stderr=as_json), as_json=as_json)


@app.command(
    epilog="Examples: `bakeoff conform my_adapter.py` · "
    "`bakeoff conform package.module --python module=/opt/venv/bin/python`"
)
def conform(
    adapter: Annotated[
        str, typer.Argument(help="A backend, the path of an adapter (.py), or a module.")
    ],
    python: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=PATH", help="The interpreter of the adapter."),
    ] = None,
) -> int:
    """Test an adapter against the norm: every construct that it supports, and the contract."""
    from . import conform as conformance

    return conformance.conform(adapter, _pythons(python or []), Console())


@app.command(
    epilog="Examples: `bakeoff bench` · `bakeoff bench mnist-mlp lenet5 --batch-size 1,8,64,256 "
    "--phase train,infer` · `bakeoff bench --against-native --threads 1,2`"
)
def bench(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[WORKLOAD|MODEL ...]", help="Names, or paths of TOML files."),
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(help="Backends, separated by commas; all that are found by default."),
    ] = None,
    mode: Annotated[str, typer.Option(help="eager, compiled, or both: eager,compiled.")] = "eager",
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:N, or several: cpu,cuda.")] = "cpu",
    dtype: Annotated[str, typer.Option(help="float32 or float64.")] = "float32",
    batch_size: Annotated[
        str | None, typer.Option(metavar="1,8,64", help="Instead of the workload's; a model's: 64.")
    ] = None,
    threads: Annotated[str, typer.Option(metavar="1,2", help="Threads of each worker.")] = "1",
    phase: Annotated[str, typer.Option(help="train, infer, or both: train,infer.")] = "train",
    budget: Annotated[
        str, typer.Option(metavar="10min", help="Time to spend where intervals are widest.")
    ] = "10min",
    against_native: Annotated[
        bool,
        typer.Option("--against-native", help="Each adapter against the same net by hand."),
    ] = False,
    peers: Annotated[
        bool, typer.Option("--peers", help="NumPy against other libraries of pure Python.")
    ] = False,
    timeout: Annotated[
        float,
        typer.Option(min=0.1, help="Seconds to get ready, for a turn, or to end, of each process."),
    ] = 300,
    data_dir: Annotated[
        Path | None, typer.Option(help="Where your MNIST files are; or set BAKEOFF_DATA.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="A new folder; bakeoff-runs/<time> by default.")
    ] = None,
    python: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=PATH", help="The interpreter of a backend; may be repeated."),
    ] = None,
    no_parity: Annotated[
        bool, typer.Option("--no-parity", help="No certificates: speeds are not comparable.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print summary.json instead.")] = False,
) -> int:
    """Measure throughput, latency and memory: fresh processes, interleaved, steady state.

    Without a name: the workloads of the default suite; against native loops and peers, those that
    are written by hand.
    """
    from .plan import DEFAULT_SUITE, default_output
    from .timing import command

    if against_native and peers:
        raise InputError("--against-native and --peers are two benchmarks; give one of them")
    rivals: command.Rivals | None = "native" if against_native else "peers" if peers else None
    phases = _choices("--phase", phase, ("train", "infer"))
    if rivals and "infer" in phases:
        raise InputError(f'--phase "{phase}": native loops and peers only train; leave it out')
    request = command.Request(
        names=tuple(names or (command.NATIVE_SUITE if rivals else DEFAULT_SUITE)),
        backends=_split("--backend", backend),
        pythons=_pythons(python or []),
        modes=_choices("--mode", mode, ("eager", "compiled")),
        devices=_split("--device", device) or (),
        dtype=_choice("--dtype", dtype, ("float32", "float64")),
        batch_sizes=_numbers("--batch-size", batch_size) if batch_size else None,
        threads=_numbers("--threads", threads),
        phases=phases,
        budget=command.seconds_of(budget),
        timeout=timeout,
        data_dir=data_dir,
        output=output or default_output(),
        command=shlex.join(["bakeoff", *sys.argv[1:]]),
        parity=not no_parity,
        rivals=rivals,
    )
    return command.run(request, Console(stderr=as_json), as_json=as_json)


@app.command(epilog="Example: `bakeoff report bakeoff-runs/20260101-120000 --open`")
def report(
    run_folder: Annotated[
        Path, typer.Argument(metavar="RUN", help="A folder made by bakeoff run.")
    ],
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
) -> None:
    """Make the report of a run again, without running anything."""
    from . import compare

    compare.report(run_folder, Console(), open_page=open_page)


@app.command(epilog="Example: `bakeoff compare runs/before runs/after --fail-above 5%`")
def compare(
    old: Annotated[Path, typer.Argument(metavar="RUN_A", help="A folder made by bakeoff run.")],
    new: Annotated[Path, typer.Argument(metavar="RUN_B", help="Another one.")],
    fail_above: Annotated[
        str | None,
        typer.Option(metavar="5%", help="Exit with 1 if a row is slower by more than this."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the rows as JSON.")] = False,
) -> int:
    """Compare the speeds of two runs, of two versions or two machines, row by row."""
    from . import history

    return history.compare(old, new, fail_above=fail_above, console=Console(), as_json=as_json)


@app.command(epilog="Example: `bakeoff doctor`")
def doctor() -> int:
    """Check this machine: Python, folders, compiler, and every backend's environment."""
    from . import doctor as checks

    return checks.examine(Console())


if __name__ == "__main__":
    main()
