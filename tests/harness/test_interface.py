"""`import bakeoff`: the commands as functions, what they return, and models built in Python."""

from __future__ import annotations

import doctest
import inspect
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import typer

import bakeoff
from bakeoff import calls, initializers, layers, losses, optimizers
from bakeoff.bench import cli
from bakeoff.bench import workload as workloads
from bakeoff.bench.report.sections import sections
from bakeoff.models import model, zoo
from conformance import cases
from harness import samples
from harness.processes import mind_interrupts, wait_until

Fake = Callable[[str], str]


def _line(**changed: Any) -> bakeoff.Model:
    parts: dict[str, Any] = {
        "name": "line",
        "input": [1],
        "layers": [layers.Dense(name="output", units=1)],
        "loss": losses.MSE(),
        "optimizer": optimizers.SGD(learning_rate=0.0625),
    }
    return bakeoff.Model(**parts | changed)


def _workload(**changed: Any) -> bakeoff.Workload:
    terms: dict[str, Any] = {
        "name": "mine",
        "model": _line(),
        "dataset": "line",
        "batch_size": 1,
        "epochs": 3,
        "metric": "mse",
    }
    return bakeoff.Workload(**terms | changed)


def _from_toml(text: str) -> bakeoff.Model:
    return msgspec.toml.decode(text, type=bakeoff.Model)


@pytest.mark.parametrize("module", [calls, model, workloads], ids=lambda m: m.__name__)
def test_the_examples_are_true(module: Any, home: Path) -> None:
    found = doctest.testmod(module)
    assert found.attempted
    assert not found.failed


def test_a_model_is_written_as_a_file_that_reads_as_the_same() -> None:
    tabled = [*cases.LAYERS, *cases.LOSSES, *cases.OPTIMIZERS]
    models = [bakeoff.read_model(name) for name in zoo()] + [case.model for case in tabled]
    for each in models:
        assert _from_toml(each.to_toml()) == each


def test_a_workload_is_written_as_a_file_that_the_command_takes(home: Path) -> None:
    for each in [*map(bakeoff.read_workload, workloads.names()), _workload()]:
        Path("written.toml").write_text(each.to_toml(), encoding="utf-8")
        assert bakeoff.read_workload("written.toml") == each


def test_what_is_built_is_what_a_file_would_have_given() -> None:
    units = np.int64(1)
    built = _line(
        input=np.array([1]),
        layers=[layers.Residual(body=[layers.Dense(name="output", units=units)])],
        optimizer=optimizers.SGD(learning_rate=1, momentum=np.float64(0.5)),
    )
    assert built == _from_toml(built.to_toml())
    assert built.input == (1,)
    assert type(built.optimizer.learning_rate) is float


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"layers": [layers.Dense(name="output", units="ten")]},
            "got `str` - at `layers[0].units`",
        ),
        ({"layers": [layers.Dense(name="output", units=0)]}, "`int` >= 1 - at `layers[0].units`"),
        ({"layers": [layers.ReLU]}, "write ReLU(...)"),
        ({"layers": layers.ReLU()}, "Expected `array`, got `object` - at `layers`"),
        ({"layers": [layers.Conv2D(name="c", filters=1, kernel_size=3)]}, '"c": conv2d needs'),
        ({"layers": [layers.Dense(name="a", units=1)] * 2}, 'two layers are named "a"'),
        ({"layers": [object()]}, "cannot stand in a spec"),
        ({"loss": "mse"}, "got `str` - at `loss`"),
        ({"loss": losses.BinaryCrossEntropy(), "layers": [layers.Dense(name="a", units=2)]}, "[1]"),
        ({"optimizer": optimizers.SGD(learning_rate=float("nan"))}, "optimizer.learning_rate"),
        ({"input": 1}, "at `input`"),
        ({"name": "a b"}, "at `name`"),
    ],
)
def test_a_wrong_model_is_one_line(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(bakeoff.InputError) as raised:
        _line(**changed)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"model": "lenet5"}, "at `model`"),
        ({"metric": "acuracy"}, "did you mean accuracy?"),
        ({"batch_size": 0}, "at `batch_size`"),
        ({"dataset": Path("a.csv")}, "cannot stand in a spec"),
    ],
)
def test_a_wrong_workload_is_one_line(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(bakeoff.InputError) as raised:
        _workload(**changed)
    assert said in str(raised.value)


_WRONG: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], str]] = [
    (bakeoff.run, ("no-such",), {}, "no workload"),
    (bakeoff.run, (3,), {}, "workloads (3,): Expected"),
    (bakeoff.run, ([],), {}, "no workload is named"),
    (bakeoff.run, (_line(),), {}, "workloads"),
    (bakeoff.run, (_workload(),), {"pythons": "python"}, "expected paths by backend"),
    (bakeoff.run, (_workload(),), {"output": "a\0b"}, "holds no NUL"),
    (bakeoff.run, ([_workload(), _workload()],), {}, '"mine" is named twice'),
    (bakeoff.run, (_workload(),), {"backends": "pytorch"}, 'no backend "pytorch"'),
    (bakeoff.run, (_workload(),), {"backends": ["numpy", "numpy"]}, "named twice"),
    (bakeoff.run, (_workload(),), {"backends": []}, "backends (): Expected"),
    (bakeoff.run, (_workload(),), {"seeds": 0}, "seeds 0: expected how many"),
    (bakeoff.run, (_workload(),), {"seeds": [1, 2]}, "seeds [1, 2]: expected how many"),
    (bakeoff.run, (_workload(),), {"epochs": 0}, "epochs 0: Expected"),
    (bakeoff.run, (_workload(),), {"dtype": "float16"}, "expected float32, float64"),
    (bakeoff.run, (_workload(),), {"modes": "graph"}, "expected typical, best, eager, compiled"),
    (bakeoff.run, (_workload(),), {"timeout": float("nan")}, "timeout nan"),
    (bakeoff.run, (_workload(),), {"threads": 10_000}, "--threads 10000"),
    (bakeoff.run, (_workload(),), {"output": 3}, "3: expected a path"),
    (
        bakeoff.run,
        (_workload(),),
        {"pythons": {"numpy": "/no/python"}},
        "/no/python is not a Python",
    ),
    (bakeoff.run, (), {"resume": "nowhere"}, "nowhere is not a run"),
    (bakeoff.run, (), {"resume": "nowhere", "epochs": 3}, "it cannot take --epochs"),
    (bakeoff.train, (), {"backend": "numpy"}, "name a WORKLOAD"),
    (bakeoff.train, (["line-linear"],), {"backend": "numpy"}, "workloads"),
    (bakeoff.train, (_workload(),), {"backend": ["numpy", "torch"]}, "backends"),
    (bakeoff.train, (_workload(),), {"backend": "numpy", "seed": -1}, "seeds (-1,)"),
    (bakeoff.bench, (_workload(),), {"budget": "soon"}, "expected a time"),
    (bakeoff.bench, (_workload(),), {"budget": 10}, "expected a time"),
    (bakeoff.bench, (_workload(),), {"threads": [0]}, "threads (0,)"),
    (bakeoff.bench, (object(),), {}, "expected a workload, a model"),
    (bakeoff.parity, ([_line(), _line()],), {}, '"line" is named twice'),
    (bakeoff.parity, ([],), {}, "names ()"),
    (bakeoff.parity, (_line(),), {"steps": 1}, "steps 1: Expected"),
    (bakeoff.load, ("nowhere",), {}, "nowhere is not a run"),
    (bakeoff.load, (3,), {}, "3: expected a path"),
    (bakeoff.load, (None,), {}, "None: expected a path"),
]


