"""A backend that behaves as its file is called: the NumPy one, until a job's second epoch, or its
first turn in a benchmark.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from msgspec import structs

from bakeoff.backends import numpy as real
from bakeoff.backends.contract import Unsupported
from bakeoff.backends.numpy import *  # noqa: F403
from bakeoff.bench.worker import files

BEHAVIOUR = Path(__file__).stem
MODES, UNSUPPORTED, DEVIATIONS = real.MODES, real.UNSUPPORTED, real.DEVIATIONS
TYPICAL = ("eager", "it is NumPy's")

if BEHAVIOUR == "unimportable":
    import a_framework_that_is_not_there  # noqa: F401


def build(model, weights, execution, *, seed, state):
    if BEHAVIOUR == "refuses":
        raise Unsupported('"output" (dense): for the sake of <this> test')
    if BEHAVIOUR == "both":  # modes
        execution = structs.replace(execution, mode="eager")
    if BEHAVIOUR == "fills_the_disk":
        allow_small_files()
    if BEHAVIOUR == "chatters":
        sys.stdout.write("noise on stdout\n")
        sys.stderr.write("noise on stderr\n")
    if BEHAVIOUR == "counts":
        with Path(__file__).with_name("asked").open("a") as file:
            file.write("x")
    if BEHAVIOUR == "dies_when_asked":
        os.kill(os.getpid(), signal.SIGKILL)
    if BEHAVIOUR == "hangs_when_asked":
        time.sleep(600)
    if BEHAVIOUR == "has_its_threads_for_life":
        assert os.environ["OMP_NUM_THREADS"] == str(execution.threads)
    if BEHAVIOUR == "doubles":  # the learning rate
        faster = structs.replace(model.optimizer, learning_rate=2 * model.optimizer.learning_rate)
        model = structs.replace(model, optimizer=faster)
    trainer = real.build(model, weights, execution, seed=seed, state=state)
    calls = []

    def train(batches, train=trainer.train):
        calls.append(batches)
        if BEHAVIOUR.startswith("signs"):
            with Path(__file__).with_name("signed").open("a") as file:
                file.write(BEHAVIOUR[-1])
        # Not while it is being certified. Seven calls make a benchmark of two feeds ready.
        if (len(calls) == 2 and Path("job.json").exists()) or (
            len(calls) == 8 and Path("task.json").exists()
        ):
            misbehave()
        losses = train(batches)
        return losses * float("nan") if BEHAVIOUR == "diverges" else losses

    trainer.train = train
    return trainer


def allow_small_files():
    """Let whatever is written behind the journal's first lines meet a disk without room."""
    write = files.whole

    @contextlib.contextmanager
    def whole(path):
        with write(path) as file:
            yield file
            raise OSError(28, "No space left on device")

    files.whole = whole


def misbehave():
    match BEHAVIOUR:
        case "raises":
            raise RuntimeError("out of\nluck")
        case "exits":
            os._exit(3)
        case "is_killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "hangs" if not (Path(__file__).parent / "mended").exists():
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            Path("child.pid").write_text(str(child.pid))
            time.sleep(600)
        case "recovers":  # fails until a file in the parent's folder says otherwise
            if not (Path(__file__).parent / "mended").exists():
                raise RuntimeError("not yet")
