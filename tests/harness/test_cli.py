"""What a user may get wrong: one line on stderr, exit code 2, nothing written."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bakeoff import backends, datasets, models
from bakeoff.bench import workload as workloads
from bakeoff.bench.commands import doctor
from bakeoff.bench.environments import install
from bakeoff.models import InputError

Command = Callable[..., Any]

_MODEL = """
name = "m"
input = [1]
layers = [{ type = "dense", name = "output", units = 1 }]
loss = { type = "mse" }
optimizer = { type = "sgd", learning_rate = 0.5 }
"""

_WRONG_ARGUMENTS = {
    "unknown command": (["rum"], "rum"),
    "unknown option": (["run", "--sead", "1"], "--sead"),
    "not a number": (["run", "--seeds", "many"], "valid integer"),
    "too few": (["run", "--seeds", "0"], "--seeds"),
    "unknown workload": (["run", "mnist-mpl"], "did you mean mnist-mlp?"),
    "workload file not there": (["run", "mine.toml"], "mine.toml"),
    "unknown backend": (["run", "--backend", "troch"], "did you mean torch?"),
    "adapter not there": (["run", "--backend", "my/adapter.py"], "no adapter at my/adapter.py"),
    "empty name": (["run", "--backend", "numpy,"], "separated by commas"),
    "backend twice": (["run", "--backend", "numpy,numpy"], "named twice"),
    "workload twice": (["run", "boston-mlp", "boston-mlp"], "named twice"),
    "typical with others": (["run", "--mode", "typical,eager"], "ask for it alone"),
    "best of one training": (
        ["train", "mnist-mlp", "--backend", "numpy", "--mode", "best"],
        "one training has one mode",
    ),
    "unknown mode": (["run", "--mode", "lazy"], "expected one of typical, best, eager, compiled"),
    "unknown dtype": (["run", "--dtype", "float16"], "expected one of float32, float64"),
    "unknown device": (["run", "--device", "tpu"], "expected cpu, cuda or cuda:N"),
    "too many threads": (["run", "--threads", "4096"], "cores"),
    "unknown dataset": (["run", "mnist-mlp", "--dataset", "mnist5k"], "mnist-5k"),
    "dataset of another shape": (["run", "mnist-mlp", "--dataset", "digits"], "[1, 28, 28]"),
    "dataset of another task": (
        ["run", "boston-linear", "--dataset", "synthetic-table?features=13&task=classification"],
        "mse is for regression",
    ),
    "data folder not there": (["run", "mnist-mlp", "--data-dir", "nowhere"], "nowhere"),
    "--python without =": (["run", "--python", "torch"], "expected NAME=PATH"),
    "--python of no backend": (
        ["run", "--backend", "numpy", "--python", "x=/p"],
        "no such backend",
    ),
    "--python not there": (["run", "--python", "torch=/no/python"], "not a Python interpreter"),
    "--python is no python": (["run", "--python", "torch=/bin/true"], "not a Python interpreter"),
    "resume of nothing": (["run", "--resume", "nowhere"], "no run.toml"),
    "resume with a workload": (
        ["run", "mnist-mlp", "--resume", "nowhere"],
        "cannot take mnist-mlp",
    ),
    "resume with an option": (
        ["run", "--resume", "nowhere", "--seeds", "1"],
        "cannot take --seeds",
    ),
    "train nothing": (["train", "--backend", "numpy"], "name a WORKLOAD"),
    "train with nobody": (["train", "mnist-mlp"], "--backend"),
    "train with two": (["train", "mnist-mlp", "--backend", "numpy,torch"], "one backend"),
    "train in two modes": (
        ["train", "mnist-mlp", "--backend", "numpy", "--mode", "eager,compiled"],
        "not several",
    ),
    "go on with nothing": (["train", "--backend", "numpy", "--resume", "c"], "no checkpoint at c"),
    "go on with another seed": (
        ["train", "--backend", "numpy", "--resume", "c", "--seed", "1"],
        "cannot take --seed",
    ),
    "checkpoint in no folder": (
        ["train", "boston-mlp", "--backend", "numpy", "--checkpoint", "no/c"],
        "no is not a folder",
    ),
    "checkpoint that is a folder": (
        ["train", "boston-mlp", "--backend", "numpy", "--checkpoint", "{idx}"],
        "exists already",
    ),
    "parity of nothing": (["parity", "lenet6"], "did you mean lenet5?"),
    "parity of too few steps": (["parity", "lenet5", "--steps", "2"], "--steps"),
    "parity of an unknown backend": (["parity", "lenet5", "--backend", "x"], 'no backend "x"'),
    "parity with a stray python": (
        ["parity", "lenet5", "--backend", "numpy", "--python", "torch=/p"],
        "no such backend",
    ),
    "report of nothing": (["report", "nowhere"], "no run.toml"),
    "truncated IDX": (
        ["run", "mnist-mlp", "--dataset", "mnist", "--data-dir", "{idx}"],
        "truncated",
    ),
    "CSV without the column": (
        ["run", "boston-linear", "--dataset", "csv:{csv}?target=nobody"],
        "nobody",
    ),
    "truncated CSV": (["run", "boston-linear", "--dataset", "csv:{short}?target=y"], "line 3"),
    "show nothing": (["show", "lenet6"], "did you mean lenet5?"),
    "install nothing": (["install", "troch"], "troch"),
}


@pytest.mark.parametrize("wrong", _WRONG_ARGUMENTS)
def test_wrong_arguments(
    bakeoff: Command, home: Path, bad_data: dict[str, Path], wrong: str
) -> None:
    arguments, message = _WRONG_ARGUMENTS[wrong]
    _assert_refused(bakeoff(*(word.format(**bad_data) for word in arguments)), message)
    assert list(home.iterdir()) == []


@pytest.fixture
def bad_data(tmp_path: Path) -> dict[str, Path]:
    """Data files with a fault, beside the working folder."""
    folder = tmp_path / "idx"
    folder.mkdir()
    for name in ("train-images-idx3-ubyte", "t10k-images-idx3-ubyte"):
        (folder / name).write_bytes(struct.pack(">4i", 2051, 9, 28, 28) + bytes(100))
    for name in ("train-labels-idx1-ubyte", "t10k-labels-idx1-ubyte"):
        (folder / name).write_bytes(struct.pack(">2i", 2049, 9) + bytes(9))
    table, short = tmp_path / "table.csv", tmp_path / "short.csv"
    table.write_text("x,y\n" + "1,2\n" * 20, encoding="utf-8")
    short.write_text("x,y\n1,2\n3", encoding="utf-8")
    return {"idx": folder, "csv": table, "short": short}


_WRONG_WORKLOADS = {
    "unknown key": ("epochs = 3", "epochs = 3\nepoch = 3", "unknown field `epoch`"),
    "missing key": ("epochs = 3", "", "missing required field `epochs`"),
    "wrong type": ("epochs = 3", "epochs = 3.5", "Expected `int`"),
    "unknown metric": ('metric = "mse"', 'metric = "msa"', "did you mean mse?"),
    "metric of another task": ('metric = "mse"', 'metric = "accuracy"', "accuracy is not for"),
    "wrong layer in the model": ("units = 1", "units = -1", "`$.model.layers[0].units`"),
    "too many outputs": ("units = 1", "units = 2", "2 outputs, expected 1"),
    "name that is a path": ('name = "tiny"', 'name = "../tiny"', "matching regex"),
}


@pytest.mark.parametrize("wrong", _WRONG_WORKLOADS)
def test_wrong_workload_files(bakeoff: Command, workload: Path, wrong: str) -> None:
    before, after, message = _WRONG_WORKLOADS[wrong]
    text = workload.read_text(encoding="utf-8")
    assert before in text
    workload.write_text(text.replace(before, after), encoding="utf-8")
    _assert_refused(bakeoff("run", workload, "--backend", "numpy"), message)
    assert list(workload.parent.iterdir()) == [workload]


def test_a_workload_that_names_an_unknown_model(bakeoff: Command, workload: Path) -> None:
    terms = workload.read_text(encoding="utf-8").partition("[model]")[0]
    workload.write_text(f'{terms}\nmodel = "lenet6"', encoding="utf-8")
    _assert_refused(bakeoff("run", workload, "--backend", "numpy"), "did you mean lenet5?")


def test_a_model_is_not_a_workload_and_the_error_says_what_to_write(
    bakeoff: Command, home: Path
) -> None:
    (home / "m.toml").write_text(_MODEL, encoding="utf-8")
    _assert_refused(bakeoff("run", "m.toml"), 'model = "m.toml"')


def test_a_workload_may_name_a_model_file_beside_it(bakeoff: Command, home: Path) -> None:
    folder = home / "deep"
    folder.mkdir()
    (folder / "m.toml").write_text(_MODEL, encoding="utf-8")
    (folder / "w.toml").write_text(
        'name = "w"\nmodel = "m.toml"\ndataset = "line"\n'
        'batch_size = 3\nepochs = 2\nmetric = "mse"\n',
        encoding="utf-8",
    )
    outcome = bakeoff("run", "deep/w.toml", "--backend", "numpy", "--seeds", 1)
    assert outcome.code == 0, outcome.err


def test_a_second_run_into_the_same_folder_is_refused(bakeoff: Command, workload: Path) -> None:
    arguments = ("run", workload, "--backend", "numpy", "--seeds", 1, "--output", "out")
    assert bakeoff(*arguments).code == 0
    before = {path: path.read_bytes() for path in Path("out").rglob("*") if path.is_file()}
    _assert_refused(bakeoff(*arguments), "exists already")
    after = {path: path.read_bytes() for path in Path("out").rglob("*") if path.is_file()}
    assert after == before


@pytest.mark.parametrize("output", ["/proc/bakeoff/out", "tiny.toml", "tiny.toml/out"])
def test_an_output_folder_that_cannot_be_written(
    bakeoff: Command, workload: Path, output: str
) -> None:
    text = workload.read_text(encoding="utf-8")
    _assert_refused(bakeoff("run", workload, "--backend", "numpy", "--output", output), "--output")
    assert workload.read_text(encoding="utf-8") == text
    assert list(workload.parent.iterdir()) == [workload]


def test_a_read_only_output_folder(workload: Path) -> None:
    # Root may write everywhere: it gives up that power first.
    powerless = ["setpriv", "--bounding-set=-dac_override"] if os.geteuid() == 0 else []
    folder = workload.parent / "closed"
    folder.mkdir(mode=0o555)
    command = [sys.executable, "-m", "bakeoff.bench.cli", "run", str(workload)]
    done = subprocess.run(
        [*powerless, *command, "--backend", "numpy", "--output", "closed/out"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "Permission denied" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert list(folder.iterdir()) == []


def test_an_interpreter_without_the_framework(bakeoff: Command, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    outcome = bakeoff("run", "boston-linear", "--python", f"torch={bare}/bin/python")
    _assert_refused(outcome, "this interpreter has no numpy")
    assert "bakeoff install torch" in outcome.err


def test_a_damaged_run_is_refused(bakeoff: Command, workload: Path) -> None:
    bakeoff("run", workload, "--backend", "numpy", "--seeds", 1, "--output", "out")
    spec = Path("out/run.toml")
    text = spec.read_text(encoding="utf-8")
    spec.write_text(text.replace("schema_version = 3", "schema_version = 99"), encoding="utf-8")
    _assert_refused(bakeoff("run", "--resume", "out"), "schema version 99")
    spec.write_text(text[: len(text) // 2], encoding="utf-8")
    _assert_refused(bakeoff("run", "--resume", "out"), "run.toml")


def test_input_is_checked_before_anything_is_installed(
    bakeoff: Command, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        install, "install", lambda name, progress, cuda: pytest.fail("it installed")
    )
    _assert_refused(bakeoff("run", "mnist-mpl", "--install"), "did you mean mnist-mlp?")


def test_an_environment_that_cannot_be_made_does_not_stop_the_others(
    bakeoff: Command, workload: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(name: str, progress: object, cuda: bool) -> Path:
        raise install.InstallError("pip failed: no [network]; the log is torch.log")

    monkeypatch.setitem(backends.FRAMEWORKS, "torch", ("a_framework_that_is_not_there",))
    monkeypatch.setattr(install, "install", fail)
    outcome = bakeoff("run", workload, "--install", "--json")
    assert outcome.code == 0
    why = "was found, and it could not be installed: pip failed: no [network]; the log is"
    assert why in next(x for x in outcome.err.splitlines() if x.startswith("torch: no interpreter"))
    rows = {row["backend"]: row for row in outcome.json()["rows"]}
    assert (rows["numpy"]["status"], rows["torch"]["status"]) == ("ok", "missing")
    assert "pip failed: no [network]; the log is torch.log" in rows["torch"]["reason"]
    assert "bakeoff install torch" in rows["torch"]["reason"]


def test_numpy_is_shown_before_the_others_are_made(
    bakeoff: Command, workload: Path, fake: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(name: str, progress: object, cuda: bool) -> Path:
        sys.stdout.write(f"making {name}\n")
        raise install.InstallError("no network")

    monkeypatch.setattr(install, "install", fail)
    for name in backends.USUAL[1:]:
        monkeypatch.setitem(backends.FRAMEWORKS, name, ("a_framework_that_is_not_there",))
    out = bakeoff("run", workload, "--install", "--seeds", 2, "--output", "out").out
    look, made, ran = (out.index(words) for words in ("first look", "making jax", "run folder"))
    assert look < made < ran
    assert out[:look].count("test mse") == 1
    assert out[ran:].count("(2 of 2 jobs)") == 1
    assert [path.name for path in Path("out").parent.glob("*/run.toml")] == ["run.toml"]
    arguments = ("--backend", f"numpy,{fake('mine')}", "--install", "--output", "again")
    again = bakeoff("run", workload, *arguments)
    assert again.code == 0
    assert "mine eager" in again.out
    assert "first look" not in again.out


def test_install_makes_what_is_named(
    bakeoff: Command, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def make(name: str, progress: object, cuda: bool) -> Path:
        made.append(name)
        return home / name

    monkeypatch.setattr(install, "install", make)
    assert bakeoff("install").code == 0
    assert sorted(made) == sorted(backends.USUAL)
    assert "peers: ready" in bakeoff("install", "torch", "peers").out
    assert sorted(made[len(backends.USUAL) :]) == ["peers", "torch"]


def _fail_for_mxnet(error: BaseException) -> Callable[[str, Callable[[str], None], bool], Path]:
    def make(name: str, progress: Callable[[str], None], cuda: bool) -> Path:
        if name == "mxnet":
            raise error
        while name == "jax" and not isinstance(error, install.InstallError):
            progress("downloading")  # for ever, unless it is stopped
        return Path(name)

    return make


def test_install_makes_the_others_and_sums_up_what_failed(
    bakeoff: Command, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failure = install.InstallError("pip failed: no wheel [1.23.5]; the log is /data/mxnet.log")
    monkeypatch.setattr(install, "install", _fail_for_mxnet(failure))
    outcome = bakeoff("install")
    assert outcome.code == 1
    assert "jax: ready" in outcome.out
    summed_up = "5 of 6 environments are ready: numpy, torch, keras, paddle, jax"
    assert outcome.out.splitlines()[-1] == summed_up
    assert outcome.err == f"bakeoff: mxnet could not be installed: {failure}\n"


@pytest.mark.parametrize(
    ("error", "code"),
    [(InputError("the folder cannot be written"), 2), (KeyboardInterrupt(), 130)],
    ids=["no folder", "interrupt"],
)
def test_what_stops_an_install_stops_all_of_it(
    bakeoff: Command,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    code: int,
) -> None:
    monkeypatch.setattr(install, "install", _fail_for_mxnet(error))
    outcome = bakeoff("install")
    assert outcome.code == code
    assert "environments are ready" not in outcome.out


def test_list_names_everything(bakeoff: Command) -> None:
    out = bakeoff("list").out
    for name in [*workloads.names(), *models.zoo(), *datasets.CARDS, "numpy", "torch"]:
        assert name in out


@pytest.mark.parametrize("name", [*workloads.names(), *models.zoo(), *datasets.CARDS])
def test_show_knows_everything_that_list_names(bakeoff: Command, name: str) -> None:
    outcome = bakeoff("show", name)
    assert outcome.code == 0
    assert outcome.out.strip()


def test_show_counts_parameters_and_flops(bakeoff: Command, workload: Path) -> None:
    out = bakeoff("show", "mnist-lenet5").out
    assert "61,706" in out
    assert "2,263,920" in out
    assert "tiny-model" in bakeoff("show", workload).out


def test_report_again_gives_the_same_summary(bakeoff: Command, workload: Path) -> None:
    bakeoff("run", workload, "--backend", "numpy", "--seeds", 1, "--output", "out")
    names = ("summary.json", "report.md", "report.html", "report.png")
    before = {name: Path("out", name).read_bytes() for name in names}
    for name in names:
        Path("out", name).unlink()
    assert bakeoff("report", "out").code == 0
    assert {name: Path("out", name).read_bytes() for name in names} == before


@pytest.mark.parametrize("word", ["adam", "batch_norm", "mse", "cosine", "he_normal", "lstm"])
def test_explain_prints_the_norm_and_its_source(bakeoff: Command, word: str) -> None:
    out = bakeoff("explain", word).out
    assert "=" in out.splitlines()[0] or "←" in out or "~" in out.splitlines()[0]


@pytest.mark.parametrize(
    ("word", "norm", "elsewhere"),
    [("clip_norm", "‖g‖ over all weights together", "torch clip_grad_norm_ divides by"),
     ("decoupled", "w ← w - η weight_decay·w", "keras is decoupled in every optimizer"),
     ("warmup", "factor(t) is (t + 1) / w", "keras CosineDecay's warm-up begins at 0"),
     ("schedule", "t = 0, 1, 2, ... counts updates", "mxnet the first update has t 1"),
     ("bidirectional", "reads the input from its end", "keras is the layer Bidirectional"),
     ("fan_out", "(C·kH·kW, O·kH·kW) for a convolution", "keras counts them from a weight"),
     ("pads", "⌈n / s⌉ long", "keras has 'valid', 'same' and 'causal', no numbers"),
     ("constant", "factor = 1", ""), ("constant", "w = value", ""),
     ("adam", "β₁ m", "keras epsilon = 1e-7"),
     ("layer_norm", "Ba et al.", "flax epsilon is 1e-6 (not checked)")],
)  # fmt: skip
def test_explain_knows_the_words_and_what_frameworks_do(
    bakeoff: Command, word: str, norm: str, elsewhere: str
) -> None:
    out = " ".join(bakeoff("explain", word).out.split())
    assert norm in out
    assert elsewhere in out


def test_explain_of_an_unknown_word(bakeoff: Command) -> None:
    _assert_refused(bakeoff("explain", "adamw2"), "did you mean adamw?")


@pytest.mark.parametrize(
    "command", ["run", "install", "list", "show", "explain", "report", "doctor"]
)
def test_every_command_has_help_with_an_example(bakeoff: Command, command: str) -> None:
    out = bakeoff(command, "--help").out
    assert f"bakeoff {command}" in out.partition("Example")[2].replace("\n", " ")


def test_a_busy_machine_is_a_warning(
    bakeoff: Command, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_backend", lambda name: doctor.Check(name, True, "ready"))
    monkeypatch.setattr("psutil.getloadavg", lambda: (1000.0, 0.0, 0.0))
    outcome = bakeoff("doctor")
    assert "warning" in outcome.out
    assert "1000.00" in outcome.out
    assert outcome.code == 0


def test_threads_are_counted_by_the_cores_that_may_be_used() -> None:
    script = (
        "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\n"
        "from bakeoff.bench.checks import check_execution; check_execution('cpu', 2)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert "cores that may be used here: 1; ask for at most 1" in done.stderr


def test_doctor_looks_at_every_backend(bakeoff: Command) -> None:
    outcome = bakeoff("doctor")
    assert outcome.code in (0, 1)
    for what in ("Python", "cache folder", "numpy", "torch"):
        assert what in outcome.out


def _assert_refused(outcome: Any, message: str) -> None:
    assert outcome.code == 2, outcome.out + outcome.err
    assert message in outcome.err
    assert outcome.err.startswith("bakeoff: ")
    assert len(outcome.err.strip().splitlines()) == 1
    assert outcome.out == ""
