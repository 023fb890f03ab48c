"""The command line: parse, dispatch, and turn every error of the user's into one line.

Exit codes: 0 all well; 1 the comparison finished but a job failed; 2 the input is wrong, nothing
was written; 130 interrupted.
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


def _split(value: str | None) -> tuple[str, ...] | None:
    if value is None:
        return None
    parts = tuple(part.strip() for part in value.split(","))
    if not all(parts):
        raise InputError(f'"{value}": expected names separated by commas, such as numpy,torch')
    return parts


def _choices(option: str, value: str, legal: tuple[str, ...]) -> tuple[Any, ...]:
    chosen = _split(value) or ()
    for choice in chosen:
        if choice not in legal:
            raise InputError(f'{option} "{choice}": expected one of {", ".join(legal)}')
    return chosen


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
        backends=_split(backend),
        pythons=_pythons(python or []),
        seeds=seeds,
        epochs=epochs,
        batch_size=batch_size,
        dataset=dataset,
        data_dir=data_dir,
        device=device,
        dtype=_choices("--dtype", dtype, ("float32", "float64"))[0],
        modes=_choices("--mode", mode, ("eager", "compiled")),
        threads=threads,
        timeout=timeout,
        output=output or default_output(),
        command=shlex.join(["bakeoff", *sys.argv[1:]]),
    )
    return compare.start(request, console, install=install, as_json=as_json)


def _refuse_with_resume(workloads: list[str] | None) -> None:
    """A run goes on as it was asked: refuse what would change it."""
    allowed = {"--resume", "--json"}
    options = [word.partition("=")[0] for word in sys.argv[1:] if word.startswith("--")]
    if surplus := [*(workloads or []), *(o for o in options if o not in allowed)]:
        raise InputError(
            f"--resume goes on with a run as it was asked; it cannot take {surplus[0]}, "
            "start a new run for that"
        )


@app.command(epilog="Examples: `bakeoff install` · `bakeoff install torch`")
def install(
    backends: Annotated[
        list[str] | None, typer.Argument(metavar="[BACKEND ...]", help="All by default.")
    ] = None,
) -> None:
    """Make a virtual environment for each backend in your data folder, with plain pip.

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


@app.command(epilog="Example: `bakeoff doctor`")
def doctor() -> int:
    """Check this machine: Python, folders, compiler, and every backend's environment."""
    from . import doctor as checks

    return checks.examine(Console())


if __name__ == "__main__":
    main()
