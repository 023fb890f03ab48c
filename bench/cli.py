"""The command line: parse, dispatch, and turn every error of the user's into one line.

Exit codes: 0 all well; 1 the comparison finished but a job or a certificate failed, or there is no
result at all; 2 the input is wrong, nothing was written; 130 interrupted.

What a command needs is imported when it runs: `--help` loads neither NumPy nor a room.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from pathlib import Path
from typing import Any, Literal

import typer

from . import interrupts, options

app = typer.Typer(
    name="bakeoff",
    help="One neutral model, trained by every framework from the same bytes, then compared.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


_LONG = 3000  # characters of a message: beyond is a value of the user's, not what we say of it
_FOLDERS = ("BAKEOFF_CACHE", "BAKEOFF_DATA", "HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_DATA_HOME")


def main() -> None:
    """Run the command line and exit."""
    interrupts.listen()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # one may be closed
            stream.reconfigure(errors="backslashreplace")
    try:
        _check_texts()
        code = app(standalone_mode=False)
        if sys.stdout is not None:  # it may be closed
            sys.stdout.flush()
    except (KeyboardInterrupt, typer.Abort):
        code = interrupts.EXIT_CODE
    except Exception as error:
        code = _report_error(error)
    if code == interrupts.EXIT_CODE:  # also of an interrupt that the parser took, or a command
        sys.stderr.write("bakeoff: interrupted\n")
    sys.exit(code or 0)


def _report_error(error: Exception) -> int:
    """Say in one line what was wrong and return the exit code; a bug of ours is raised again."""
    from ..models import InputError
    from .environments.install import InstallError
    from .printing import Screen

    screen = Screen(stderr=True)
    if isinstance(error, OSError) and error.strerror:
        message = ": ".join(str(part) for part in (error.filename, error.strerror) if part)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            message += "; free space, and go on"
            _forget_output()
    elif isinstance(error, MemoryError):
        message = f"this needs more memory than there is; {error}"
    elif isinstance(error, InputError | InstallError | typer.TyperException):
        message = getattr(error, "format_message", error.__str__)()
    else:
        raise error
    if not message:  # no command was given, and the help was printed
        return 0
    message = " ".join(message.split())
    if len(message) > _LONG:
        message = f"{message[: _LONG // 2]} [...] {message[-_LONG // 2 :]}"
    screen.say(f"bakeoff: {message}")
    return 1 if isinstance(error, InstallError) else 2


def _forget_output() -> None:
    """Let what could not be written go: Python would try it again as it ends, and exit with 120."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _check_texts() -> None:
    """Refuse texts that no file of ours could hold: they are written down with every run."""
    try:
        texts = {"the current folder": str(Path.cwd())}
    except FileNotFoundError:
        raise typer.TyperException("the current folder is gone; change to another") from None
    texts |= {f"argument {i}": word for i, word in enumerate(sys.argv[1:], start=1)}
    texts |= {f"${name}": os.environ[name] for name in _FOLDERS if name in os.environ}
    for what, text in texts.items():
        if not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text):
            raise typer.TyperException(f"{what} ({text!r}) is not UTF-8; expected a name that is")
        is_empty = not text or (text.startswith("--") and text.endswith("="))
        if is_empty and what.startswith("argument"):
            raise typer.TyperException(f'{what} ("{text}") is empty; give a value, or leave it out')


def _console(as_json: bool = False) -> Any:
    """Return where to print: stdout, which JSON has for itself."""
    from .printing import Screen

    return Screen(stderr=as_json)


def _shown(as_json: bool) -> Literal["tables", "json"]:
    return "json" if as_json else "tables"


@app.callback()
def before_any(version: options.Version = False) -> None:
    """What stands before any command."""


@app.command(epilog=options.EXAMPLES["run"])
def run(
    context: typer.Context,
    workloads: options.Workloads = None,
    backend: options.Backends = None,
    seeds: options.Seeds = 3,
    epochs: options.Epochs = None,
    batch_size: options.BatchSize = None,
    dataset: options.Dataset = None,
    data_dir: options.DataDir = None,
    device: options.Device = "cpu",
    dtype: options.DType = "float32",
    mode: options.Modes = "typical",
    threads: options.Threads = 1,
    timeout: options.JobTimeout = 3600,
    output: options.RunFolder = None,
    python: options.Pythons = None,
    install: options.Install = False,
    resume: options.ResumedRun = None,
    no_parity: options.NoParity = False,
    as_json: options.Json = False,
) -> int:
    """Train workloads with every backend from the same weights and batches, and compare them.

    Without a WORKLOAD: boston-linear, mnist-mlp and mnist-lenet5.
    """
    from .checks import DEFAULT_SUITE, default_output
    from .commands import run as command
    from .training.plan import RunRequest

    if resume:
        return command.resume(
            resume,
            options.interpreters(python),
            options.given(context),
            _console(as_json),
            shown=_shown(as_json),
        )
    request = RunRequest(
        workloads=tuple(workloads or DEFAULT_SUITE),
        backends=options.backends(backend),
        pythons=options.interpreters(python),
        seeds=tuple(range(seeds)),
        epochs=epochs,
        batch_size=batch_size,
        dataset=dataset,
        data_dir=data_dir,
        device=device,
        dtype=options.dtype(dtype),
        modes=options.modes(mode),
        threads=threads,
        timeout=timeout,
        output=output or default_output(),
        parity=not no_parity,
        audited=not no_parity,
    )
    return command.start(request, _console(as_json), make_missing=install, shown=_shown(as_json))


