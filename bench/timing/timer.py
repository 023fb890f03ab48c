"""The timing worker: one process that times one case, block by block, and writes down each.

Run as `python -P -m bakeoff.bench.timing.timer FOLDER`, in the backend's own interpreter. A rival
has a process of its own (`--rival FOLDER`), so that what a framework sets for a process is not
shared; the two take turns, and the one that waits does nothing.
"""

from __future__ import annotations

import importlib
import math
import os
import platform
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import count, islice
from pathlib import Path
from time import perf_counter, process_time, sleep
from typing import Any, NamedTuple

import msgspec
import numpy as np
from msgspec import structs

from ... import backends
from ...backends.blocks import gather
from ...backends.contract import Adapter, Trainer, Unsupported
from ...models.init import initial_weights
from ..feeding import feeder, stage
from ..files import read_arrays
from ..parity.probes import draw
from ..records import Built, Failed, Feed, FirstSteps, Measured, Refused, Sample, Started
from ..worker import Emit, cast_targets, emitter, one_line, peak_rss_mb
from .task import Task
from .task import read as read_task

_SECONDS = 4.0  # of blocks, of all feeds together, unless the budget is smaller
_RIVAL_SECONDS = 12.0  # the same beside a rival, whose ratio has to be good to a few per cent
_REST_SECONDS = 0.25  # before such a turn: idle threads spin, those of Intel's OpenMP for 0.2 s
_LEAST_ROUNDS = 5
_MOST_SECONDS = 60.0  # then three are enough
_SAMPLE_SECONDS = 0.1
_LATENCIES = 30
_SPLITS = 10
_WARM_UP = 3

Block = Callable[[], object]  # `steps` steps, synchronised once
Train = Callable[[np.ndarray], object]  # on the rows of an order, [steps, batch]
Take = Callable[[], Sample]  # the turn of a feed, in round 0


def main(folder: Path) -> int:
    """Time the task in the folder. Returns the exit code."""
    with emitter(folder / "records.jsonl") as emit:
        try:
            _time(read_task(folder), folder, emit)
        except Unsupported as refusal:
            emit(Refused(reason=str(refusal)))
        except Exception as error:
            emit(Failed(reason=one_line(error), traceback=traceback.format_exc()))
            return 1
    return 0


class Case(NamedTuple):
    """A task with what it needs: the adapter, its arrays, and the order of its samples."""

    task: Task
    adapter: Adapter
    weights: dict[str, np.ndarray]
    x: np.ndarray
    y: np.ndarray
    order: np.ndarray  # [steps, batch]

    def build(self) -> Trainer:
        """Build the trainer."""
        task = self.task
        return self.adapter.build(task.model, self.weights, task.execution, seed=0, state=None)

    def stage(self, trainer: Trainer) -> list[Any]:
        """Gather and stage the batches of one block."""
        return stage(trainer, self.x, self.y, self.task.execution.dtype, self.order)

    def train(self, trainer: Trainer) -> Train:
        """Return the training on given rows, their batches made ready in the fastest way."""
        feed = feeder(trainer, self.x, self.y, self.task.execution.dtype)
        return lambda order: trainer.train(feed(order))


def read_inputs(
    task: Task, folder: Path
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, np.ndarray]:
    """Return the weights, x and y in the dtypes of the task, and the order [steps, batch]."""
    dtype = task.execution.dtype
    arrays = read_arrays(folder / task.inputs)
    x, y = arrays.pop("x"), cast_targets(task.model, arrays.pop("y"), dtype)
    order = np.resize(arrays.pop("order"), (task.steps, task.batch_size))
    weights = {name: value.astype(dtype) for name, value in arrays.items()}
    return weights, x.astype(dtype, copy=False), y, order


def with_random_data(task: Task, adapter: Adapter) -> Case:
    """Return a task with data drawn here: for a benchmark that nobody prepared."""
    x, y = draw(task.model, task.batch_size, step=0)
    dtype = task.execution.dtype
    y = y if y.dtype.kind == "i" else y.astype(dtype)
    order = np.tile(np.arange(task.batch_size), (task.steps, 1))
    weights = initial_weights(task.model, 0, dtype)
    return Case(task, adapter, weights, x.astype(dtype), y, order)


def blocks(case: Case, trainer: Trainer) -> dict[Feed, Block]:
    """Return what is timed, by how its batches come: staged before, or fed from the host.

    Prediction takes host arrays and returns them: it is `staged` alone, its batches gathered.
    """
    task = case.task
    if task.phase == "infer":
        batches = gather(case.x, case.order)
        return {"staged": lambda: [trainer.predict(x) for x in batches]}
    staged = case.stage(trainer)
    return {
        "staged": lambda: trainer.train(staged),
        "fed": partial(case.train(trainer), case.order),
    }


