"""The SGEMM peak: what this machine reaches at most, as the unit of every GFLOP/s.

Run as `python -P -m bakeoff.bench.worker.peak`: prints the GFLOP/s of NumPy's float32 product of
two matrices, 2 n³ FLOPs, the best of a few; threads are set by the environment.
"""

from __future__ import annotations

import sys
from time import perf_counter

import numpy as np

from .parent import end_with_parent

_SIZE = 2048
_REPEATS = 5


def measure() -> float:
    """Return GFLOP/s."""
    a = np.random.default_rng(0).random((_SIZE, _SIZE), np.float32)
    product = a @ a
    best = float("inf")
    for _ in range(_REPEATS):
        began = perf_counter()
        np.matmul(a, a, out=product)
        best = min(best, perf_counter() - began)
    return 2 * _SIZE**3 / best / 1e9


if __name__ == "__main__":
    end_with_parent()
    sys.stdout.write(f"{measure()}\n")
