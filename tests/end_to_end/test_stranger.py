"""What a stranger does with the documents: their own model, adapter and table, a resumed run, the
package.
"""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from end_to_end.conftest import Command

from bakeoff.backends import USUAL

_ROOT = Path(__file__).parents[2]
_README = _ROOT / "README.md"
_EXAMPLE = _ROOT / "backends" / "EXAMPLE.md"
_SUPPORT = _ROOT / "backends" / "SUPPORT.md"


def _block(page: Path, language: str) -> str:
    """A page's one block of code in a language."""
    (block,) = page.read_text(encoding="utf-8").split(f"```{language}\n")[1:]
    return block.partition("```")[0]


def test_the_workload_of_the_readme_runs_as_it_stands(bakeoff: Command) -> None:
    (bakeoff.folder / "my-net.toml").write_text(_block(_README, "toml"), encoding="utf-8")
    rows = bakeoff.rows("my-net.toml", "--seeds", 1)
    assert {row["status"] for row in rows.values()} == {"ok"}
    assert {backend for _, backend in rows} == set(USUAL)


def test_the_adapter_of_the_example_runs_and_conforms(bakeoff: Command) -> None:
    """It is autograd's, which is installed beside the command itself."""
    code = _block(_EXAMPLE, "python")
    assert code.count("\n") < 60
    (bakeoff.folder / "autograd_backend.py").write_text(code, encoding="utf-8")
    rows = bakeoff.rows("boston-mlp", "--seeds", 1, "--epochs", 3, "--dtype", "float64",
                        "--backend", "numpy,./autograd_backend.py")  # fmt: skip
    numpy, autograd = (rows["boston-mlp", name] for name in ("numpy", "autograd_backend"))
    assert autograd["metric"]["mean"] == pytest.approx(numpy["metric"]["mean"], rel=1e-10)
    done = bakeoff("conform", "autograd_backend.py")
    assert " 0 failed" in done.stdout
    assert "not in this example" in done.stdout


def test_conform_names_what_fails(bakeoff: Command) -> None:
    """Twice the gradient: the gradients of a supported loss fail, nothing that is not touched."""
    code = _block(_EXAMPLE, "python").replace("np.mean((z - y) ** 2)", "np.sum((z - y) ** 2)")
    (bakeoff.folder / "wrong.py").write_text(code, encoding="utf-8")
    done = bakeoff("conform", "wrong.py", check=False)
    assert done.returncode == 1
    assert "FAIL test_activations_loss_and_gradients[float64-eager-mse]: " in done.stdout
    assert "FAIL test_weights_survive_the_round_trip" not in done.stdout