@pytest.mark.parametrize(("function", "positional", "named", "said"), _WRONG)
def test_what_is_wrong_is_one_line_and_nothing_is_written(
    function: Callable[..., Any],
    positional: tuple[Any, ...],
    named: dict[str, Any],
    said: str,
    home: Path,
) -> None:
    with pytest.raises(bakeoff.InputError) as raised:
        function(*positional, **named)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not list(home.iterdir())


def test_a_run_in_a_thread_gives_frames(
    home: Path, fake: Fake, capfd: pytest.CaptureFixture[str]
) -> None:
    with ThreadPoolExecutor() as threads:
        run = threads.submit(
            bakeoff.run,
            [_workload(), "line-linear"],
            backends=["numpy", fake("raises")],
            seeds=2,
            epochs=2,
            parity=False,
        ).result()
    said = capfd.readouterr()
    assert said.out == ""
    assert "mine numpy eager seed 1: epoch 2/2" in said.err
    frame = run.to_frame()
    assert list(frame.status) == ["ok", "failed"] * 2
    assert frame.metric.notna().tolist() == [True, False] * 2
    assert frame.columns.tolist() == bakeoff.load(run.folder).to_frame().columns.tolist()
    assert {"metric_low", "samples_per_second_high", "parity", "audits_blocks"} <= {*frame.columns}
    assert run.curves().groupby(["workload", "backend"]).size().tolist() == [2, 2]
    assert run.summary.command.startswith("bakeoff.run(workloads=[<Workload mine>, 'line-linear']")
    assert bakeoff.load(str(run.folder)).summary == run.summary
    assert (run.folder / "report.html").exists()
    changes = bakeoff.compare(run, run.folder)
    assert set(changes[changes.backend == "numpy"].aspect) >= {"metric", "speed"}
    assert changes.columns[-4:].tolist() == ["change", "change_low", "change_high", "reason"]