@contextmanager
def _rival(folder: Path, environment: dict[str, str]) -> Iterator[Take]:
    """Start a rival in a process of its own; give the function by which it takes its turn.

    The environment is what this process began with: an adapter's own settings are not the rival's.

    Raises Unsupported where there is no such net by hand.
    """
    command = [sys.executable, "-P", "-m", "bakeoff.bench.timing.timer", "--rival", str(folder)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    ) as process:
        assert process.stdin
        assert process.stdout
        ask, answers = process.stdin, process.stdout

        def hear() -> bytes:
            answer = answers.readline()
            if not answer:
                raise RuntimeError("the rival's process has ended; see log.txt")
            return answer

        def take_turn() -> Sample:
            ask.write(b"\n")
            ask.flush()
            return msgspec.json.decode(hear(), type=Sample)

        if refusal := hear().strip():
            raise Unsupported(refusal.decode())
        yield take_turn
        ask.close()


def serve(folder: Path) -> None:
    """Be the rival: answer every line of stdin with the sample of one turn."""
    with os.fdopen(os.dup(1), "wb", buffering=0) as answers:
        os.dup2(2, 1)  # what the library prints goes to the log
        task = read_task(folder)
        rival = importlib.import_module(f"..{task.rival}", __package__)
        mode, threads = task.execution.mode, task.execution.threads
        if mode not in rival.MODES or task.model.name not in rival.WORKLOADS:
            answers.write(f"{task.rival} has no {mode} {task.model.name}\n".encode())
            return
        _, x, y, order = read_inputs(task, folder)
        train = rival.prepare(task.model.name, x, y, mode=mode, threads=threads)
        take = _taking_turns(train, order, "rival")
        answers.write(b"\n")
        for _ in sys.stdin.buffer:
            answers.write(msgspec.json.encode(take()) + b"\n")


def _confine(threads: int) -> None:
    """Keep this process, and the rival that it starts, on as many cores as each has threads.

    Else the one whose core has a neighbour, outside this virtual machine even, would lose.
    """
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def _time(task: Task, folder: Path, emit: Emit) -> None:
    if task.rival:
        _confine(task.execution.threads)
    environment = dict(os.environ)  # an adapter may add to it
    began = perf_counter()
    adapter = backends.load(task.adapter)
    emit(
        Started(
            python=platform.python_version(),
            framework_version=adapter.version(),
            numpy_version=np.__version__,
            import_seconds=perf_counter() - began,
            pid=os.getpid(),
        )
    )
    case = Case(task, adapter, *read_inputs(task, folder))
    baseline = _rss_mb()
    began = perf_counter()
    trainer = case.build()
    parameters = sum(weight.size for weight in case.weights.values())
    emit(Built(build_seconds=perf_counter() - began, parameters=parameters))
    emit(_first_steps(case, trainer))
    compilations = partial(_instrument, trainer, "compilations", lambda: None)
    with ExitStack() as stack:
        if task.rival:
            ours = _taking_turns(case.train(trainer), case.order, "fed", compilations)
            feeds = [ours, stack.enter_context(_rival(folder, environment))]
        else:
            found = blocks(case, trainer).items()
            feeds = [_taking(block, feed, compilations) for feed, block in found]
        rest = _REST_SECONDS if task.rival and task.execution.threads > 1 else 0.0
        for number, takes in _rounds(feeds, _seconds(task)):
            for take in takes:
                sleep(rest)
                emit(structs.replace(take(), round=number))
    device = task.execution.device
    emit(
        Measured(
            latencies=_latencies(case, trainer),
            split=_split(case, trainer),
            peak_rss_mb=peak_rss_mb() - baseline,
            device_memory_mb=_device_memory_mb(adapter, device),
            settings=_instrument(adapter, "settings", dict, task.execution),
        )
    )


def _seconds(task: Task) -> float:
    return min(_RIVAL_SECONDS if task.rival else _SECONDS, task.budget)


def _first_steps(case: Case, trainer: Trainer) -> FirstSteps:
    """Time the staging of one batch and the first step, or the first prediction."""
    rows = case.order[0]
    x, y = case.x.take(rows, 0), case.y.take(rows, 0)
    if case.task.phase == "infer":
        began = perf_counter()
        trainer.predict(x)
        return FirstSteps(stage_seconds=0.0, step_seconds=perf_counter() - began)
    trainer.stage(x, y, None)  # the very first touches memory that no later one does
    began = perf_counter()
    batch = trainer.stage(x, y, None)
    staged = perf_counter()
    trainer.train([batch])
    return FirstSteps(stage_seconds=staged - began, step_seconds=perf_counter() - staged)


