"""The ladder on the real frameworks: right ones pass, a wrong one is caught and named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from end_to_end.conftest import Command

from bakeoff.backends import USUAL

_ADAPTERS = Path(__file__).parents[2] / "backends"


def _certificates(bakeoff: Command, *arguments: str | Path, check: bool = True) -> list[Any]:
    done = bakeoff("parity", *arguments, "--json", check=check)
    found: list[Any] = json.loads(done.stdout)
    return found


def test_every_backend_is_certified_in_every_execution(bakeoff: Command) -> None:
    """Convolutions, batch norm, recurrences, attention, Adam, momentum: in six backends."""
    models = ("lenet5", "mnist-rows-gru", "transformer-tiny", "digits-mlp")
    found = _certificates(bakeoff, *models, "--steps", 4)
    verdicts = {(c["backend"], c["model"], *c["execution"].values()): c["verdict"] for c in found}
    assert len(verdicts) == len(USUAL) * len(models) * 4
    unsupported = {name[:2] for name, verdict in verdicts.items() if verdict == "unsupported"}
    assert unsupported == {*(("numpy", m) for m in models), ("torch", "mnist-rows-gru")}
    assert set(verdicts.values()) == {"pass", "unsupported"}


def test_a_wrong_epsilon_in_a_copy_of_an_adapter_is_named(
    bakeoff: Command, environment: dict[str, str]
) -> None:
    """As somebody would write it by hand: ten times the epsilon that the spec has."""
    folder = bakeoff.folder / "wrong"
    shutil.copytree(_ADAPTERS / "torch", folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in folder.glob("*.py"):
        code = file.read_text(encoding="utf-8")
        code = code.replace("from ...models", "from bakeoff.models")
        code = code.replace("from ..contract", "from bakeoff.backends.contract")
        file.write_text(code, encoding="utf-8")
    code = (folder / "optimizers.py").read_text(encoding="utf-8")
    wrong = code.replace("eps=optimizer.epsilon", "eps=10 * optimizer.epsilon")
    assert wrong != code
    (folder / "optimizers.py").write_text(wrong, encoding="utf-8")
    home = Path(environment["XDG_DATA_HOME"])
    python = home / "bakeoff" / "environments" / "torch" / "bin" / "python"
    done = bakeoff("parity", "lenet5", "--backend", "wrong/__init__.py",
                   "--python", f"wrong={python}", "--mode", "eager", check=False)  # fmt: skip
    assert done.returncode == 1
    assert "epsilon is ten times as large" in done.stdout.replace("\n", " ")
