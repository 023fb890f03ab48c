"""Make a run folder ready to go on: what is damaged is done again, by code and interpreters of this
machine, in no place but the folder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from msgspec.structs import replace

from ...datasets import load
from ...datasets.dataset import Dataset
from ...models import InputError
from ..checks import check_execution
from ..environments import code, folders
from ..worker.files import remove
from . import inputs
from .jobs import describe, write_job
from .journal import read_row
from .plan import DownloadProgress
from .run_folder import RunSpec, places

Datasets = dict[str, Dataset]  # by workload
Tell = Callable[[str], object]


def make_ready(
    folder: Path,
    spec: RunSpec,
    pythons: Mapping[str, Path],
    progress: DownloadProgress | None,
    tell: Tell,
) -> tuple[RunSpec, Datasets]:
    """Write anew whatever is not done or damaged of a run; `tell` gets a line of each damage.

    Returns the run with the interpreters that it goes on with, and its data. Raises InputError.
    """
    own = folders.is_own(folder / "run.toml")
    check_execution(spec.device, spec.threads)
    _check_checkpoint(folder, spec, own=own)
    folders.check_code(spec.code_sha256, spec.bakeoff_version)
    backends = folders.interpreters(spec.backends, pythons, tell, own=own)
    spec = replace(spec, backends=backends)
    datasets = _load(folder, spec, progress)
    for planned in spec.planned:
        w = planned.workload
        for seed in spec.seeds:
            if wrong := inputs.mend(folder, spec, w, datasets[w.name], seed):
                tell(f"inputs/{wrong}; it was drawn again")
    remove(folder / "code.zip")
    code.write_zip(folder / "code.zip")
    _renew_jobs(folder, spec, datasets, tell)
    return spec, datasets


def _check_checkpoint(folder: Path, spec: RunSpec, *, own: bool) -> None:
    if spec.checkpoint and not own:
        raise InputError(
            f"{folder} was not begun on this machine, and writes to {spec.checkpoint.path}; "
            "go on with its checkpoint: bakeoff train --resume CHECKPOINT"
        )


def _load(folder: Path, spec: RunSpec, progress: DownloadProgress | None) -> Datasets:
    """Load the data of every workload. Raises InputError unless they are what they were."""
    data_dir = Path(spec.data_dir) if spec.data_dir else None
    datasets = {}
    for facts in spec.workloads:
        dataset = load(facts.dataset, data_dir=data_dir, progress=progress)
        if dataset.sha256 != facts.dataset_sha256:
            raise InputError(
                f"{facts.dataset} has changed since {folder} was made "
                f"({facts.dataset_sha256[:12]} then, {dataset.sha256[:12]} now); start a new run"
            )
        datasets[facts.name] = dataset
    return datasets


def _renew_jobs(folder: Path, spec: RunSpec, datasets: Datasets, tell: Tell) -> None:
    """Write the folder anew of every job that is damaged, or did not come to its own end."""
    everything = places(spec)
    for facts in spec.workloads:
        for backend in spec.backends:
            for mode in spec.modes[backend.name]:
                row = {
                    name: place
                    for name, place in everything.items()
                    if place[:3] == (facts.name, backend.name, mode)
                }
                seeds = [place.seed for place in row.values()]
                jobs = [folder / "jobs" / name for name in row]
                results = read_row(jobs, seeds, facts.metric)
                for (name, place), result in zip(row.items(), results, strict=True):
                    if result.damage:
                        tell(f"{result.damage}; it is done again")
                    if not result.is_done:
                        described = describe(spec, place, datasets[facts.name], folder)
                        write_job(described, folder / "jobs" / name, folder / "jobs" / name)
