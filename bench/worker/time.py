"""The timing worker: one process that times one case, a turn whenever it is told to.

Run as `python -P -m bakeoff.bench.worker.time FOLDER`, in the backend's own interpreter. It makes
the case ready and says so with an empty line on stdout; then every line of stdin, a feed, the
number of a round, and whether its last block is noted for an audit, is one turn, answered likewise
when it is over. In between it does nothing. At the end of stdin it measures the rest and ends.
"""

from __future__ import annotations

import importlib
import math
import os
import platform
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, NamedTuple

import numpy as np

from ... import backends
from ...backends.blocks import gather
from ...backends.contract import Adapter, Trainer, Unsupported
from ...models.init import initial_weights
from . import notes
from .describe import settings
from .draw import draw
from .evidence import standing
from .feeding import Feeder, feeder, stage
from .files import hashes
from .memory import peak_rss_mb, rss_mb
from .parent import end_with_parent, leave
from .records import (
    Built,
    Emit,
    Feed,
    FirstSteps,
    Measured,
    Refused,
    Sample,
    Started,
    emitter,
    fail,
)
from .task import Task, read_inputs
from .task import read as read_task

_SAMPLE_SECONDS = 0.1
_WAKE_SECONDS = 0.1
_LATENCIES = 30
_SPLITS = 10
_WARM_UP = 3

Train = Callable[[int], Any]  # that many steps, the first of a block, synchronised once
Turns = Iterator[tuple[str, int, bool]]  # feed, round, whether it is noted; the next ends the last
Take = Callable[[int, bool], Sample]  # a feed's turn in the round of that number
Block = Callable[[], Any]  # losses, or the logits of each batch


def main(folder: Path) -> int:
    """Time the task in the folder. Returns the exit code."""
    answers = os.dup(1)
    os.dup2(2, 1)  # what a framework prints goes to the log
    with emitter(folder / "records.jsonl") as emit:
        try:
            task = read_task(folder)
            if task.rival:
                _confine(task.execution.threads)
            work = _time_rival if task.as_rival else time_task
            work(task, folder, emit, _turns(answers))
        except Unsupported as refusal:
            emit(Refused(reason=str(refusal)))
        except Exception as error:
            return fail(emit, error)
    return 0


def _turns(answers: int) -> Turns:
    """Yield the turns that are asked for, and answer each when the next one is awaited."""
    os.write(answers, b"\n")
    for line in sys.stdin:
        feed, number, noted = line.split()
        yield feed, int(number), noted == "noted"
        os.write(answers, b"\n")


class Setup(NamedTuple):
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

    def feeder(self, trainer: Trainer) -> Feeder:
        """Return the fastest way to batches from the host."""
        return feeder(trainer, self.x, self.y, self.task.execution.dtype)


def with_random_data(task: Task, adapter: Adapter) -> Setup:
    """Return a task with data drawn here: for a benchmark that nobody prepared."""
    x, y = draw(task.model, task.batch_size, step=0)
    dtype = task.execution.dtype
    y = y if y.dtype.kind == "i" else y.astype(dtype)
    order = np.tile(np.arange(task.batch_size), (task.steps, 1))
    weights = initial_weights(task.model, 0, dtype)
    return Setup(task, adapter, weights, x.astype(dtype), y, order)


def staged(setup: Setup, trainer: Trainer) -> Train:
    """Return the training on batches that are staged before; or the prediction."""
    if setup.task.phase == "infer":
        return predicting(setup, trainer, np.arange(setup.task.batch_size))
    block = setup.stage(trainer)
    return lambda steps: trainer.train(block[:steps])


def predicting(setup: Setup, trainer: Trainer, rows: np.ndarray) -> Train:
    """Return the prediction of the batches, the rows of each in this order."""
    batches = gather(setup.x, setup.order[:, rows])
    return lambda steps: [trainer.predict(x) for x in batches[:steps]]


class Fed:
    """The training on batches that come from the host, in the fastest way.

    A block begins one batch behind where the one before began, `first`, so that none is asked for
    what the last one was.
    """

    def __init__(self, setup: Setup, trainer: Trainer) -> None:
        self.first = 0
        self._train, self._feed = trainer.train, setup.feeder(trainer)
        self._orders = [np.roll(setup.order, -n, axis=0) for n in range(len(setup.order))]

    def __call__(self, steps: int) -> np.ndarray:
        self.first = (self.first + 1) % len(self._orders)
        return self._train(self._feed(self._orders[self.first][:steps]))


