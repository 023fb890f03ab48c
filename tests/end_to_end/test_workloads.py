"""Every workload beside the default suite: one epoch in every backend, from the same weights on the
same batches.
"""

from __future__ import annotations

import pytest
from end_to_end.conftest import Command

from bakeoff.backends import USUAL

_OTHERS = ("line-linear", "boston-mlp", "mnist-softmax", "mnist-convnet", "mnist-cnn",
           "mnist-rows-rnn", "mnist-rows-lstm", "mnist-rows-gru", "transformer-tiny",
           "digits-mlp", "diabetes-mlp", "breast-cancer-logistic")  # fmt: skip


@pytest.mark.parametrize("workload", _OTHERS)
def test_every_other_workload_begins_alike(bakeoff: Command, workload: str) -> None:
    """One epoch in every backend that supports it, from the same weights on the same batches."""
    found = bakeoff.rows(workload, "--seeds", 1, "--epochs", 1)
    rows = {name: found[workload, name] for name in USUAL}
    assert {row["status"] for row in rows.values()} <= {"ok", "unsupported"}
    done = [row for row in rows.values() if row["status"] == "ok"]
    assert len(done) >= 3
    if workload != "mnist-cnn":  # its dropout is each framework's own
        for row in done:
            expected = rows["numpy"]["loss"]["first"]
            assert row["loss"]["first"] == pytest.approx(expected, rel=1e-2)


@pytest.mark.parametrize("workload", ["mnist-convnet", "mnist-rows-lstm", "transformer-tiny"])
def test_keras_begins_alike_on_each_engine(bakeoff: Command, workload: str) -> None:
    found = bakeoff.rows(
        workload, "--backend", "keras,keras-jax,keras-torch", "--seeds", 1, "--epochs", 1
    )
    assert {row["status"] for row in found.values()} == {"ok"}
    assert all(row["comparable"] for row in found.values())
    losses = [row["loss"]["first"] for row in found.values()]
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-2)


_LARGE = {
    "resnet20": "synthetic-images?samples=200",
    "conv224": "synthetic-images?samples=48&shape=3x224x224",
}


@pytest.mark.parametrize("workload", _LARGE)
def test_large_workloads_begin_alike_at_a_small_size(bakeoff: Command, workload: str) -> None:
    """Without certificates, which take minutes for nets as large as these."""
    rows = bakeoff.rows(workload, "--dataset", _LARGE[workload], "--epochs", 1, "--seeds", 1,
                        "--backend", "numpy,torch,mxnet", "--no-parity")  # fmt: skip
    losses = [row["loss"]["first"] for row in rows.values()]
    assert len(losses) == 3
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-3)
