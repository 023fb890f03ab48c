"""What machine this is: stored with every run, because a speed means nothing without it."""

from __future__ import annotations

import math
import os
import platform
import re
from pathlib import Path

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
    """Return how many cores this process may use: by its affinity, and by its cgroup's quota."""
    has_affinity = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    quota, _, period = (_read("/sys/fs/cgroup/cpu.max") or "max").partition(" ")
    return cores if quota == "max" else max(1, min(cores, math.ceil(int(quota) / int(period))))


def _blas() -> str:
    built = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return f"{built['name']} {built['version']}"


def _cpu_name() -> str:
    for line in (_read("/proc/cpuinfo") or "").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return None
