"""The notebook runs, and shows what is kept in it; so does a script that guards nothing."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

_NOTEBOOK = Path(__file__).parents[2] / "bench" / "notebook.ipynb"
_JUPYTER = Path(sys.executable).with_name("jupyter-execute")


def _shown(path: Path) -> list[tuple[int, set[str]]]:
    """Return of each cell of code its number, and what kinds of output it has."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [
        (cell["execution_count"], {kind for output in cell["outputs"] for kind in _kinds(output)})
        for cell in cells
        if cell["cell_type"] == "code"
    ]


def _kinds(output: dict[str, Any]) -> list[str]:
    return [output["output_type"], output.get("name", ""), *output.get("data", ())]


@pytest.mark.usefixtures("installed")
def test_the_notebook_shows_what_is_kept_in_it(tmp_path: Path, environment: dict[str, str]) -> None:
    copy = Path(shutil.copy(_NOTEBOOK, tmp_path))
    done = subprocess.run(
        [_JUPYTER, "--inplace", copy], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    kept = _shown(_NOTEBOOK)
    assert _shown(copy) == kept
    assert [number for number, _ in kept] == list(range(1, len(kept) + 1))
    assert not any("stderr" in kinds for _, kinds in kept)
    for notebook in (_NOTEBOOK, copy):  # no live display: a cell obeys no cursor
        assert "\\u001b" not in notebook.read_text(encoding="utf-8")


@pytest.mark.usefixtures("installed")
def test_a_script_needs_no_guard(tmp_path: Path, environment: dict[str, str]) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import bakeoff\n"
        "print('once')\n"
        "run = bakeoff.run('line-linear', backends=['numpy', 'torch'], seeds=2, epochs=2)\n"
        "print(run.to_frame().comparable.tolist())\n",
        encoding="utf-8",
    )
    done = subprocess.run(
        [sys.executable, script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "once\n[True, True]\n"), done.stderr
