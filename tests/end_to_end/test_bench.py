"""Benchmarks of the real frameworks: every row is certified, and what was asked is what ran."""

from __future__ import annotations

import json
from typing import Any

import pytest
from end_to_end.conftest import Command

from bakeoff.backends import USUAL


def _bench(bakeoff: Command, *arguments: str) -> Any:
    done = bakeoff("bench", "mnist-mlp", *arguments, "--budget", "1s", "--json")
    return json.loads(done.stdout)


@pytest.mark.parametrize("mode", ["eager", "compiled"])
def test_every_backend_is_timed_and_certified(bakeoff: Command, mode: str) -> None:
    summary = _bench(bakeoff, "--mode", mode)
    timed = {m["backend"]: m for m in summary["measurements"]}
    assert timed.keys() == set(USUAL)
    refused = {name for name, m in timed.items() if m["status"] != "ok"}
    assert refused == ({"numpy"} if mode == "compiled" else set())
    for name in set(USUAL) - refused:
        m = timed[name]
        assert m["parity"]["verdict"] == "pass"
        # One thread was asked. MXNet's engine runs beside Python's thread; who uses more is marked.
        assert m["threads_used"] > 0.2, name
        marked = any(flag.startswith("used ") for flag in m["flags"])
        assert marked == (m["threads_used"] > 1.15), name
        assert m["samples_per_second"]["median"] > 500
        assert m["peak_rss_mb"] > 0
    assert len(summary["comparisons"]) == len(USUAL) - len(refused) - 1


def test_adapters_against_hand_written_loops(bakeoff: Command) -> None:
    summary = _bench(bakeoff, "--against-native")
    ratios = {c["subject"]: c["ratio"]["median"] for c in summary["comparisons"]}
    assert ratios.keys() == set(USUAL)
    assert {c["rival"] for c in summary["comparisons"]} == {f"native.{name}" for name in USUAL}
    assert all(0.1 < ratio < 100 for ratio in ratios.values())  # the speed itself is no test's


def test_numpy_against_its_peers(bakeoff: Command) -> None:
    bakeoff("install", "peers")
    summary = _bench(bakeoff, "--peers")
    assert {c["subject"] for c in summary["comparisons"]} == {"numpy"}
    rivals = {c["rival"] for c in summary["comparisons"]}
    assert {"peers.scikit_learn", "peers.mygrad", "peers.autograd", "peers.pydynet"} <= rivals
    assert all(m["status"] == "ok" for m in summary["measurements"])