@app.command(epilog=options.EXAMPLES["train"])
def train(
    context: typer.Context,
    backend: options.Backend,
    workload: options.Workload = None,
    checkpoint: options.Checkpoint = None,
    resume: options.ResumedTraining = None,
    epochs: options.EpochsInAll = None,
    seed: options.Seed = 0,
    batch_size: options.BatchSize = None,
    dataset: options.Dataset = None,
    data_dir: options.DataDir = None,
    device: options.Device = "cpu",
    dtype: options.DType = "float32",
    mode: options.Mode = "typical",
    threads: options.WorkersThreads = 1,
    timeout: options.TrainingTimeout = 3600,
    output: options.RunFolder = None,
    python: options.BackendsPython = None,
    as_json: options.Json = False,
) -> int:
    """Train a workload with one backend; put the training aside, or go on with one.

    Any backend goes on with the checkpoint of any other: weights, optimizer state and step are in
    it, in canonical layout, and the batches follow from the seed.
    """
    from .checks import default_output
    from .commands.train import train as train_one
    from .training.plan import RunRequest

    request = RunRequest(
        workloads=(workload,) if workload else (),
        backends=(backend,),
        pythons=options.interpreters(python),
        seeds=(seed,),
        epochs=epochs,
        batch_size=batch_size,
        dataset=dataset,
        data_dir=data_dir,
        device=device,
        dtype=options.dtype(dtype),
        modes=(options.mode(mode),),
        threads=threads,
        timeout=timeout,
        output=output or default_output(),
        parity=False,  # there is nothing to compare
        checkpoint=checkpoint,
    )
    return train_one(
        request, resume, options.given(context), _console(as_json), shown=_shown(as_json)
    )


@app.command(epilog=options.EXAMPLES["install"])
def install(
    backends: options.Environments = None,
    device: options.BuildDevice = "cpu",
    as_list: options.ListEnvironments = False,
) -> int:
    """Make a virtual environment for each backend in your data folder, with plain pip.

    `peers` is the environment of the libraries that NumPy's speed is compared with.

    An environment that is complete is left as it is; a broken one is made anew. PyTorch's build is
    the one for CPUs, unless there is a GPU here or `--device cuda` is given.

    A version has an environment of its own. `keras@3.11.3` is Keras's own version, with the newest
    TensorFlow up to the pinned one that goes with it; `keras@tensorflow-2.20.0` is TensorFlow's,
    with such a Keras. `jax@0.9` is the newest of 0.9. Keras on JAX and on PyTorch, `keras-jax` and
    `keras-torch`, are made if they are named.
    """
    from .checks import check_execution
    from .commands import install as command

    if as_list:
        return command.list_environments(_console())
    check_execution(device, threads=1)
    cuda = device.startswith("cuda")
    return command.install_all(tuple(backends or ()), _console(), cuda=cuda)


@app.command(epilog=options.EXAMPLES["uninstall"])
def uninstall(
    environments: options.Installed = None,
    all_of_them: options.AllEnvironments = False,
) -> int:
    """Remove environments that `bakeoff install` made, without asking; say what that frees."""
    from .commands import install as command

    return command.uninstall(tuple(environments or ()), _console(), all_of_them=all_of_them)


@app.command("list", epilog=options.EXAMPLES["list"])
def list_all(
    what: options.Listed = None,
    matrix: options.Matrix = False,
    as_json: options.ListJson = False,
) -> None:
    """List workloads, models, datasets, and backends with version, interpreter, devices, modes."""
    from .commands import listing

    if matrix:
        sys.stdout.write(listing.support_matrix())
    else:
        listing.print_all(what, _console(), as_json=as_json)


@app.command(epilog=options.EXAMPLES["show"])
def show(name: options.Shown) -> None:
    """Show a model layer by layer, a dataset's card, or what is understood of a CSV file.

    A workload is checked against its data, as a run does it.
    """
    from .commands import show as command

    command.print_one(name, _console())


@app.command(epilog=options.EXAMPLES["explain"])
def explain(word: options.Word) -> None:
    """Print a construct's formula, shapes and source, and what each framework does instead."""
    from .commands.explain import explain as explain_word

    explain_word(word, _console())