def _taking(
    block: Block, feed: Feed, compilations: Callable[[], int | None] = lambda: None
) -> Take:
    """Run the first block of its length, which may compile, and the next, which tells how many of
    them make a sample that is long against the clock of the machine's load (10 ms).
    """
    block()
    began = perf_counter()
    block()
    calls = math.ceil(_SAMPLE_SECONDS / (perf_counter() - began))
    return lambda: _sample(feed, block, calls, compilations)


def _taking_turns(
    train: Train,
    order: np.ndarray,
    feed: Feed,
    compilations: Callable[[], int | None] = lambda: None,
) -> Take:
    """As `_taking`, of a block on `order`, for both of two that take turns.

    A turn begins with a step that is not timed: the other's left caches cold and threads asleep.
    The very first comes before any block, on either side: what it compiles and frees decides where
    the memory of the blocks lies.
    """
    step = partial(train, order[:1])
    step()
    take = _taking(partial(train, order), feed, compilations)

    def warm_up_and_take() -> Sample:
        step()
        return take()

    return warm_up_and_take


def _rounds(feeds: list[Take], enough: float) -> Iterator[tuple[int, Iterable[Take]]]:
    """Yield number and order of each round, every other one backwards, for `enough` seconds."""
    began = perf_counter()
    for number in count():
        if _is_enough(number, perf_counter() - began, enough):
            return
        yield number, feeds if number % 2 == 0 else reversed(feeds)


def _is_enough(rounds: int, seconds: float, enough: float) -> bool:
    if rounds < _LEAST_ROUNDS:
        return rounds >= 3 and seconds > _MOST_SECONDS
    return seconds > enough


def _sample(feed: Feed, block: Block, calls: int, compilations: Callable[[], int | None]) -> Sample:
    others, cpu, began = _busy_seconds(), process_time(), perf_counter()
    for _ in range(calls):
        block()
    seconds = perf_counter() - began
    used = process_time() - cpu
    now = _busy_seconds()
    foreign = None
    if others is not None and now is not None:
        foreign = max(0.0, now - others - used) / seconds
    return Sample(
        feed=feed,
        round=0,
        seconds=seconds / calls,
        cpu_seconds=used / calls,
        foreign_cores=foreign,
        load=os.getloadavg()[0],
        compilations=compilations(),
    )


def _busy_seconds() -> float | None:
    """Return the CPU seconds that the whole machine has spent, if it tells."""
    try:
        words = Path("/proc/stat").read_text(encoding="ascii").split(maxsplit=9)
    except OSError:
        return None
    user, nice, system, _idle, _waiting, hard, soft, stolen = map(int, words[1:9])
    return (user + nice + system + hard + soft + stolen) / os.sysconf("SC_CLK_TCK")


def _latencies(case: Case, trainer: Trainer) -> list[float]:
    """Return the seconds of single predictions of one sample."""
    x = case.x[:1]
    found = []
    for _ in range(_WARM_UP + _LATENCIES):
        began = perf_counter()
        trainer.predict(x)
        found.append(perf_counter() - began)
    return found[_WARM_UP:]


def _split(case: Case, trainer: Trainer) -> dict[str, float]:
    """Return the median seconds of each part of a step, if the trainer can split it."""
    if case.task.phase == "infer" or not hasattr(trainer, "split"):
        return {}
    batches = islice(case.stage(trainer) * (_WARM_UP + _SPLITS), _WARM_UP + _SPLITS)
    parts = [trainer.split(batch) for batch in batches][_WARM_UP:]
    return {name: float(np.median([part[name] for part in parts])) for name in parts[0]}


def _instrument(owner: object, name: str, default: Callable[[], Any], *arguments: Any) -> Any:
    """Ask for what an adapter or trainer may have, and need not."""
    return getattr(owner, name, lambda *_: default())(*arguments)


def _device_memory_mb(adapter: Adapter, device: str) -> float | None:
    used = _instrument(adapter, "device_memory", lambda: None, device)
    return None if used is None else used / 2**20


def _rss_mb() -> float:
    """Return what the process holds now, as its peak so far where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return peak_rss_mb()
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    if sys.argv[1] == "--rival":
        serve(Path(sys.argv[2]))
    else:
        sys.exit(main(Path(sys.argv[1])))
