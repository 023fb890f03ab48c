"""What machine this is: stored with every run, because a speed means nothing without it."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
import psutil
from msgspec import Struct


class Machine(Struct, frozen=True, kw_only=True):
    """The host. Memory in MB; `load` is the one-minute load average when it was looked at; `blas`
    is that of this process's NumPy, by which the SGEMM peak is measured; `variables` are those of
    the environment that decide how frameworks compute.
    """

    hostname: str
    system: str
    python: str
    cpu: str
    cores: int
    physical_cores: int | None = None
    memory_mb: int
    governor: str | None = None
    load: float
    blas: str | None = None
    variables: dict[str, str] = {}


# By name, as a report is for others' eyes, and the environment holds secrets too. KMP_DUPLICATE_...
# is set by scikit-learn's import.
_VARIABLES = re.compile(
    "(OPENBLAS|OMP|GOMP|KMP(?!_DUPLICATE)|MKL|BLIS|DNNL|ONEDNN|ATEN|TORCH|TORCHINDUCTOR|PYTORCH"
    "|TF_ENABLE|TF_XLA|XLA|JAX|FLAGS|MXNET|CUDA|CUBLAS|CUDNN|MALLOC)_[A-Z].*"
    "|NVIDIA_TF32_OVERRIDE|GLIBC_TUNABLES|LD_PRELOAD"
)


def look() -> Machine:
    """Describe this machine."""
    return Machine(
        hostname=platform.node(),
        system=platform.platform(),
        python=platform.python_version(),
        cpu=_cpu_name(),
        cores=usable_cores(),
        physical_cores=psutil.cpu_count(logical=False),
        memory_mb=psutil.virtual_memory().total // 2**20,
        governor=_read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        load=psutil.getloadavg()[0],
        blas=_blas(),
        variables={name: os.environ[name] for name in filter(_VARIABLES.fullmatch, os.environ)},
    )


def usable_cores() -> int:
    """Return how many cores this process may use whole: by its affinity, by the quotas of its
    cgroups, and by what Python was told.
    """
    counts = [float(os.cpu_count() or 1), *quotas(Path("/"))]
    if hasattr(os, "sched_getaffinity"):
        counts.append(len(os.sched_getaffinity(0)))
    if hasattr(os, "process_cpu_count"):  # Python 3.13: PYTHON_CPU_COUNT, -X cpu_count
        counts.append(os.process_cpu_count() or 1)
    return max(1, int(min(counts)))


def quotas(root: Path) -> Iterator[float]:
    """Yield how many cores each cgroup allows that this process is in, of version 1 or 2."""
    for line in (_read(root / "proc/self/cgroup") or "").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mounted = root / "sys/fs/cgroup" / controllers
        inside = PurePosixPath(path.lstrip("/"))
        for group in (mounted / folder for folder in (inside, *inside.parents)):
            limit = _read(group / "cpu.max") or " ".join(
                _read(group / f"cpu.cfs_{what}_us") or "" for what in ("quota", "period")
            )
            numbers = re.fullmatch(r"(\d+) (\d+)", limit)  # else there is none: max, or -1
            if numbers:
                yield int(numbers[1]) / int(numbers[2])


def _blas() -> str:
    built = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return f"{built['name']} {built['version']}"


def _cpu_name() -> str:
    for line in (_read("/proc/cpuinfo") or "").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _read(path: str | Path) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return None
