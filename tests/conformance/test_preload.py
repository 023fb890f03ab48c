"""What a framework would load in its first build and block is loaded before, as import."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from bakeoff.backends.contract import Mode

_SCRIPT = """
import re
import sys
import numpy as np
from bakeoff import backends, models
from bakeoff.backends.contract import Execution
from bakeoff.models.init import initial_weights
adapter = backends.load(sys.argv[1], sys.argv[2])
model = models.read("linear")
execution = Execution("cpu", "float32", sys.argv[2], 1)
weights = initial_weights(model, 0, "float32")
before = set(sys.modules)
trainer = adapter.build(model, weights, execution, seed=0, state=None)
x, y = np.ones((4, *model.input), "float32"), np.ones((4, 1), "float32")
trainer.train([trainer.stage(x, y, None)])
trainer.predict(x)
made = re.compile(r".*[.]kernel|.*[.]compile_tasks[.].*")  # by Inductor, for this model
print(*sorted(name for name in set(sys.modules) - before if not made.fullmatch(name)))
"""


def test_the_first_block_imports_nothing(request: pytest.FixtureRequest, mode: Mode) -> None:
    backend = request.config.getoption("--backend")
    done = subprocess.run(
        [sys.executable, "-P", "-c", _SCRIPT, backend, mode],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