def _confine(threads: int) -> None:
    """Keep this process on as many cores as it has threads, the same as its rival's.

    Else the one whose core has a neighbour, outside this virtual machine even, would lose.
    """
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def time_task(task: Task, folder: Path, emit: Emit, turns: Turns) -> None:
    """Make a case ready, take the turns that are asked for, measure the rest."""
    began = perf_counter()
    adapter = backends.load(task.adapter, task.execution.mode)
    emit(
        Started(
            python=platform.python_version(),
            framework_version=adapter.version(),
            numpy_version=np.__version__,
            import_seconds=perf_counter() - began,
            pid=os.getpid(),
        )
    )
    setup = Setup(task, adapter, *read_inputs(task, folder))
    baseline = rss_mb()
    began = perf_counter()
    trainer = setup.build()
    parameters = sum(weight.size for weight in setup.weights.values())
    emit(
        Built(
            build_seconds=perf_counter() - began,
            parameters=parameters,
            deviations=list(adapter.DEVIATIONS.values()),
        )
    )
    emit(_first_steps(setup, trainer))
    compilations = partial(_instrument, trainer, "compilations", lambda: None)
    takes: dict[str, Take] = {}
    for feed in task.feeds:
        train = Fed(setup, trainer) if feed == "fed" else staged(setup, trainer)
        noted = partial(_noted, setup, trainer, train, folder / notes.FOLDER, feed)
        takes[feed] = _taking(feed, train, task, compilations, noted)
    _take(turns, takes, emit)
    device = task.execution.device
    emit(
        Measured(
            latencies=_latencies(setup, trainer),
            split=_split(setup, trainer),
            peak_rss_mb=peak_rss_mb() - baseline,
            device_memory_mb=_device_memory_mb(adapter, device),
            settings=settings(adapter, task.execution),
            files=hashes(folder, f"{notes.FOLDER}/*.npz"),
        )
    )


def _time_rival(task: Task, folder: Path, emit: Emit, turns: Turns) -> None:
    """Time the same net by hand, in no code of ours.

    Raises Unsupported where there is none.
    """
    rival = importlib.import_module(f"..rivals.{task.rival}", __package__)
    name, mode, threads = task.model.name, task.execution.mode, task.execution.threads
    if mode not in rival.MODES or name not in rival.WORKLOADS:
        raise Unsupported(f"{task.rival} has no {mode} {name}")
    _, x, y, order = read_inputs(task, folder)
    train = rival.prepare(name, x, y, mode=mode, threads=threads)
    _take(turns, {"fed": _taking("fed", lambda steps: train(order[:steps]), task)}, emit)
    emit(
        Measured(
            latencies=[],
            split={},
            peak_rss_mb=peak_rss_mb(),
            device_memory_mb=None,
            settings={},
        )
    )


def _take(turns: Turns, takes: Mapping[str, Take], emit: Emit) -> None:
    for feed, number, noted in turns:
        emit(takes[feed](number, noted))


def _first_steps(setup: Setup, trainer: Trainer) -> FirstSteps:
    """Time the staging of one batch and the first step, or the first prediction."""
    if setup.task.phase == "infer":
        x = setup.x.take(setup.order[0], 0)
        began = perf_counter()
        trainer.predict(x)
        return FirstSteps(stage_seconds=0.0, step_seconds=perf_counter() - began)
    staging = _staging_of_first(setup, trainer)
    staging()  # the very first touches memory that no later one does
    began = perf_counter()
    batches = staging()
    staged_at = perf_counter()
    trainer.train(batches)
    return FirstSteps(stage_seconds=staged_at - began, step_seconds=perf_counter() - staged_at)


def _staging_of_first(setup: Setup, trainer: Trainer) -> Callable[[], Iterable[Any]]:
    """Return what makes the first batch, of the kind that the task's first feed has.

    Another kind compiles a second program. Beside a rival, which has none such, all steps are fed,
    and the memory of a second one made Keras's LSTM slower by 1.5 %.
    """
    if setup.task.feeds[0] == "fed":
        return partial(setup.feeder(trainer), setup.order[:1])
    x, y = setup.x.take(setup.order[0], 0), setup.y.take(setup.order[0], 0)
    return lambda: [trainer.stage(x, y, None)]


def _taking(
    feed: Feed,
    train: Train,
    task: Task,
    compilations: Callable[[], int | None] = lambda: None,
    noted: Callable[[int, Block], Spent] | None = None,
) -> Take:
    """Make ready to take turns: run a step, the first block of its length, which may compile, and
    the next, which tells how many of them make a sample that is long against the clock of the
    machine's load (10 ms), and short against the bursts of a neighbour.

    A turn begins with steps that are not timed: others' turns left caches cold and threads asleep,
    and cores that rested wake each other slowly (Keras's LeNet on two, in a virtual machine, takes
    1.2 to 1.4 times as long for 40 ms).
    The very first comes before any block: what it compiles and frees decides where the memory of
    the blocks lies, for an adapter and for its rival.
    """
    block = partial(train, task.steps)
    train(1)
    block()
    began = perf_counter()
    block()
    calls = math.ceil(_SAMPLE_SECONDS / (perf_counter() - began))
    wake_seconds = _WAKE_SECONDS if task.execution.threads > 1 else 0.0

    def take(number: int, is_noted: bool) -> Sample:
        began = perf_counter()
        train(1)
        while perf_counter() - began < wake_seconds:
            train(1)
        last = partial(noted, number, block) if noted and is_noted else None
        return _sample(feed, number, block, calls, compilations, last)

    return take