def test_conform_of_what_cannot_be_imported_is_one_line(bakeoff: Command) -> None:
    (bakeoff.folder / "broken.py").write_text("import nothing_of_the_kind\n", encoding="utf-8")
    done = bakeoff("conform", "broken.py", check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "nothing_of_the_kind" in done.stderr


def test_conform_on_a_device_that_is_not_there_is_the_adapters_own_line(bakeoff: Command) -> None:
    done = bakeoff("conform", "numpy", "--device", "abacus", check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "numpy cannot be tested: device abacus: this installed build has cpu" in done.stderr


def test_a_users_own_table(bakeoff: Command) -> None:
    lines = ["size,colour,price"]
    for i in range(120):
        colour = "red" if i % 3 else "blue"
        lines.append(f"{i if i % 10 else ''},{colour},{100_000 + 500 * i + 9000 * (i % 3 > 0)}")
    (bakeoff.folder / "houses.csv").write_text("\n".join(lines), encoding="utf-8")
    (bakeoff.folder / "mine.toml").write_text(
        """
        name = "houses"
        dataset = "csv:houses.csv?target=price"
        batch_size = 16
        epochs = 60
        metric = "r2"
        [model]
        name = "houses"
        input = [3]
        layers = [{ type = "dense", name = "output", units = 1 }]
        loss = { type = "mse" }
        optimizer = { type = "sgd", learning_rate = 0.0625 }
        """,
        encoding="utf-8",
    )
    for row in bakeoff.rows("mine.toml", "--seeds", 1).values():
        assert row["status"] == "ok"
        assert row["metric"]["mean"] > 0.5


def test_list_show_and_doctor_see_the_environments(bakeoff: Command) -> None:
    out = bakeoff("list").stdout
    assert "eager" in out
    assert "compiled" in out
    assert "61,706" in bakeoff("show", "lenet5").stdout
    doctor = bakeoff("doctor", check=False)
    assert "torch" in doctor.stdout
    assert "Traceback" not in doctor.stderr


def test_the_support_matrix_is_that_of_the_adapters(bakeoff: Command) -> None:
    assert bakeoff("list", "--matrix").stdout in _SUPPORT.read_text(encoding="utf-8")


def test_install_again_does_nothing(bakeoff: Command) -> None:
    assert "Collecting" not in bakeoff("install").stdout


def test_a_broken_environment_is_made_anew(
    tmp_path: Path, environment: dict[str, str], installed: None
) -> None:
    own = Command(tmp_path, environment | {"XDG_DATA_HOME": str(tmp_path / "data")})
    half_made = tmp_path / "data" / "bakeoff" / "environments" / "numpy"
    (half_made / "bin").mkdir(parents=True)
    (half_made / "bin" / "python").touch()
    own("install", "numpy")
    found = subprocess.run(
        [half_made / "bin" / "python", "-c", "import msgspec, numpy; print(numpy.__version__)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == "2.4.6"


def test_run_resume_and_report(bakeoff: Command) -> None:
    bakeoff("run", "boston-linear", "--seeds", 1, "--epochs", 3, "--output", "out")
    journal = bakeoff.folder / "out/jobs/boston-linear/torch-eager-0/records.jsonl"
    text = journal.read_bytes()
    journal.write_bytes(text[: len(text) // 2])
    bakeoff("run", "--resume", "out")
    summary = json.loads((bakeoff.folder / "out/summary.json").read_bytes())
    assert {row["status"] for row in summary["rows"]} == {"ok"}
    (bakeoff.folder / "out/report.md").unlink()
    bakeoff("report", "out")
    assert "boston-linear" in (bakeoff.folder / "out/report.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def fresh_python(tmp_path_factory: pytest.TempPathFactory, source: Path) -> Path:
    """An environment made as the README says: `pip install .`, dependencies and all."""
    folder = tmp_path_factory.mktemp("fresh") / "venv"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", source], check=True)
    return python


@pytest.mark.parametrize("kind", ["wheel", "sdist", "editable"])
def test_every_kind_of_install_works(
    kind: str, source: Path, fresh_python: Path, tmp_path: Path
) -> None:
    target = ["--editable", str(source)]
    if kind != "editable":
        target = [str(_build(kind, source, tmp_path))]
    install = ["install", "--quiet", "--no-deps", "--force-reinstall", *target]
    subprocess.run([fresh_python, "-m", "pip", *install], check=True)
    command = [fresh_python.with_name("bakeoff"), "run", "boston-linear", "--backend", "numpy"]
    out = subprocess.run(
        [*command, "--seeds", "1", "--epochs", "1", "--json"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )
    assert json.loads(out.stdout)["rows"][0]["status"] == "ok"


def _build(kind: str, source: Path, folder: Path) -> Path:
    command = [sys.executable, "-m", "build", f"--{kind}", "--outdir", str(folder), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    return next(folder.glob("bakeoff-*"))


def test_a_wheel_holds_one_package_and_all_its_data(source: Path, tmp_path: Path) -> None:
    names = zipfile.ZipFile(_build("wheel", source, tmp_path)).namelist()
    assert {name.partition("/")[0] for name in names} == {"bakeoff", "bakeoff-0.1.0.dist-info"}
    for path in source.rglob("*"):
        relative = path.relative_to(source)
        ours = relative.parts[0] in ("models", "datasets", "backends", "bench")
        left_out = "__pycache__" in relative.parts or path.suffix in (".ipynb", ".md", ".png")
        if ours and path.is_file() and not left_out:
            inside = relative.as_posix().removeprefix("bench/interface/")
            assert f"bakeoff/{inside}" in names