@app.command(epilog=options.EXAMPLES["parity"])
def parity(
    names: options.WorkloadsOrModels = None,
    backend: options.Backends = None,
    dtype: options.DTypes = "float64,float32",
    mode: options.EitherMode = "eager,compiled",
    steps: options.Steps = 20,
    device: options.Device = "cpu",
    threads: options.Threads = 1,
    timeout: options.SilenceTimeout = 300,
    data_dir: options.DataDir = None,
    output: options.ParityFolder = None,
    python: options.AliasedPythons = None,
    no_cache: options.NoCache = False,
    self_test: options.SelfTest = False,
    as_json: options.CertificatesJson = False,
) -> int:
    """Prove, or disprove, that each backend computes what NumPy computes in float64.

    Without a name: the workloads of the default suite. Exit code 1 when a certificate fails.
    """
    from .checks import DEFAULT_SUITE
    from .commands import parity as command

    if self_test:
        return command.self_test(_console())
    request = command.ParityRequest(
        names=tuple(names or DEFAULT_SUITE),
        backends=options.backends(backend),
        pythons=options.interpreters(python),
        dtypes=options.dtypes(dtype),
        modes=options.modes(mode),
        device=device,
        threads=threads,
        steps=steps,
        timeout=timeout,
        data_dir=data_dir,
        use_cache=not no_cache,
        output=output,
    )
    return command.run(request, _console(as_json), as_json=as_json)


@app.command(epilog=options.EXAMPLES["conform"])
def conform(
    adapter: options.Adapter,
    device: options.Device = "cpu",
    python: options.AdaptersPython = None,
) -> int:
    """Test an adapter against the norm: every construct that it supports, and the contract."""
    from .commands.conform import conform as conform_to_norm

    return conform_to_norm(adapter, device, options.interpreters(python), _console())


@app.command(epilog=options.EXAMPLES["bench"])
def bench(
    context: typer.Context,
    names: options.WorkloadsOrModels = None,
    backend: options.Backends = None,
    mode: options.Modes = "typical",
    device: options.Devices = "cpu",
    dtype: options.DType = "float32",
    batch_size: options.BatchSizes = None,
    threads: options.SeveralThreads = "1",
    phase: options.Phases = "train",
    budget: options.Budget = "10min",
    against_native: options.AgainstNative = False,
    peers: options.Peers = False,
    timeout: options.TurnTimeout = 300,
    data_dir: options.DataDir = None,
    output: options.BenchmarkFolder = None,
    python: options.Pythons = None,
    resume: options.ResumedBenchmark = None,
    no_parity: options.NoParity = False,
    as_json: options.Json = False,
) -> int:
    """Measure throughput, latency and memory: fresh processes, interleaved, steady state.

    Without a name: the workloads of the default suite; against native loops and peers, those that
    are written by hand.
    """
    from .checks import DEFAULT_SUITE, default_output
    from .commands import bench as command
    from .timing.plan import NATIVE_SUITE, BenchRequest, rivals_asked, seconds_of

    if resume:
        return command.resume(
            resume,
            options.interpreters(python),
            options.given(context),
            _console(as_json),
            shown=_shown(as_json),
        )
    phases = options.phases(phase)
    rivals = rivals_asked(against_native, peers, phases)
    request = BenchRequest(
        names=tuple(names or (NATIVE_SUITE if rivals else DEFAULT_SUITE)),
        backends=options.backends(backend),
        pythons=options.interpreters(python),
        modes=options.modes(mode),
        devices=options.split("--device", device),
        dtype=options.dtype(dtype),
        batch_sizes=options.numbers("--batch-size", batch_size) if batch_size else None,
        threads=options.numbers("--threads", threads),
        phases=phases,
        budget=seconds_of(budget),
        timeout=timeout,
        data_dir=data_dir,
        output=output or default_output(),
        parity=not no_parity,
        rivals=rivals,
    )
    return command.run(request, _console(as_json), shown=_shown(as_json))


@app.command(epilog=options.EXAMPLES["report"])
def report(run_folder: options.Run, open_page: options.OpenPage = False) -> None:
    """Make the report of a run again, without running anything."""
    from .commands.report import report as report_again

    report_again(run_folder, _console(), open_page=open_page)


@app.command(epilog=options.EXAMPLES["compare"])
def compare(
    old: options.RunA,
    new: options.RunB,
    fail_above: options.FailAbove = None,
    as_json: options.RowsJson = False,
) -> int:
    """Compare two runs or benchmarks, of two versions or two machines, row by row.

    First every difference of data, configuration, versions and machine; then, by row, the metric,
    parity, audits, memory, seconds to the target, speed.

    Exit code 1: a row computes worse (its metric, by more than chance and than the margin within
    which two are equivalent; its certificate or audits, which passed), is in A alone, or should be
    judged and is not; or nothing is judged. That a row is slower fails with --fail-above alone.
    """
    from .commands.compare import compare as compare_runs

    return compare_runs(old, new, fail_above=fail_above, console=_console(), as_json=as_json)


@app.command(epilog=options.EXAMPLES["doctor"])
def doctor() -> int:
    """Check this machine: Python, folders, compiler, and every backend's environment."""
    from .commands.doctor import examine

    return examine(_console())


if __name__ == "__main__":
    main()