def test_progress_can_be_silent(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run = bakeoff.train(_workload(), backend="numpy", checkpoint="c.safetensors", progress=False)
    longer = bakeoff.train(resume="c.safetensors", backend="numpy", epochs=4, progress=False)
    assert capfd.readouterr() == ("", "")
    assert [len(each.curves()) for each in (run, longer)] == [3, 1]
    with pytest.raises(bakeoff.InputError, match="cannot take --seed"):
        bakeoff.train(resume="c.safetensors", backend="numpy", epochs=5, seed=1)


def test_an_interrupt_leaves_a_run_that_can_be_gone_on_with(home: Path, fake: Fake) -> None:
    Path("script.py").write_text(
        "import bakeoff\n"
        f"bakeoff.run('line-linear', backends=['numpy', {fake('hangs')!r}], seeds=1, epochs=2,\n"
        "            parity=False, output='out')\n",
        encoding="utf-8",
    )
    process = subprocess.Popen(
        [sys.executable, "script.py"],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=mind_interrupts,
    )
    pid_file = Path("out/jobs/line-linear/hangs-eager-0/child.pid")
    assert wait_until(pid_file.exists)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert "KeyboardInterrupt" in err
    assert "go on with: bakeoff run --resume" in err
    assert bakeoff.load("out").to_frame().status.tolist() == ["ok", "interrupted"]
    (home.parent / "mended").touch()
    run = bakeoff.run(resume="out", progress=False)
    assert run.to_frame().status.tolist() == ["ok", "ok"]


@pytest.mark.parametrize("kind", ["run", "benchmark"])
def test_what_a_notebook_shows_is_whole_and_runs_nothing(kind: str, tmp_path: Path) -> None:
    failed = samples.row("line", samples.EVIL, "failed")
    rows = samples.row("line", "numpy"), samples.row("line", "jax", speed=500.0), failed
    summary = samples.summary(*rows) if kind == "run" else samples.benchmark()
    run = bakeoff.Run(tmp_path, summary)
    shown = run._repr_html_()
    assert "<script" not in shown
    assert "&lt;script&gt;alert(1)" in shown
    assert shown.count("src=") == shown.count('src="data:image/png;base64,') == 1
    assert shown.count("<table>") == len(sections(summary))
    assert len(run.to_frame()) == len(summary.entries)
    comparisons = run.comparisons()
    assert comparisons.ratio.tolist() == [c.ratio.median for c in summary.comparisons]
    assert comparisons.ratio_low.tolist() == [c.ratio.low for c in summary.comparisons]
    assert run.report().page == tmp_path / "report.html"


def test_certificates_have_a_frame(home: Path, fake: Fake) -> None:
    found = bakeoff.parity(
        _line(), backends=["numpy", fake("doubles")], dtypes="float64", modes="eager",
        progress=False,
    )  # fmt: skip
    assert not found.all_pass
    frame = found.to_frame()
    assert frame.verdict.tolist() == ["pass", "fail"]
    assert frame.fails_at.notna().tolist() == [False, True]
    assert "<table" in found._repr_html_()


def test_a_benchmark_is_called_by_the_name_of_its_room(home: Path) -> None:
    run = bakeoff.bench(_line(), backends="numpy", budget="1s", parity=False, progress=False)
    assert run.to_frame()[["workload", "status"]].values.tolist() == [["line", "ok"]]
    assert json.loads((run.folder / "summary.json").read_bytes())["command"].startswith(
        "bakeoff.bench(names=<Model line>"
    )
    assert bakeoff.bench.__name__ == "bakeoff.bench"
    again = bakeoff.bench(resume=run.folder, progress=False)  # by the file that it left there
    assert again.to_frame().status.tolist() == ["ok"]


def test_two_runs_of_a_second_have_a_folder_each(home: Path) -> None:
    from bakeoff.bench.checks import default_output

    folders = []
    for _ in range(3):
        folders.append(default_output())
        folders[-1].mkdir(parents=True)
    assert len(set(folders)) == 3


@pytest.mark.parametrize("command", ["run", "train", "bench", "parity"])
def test_the_options_are_those_of_the_command(command: str) -> None:
    def plain(name: str) -> str:
        return name.removeprefix("no_").removeprefix("use_").rstrip("s")

    of_the_command = typer.main.get_command(cli.app).commands[command].params
    printed = {"as_json", "self_test"} | ({"output"} if command == "parity" else set())
    options = {plain(str(each.name)) for each in of_the_command if each.name not in printed}
    parameters = inspect.signature(getattr(calls, command)).parameters
    assert {plain(name) for name in parameters} - {plain("progress")} == options


def test_everything_that_is_promised_is_there() -> None:
    assert {*bakeoff.__all__} <= {*dir(bakeoff)}
    for name in bakeoff.__all__:
        assert getattr(bakeoff, name) is not None
    assert bakeoff.__version__ == metadata.version("bakeoff")
    assert initializers.Zeros() == layers.Dense(name="a", units=1).bias_initializer
    with pytest.raises(AttributeError, match="no attribute 'rnu'"):
        bakeoff.rnu  # noqa: B018


@pytest.mark.parametrize("command", [["-m", "bakeoff"], ["-m", "bakeoff.bench.cli"]])
def test_the_version_is_printed(command: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, *command, "--version"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"bakeoff {metadata.version('bakeoff')}\n"