def _sample(
    feed: Feed,
    number: int,
    block: Block,
    calls: int,
    compilations: Callable[[], int | None],
    last: Callable[[], Spent] | None,
) -> Sample:
    """Time that many blocks; the last of them between notes, if they are asked for."""
    spent = _spent(lambda: [block() for _ in range(calls - (last is not None))])
    if last:
        spent = spent.with_more(last())
    return Sample(
        feed=feed,
        round=number,
        seconds=spent.wall / calls,
        cpu_seconds=spent.own / calls,
        foreign_cores=None if spent.foreign is None else spent.foreign / spent.wall,
        load=os.getloadavg()[0],
        compilations=compilations(),
    )


class Spent(NamedTuple):
    """Seconds of the clock, of this process's CPU, and of that of all others, if it is told."""

    wall: float
    own: float
    foreign: float | None

    def with_more(self, more: Spent) -> Spent:
        foreign = None
        if self.foreign is not None and more.foreign is not None:
            foreign = self.foreign + more.foreign
        return Spent(self.wall + more.wall, self.own + more.own, foreign)


def _spent(work: Callable[[], object]) -> Spent:
    others, cpu, began = _busy_seconds(), process_time(), perf_counter()
    work()
    wall = perf_counter() - began
    own = process_time() - cpu
    now = _busy_seconds()
    foreign = None if others is None or now is None else max(0.0, now - others - own)
    return Spent(wall, own, foreign)


def _noted(
    setup: Setup,
    trainer: Trainer,
    train: Train,
    folder: Path,
    feed: Feed,
    number: int,
    block: Block,
) -> Spent:
    """Time a block; note, outside the clock, where it began, where it ended, and what it gave."""
    results: list[Any] = []
    before = standing(trainer)
    spent = _spent(lambda: results.append(block()))
    after = standing(trainer)
    if setup.task.phase == "train":
        first = train.first if isinstance(train, Fed) else 0
        rows = setup.order[first]
        batch = trainer.stage(setup.x.take(rows, 0), setup.y.take(rows, 0), None)
        seen = notes.masked(setup.task.model, trainer, batch)
        seen |= {"losses": results[0], "first": np.array(first)}
    else:
        seen = _asked_again(setup, trainer, results[0], spent.wall)
    notes.write(folder / f"{feed}-{number}.npz", before, after, seen)
    return spent


def _asked_again(
    setup: Setup, trainer: Trainer, timed: list[np.ndarray], seconds: float
) -> dict[str, np.ndarray]:
    """Return the logits of a block, and those of its rows in orders that were never asked for."""
    seen, times = {"logits/0": np.stack(timed)}, [seconds]
    for number, rows in list(enumerate(notes.orders(setup.task.batch_size)))[1:]:
        predict = predicting(setup, trainer, rows)
        began = perf_counter()
        logits = predict(setup.task.steps)
        times.append(perf_counter() - began)
        seen[f"logits/{number}"] = np.stack(logits)
    return seen | {"seconds": np.array(times)}


def _busy_seconds() -> float | None:
    """Return the CPU seconds that the whole machine has spent, if it tells."""
    try:
        words = Path("/proc/stat").read_text(encoding="ascii").split(maxsplit=9)
    except OSError:
        return None
    user, nice, system, _idle, _waiting, hard, soft, stolen = map(int, words[1:9])
    return (user + nice + system + hard + soft + stolen) / os.sysconf("SC_CLK_TCK")


def _latencies(setup: Setup, trainer: Trainer) -> list[float]:
    """Return the seconds of single predictions of one sample."""
    x = setup.x[:1]
    seconds = []
    for _ in range(_WARM_UP + _LATENCIES):
        began = perf_counter()
        trainer.predict(x)
        seconds.append(perf_counter() - began)
    return seconds[_WARM_UP:]


def _split(setup: Setup, trainer: Trainer) -> dict[str, float]:
    """Return the median seconds of each part of a step, if the trainer can split it."""
    if setup.task.phase == "infer" or not hasattr(trainer, "split"):
        return {}
    batches = islice(setup.stage(trainer) * (_WARM_UP + _SPLITS), _WARM_UP + _SPLITS)
    parts = [trainer.split(batch) for batch in batches][_WARM_UP:]
    return {name: float(np.median([part[name] for part in parts])) for name in parts[0]}


def _instrument(owner: object, name: str, default: Callable[[], Any], *arguments: Any) -> Any:
    """Ask for what an adapter or trainer may have, and need not."""
    return getattr(owner, name, lambda *_: default())(*arguments)


def _device_memory_mb(adapter: Adapter, device: str) -> float | None:
    used = _instrument(adapter, "device_memory", lambda: None, device)
    return None if used is None else used / 2**20


if __name__ == "__main__":
    end_with_parent()
    leave(main(Path(sys.argv[1])))
