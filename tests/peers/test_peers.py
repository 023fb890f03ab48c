"""Every peer trains every workload that it has: `tox -e peers`, in the environment of the peers."""

from __future__ import annotations

import importlib.util
import itertools
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

_FOLDER = Path(__file__).parents[2] / "bench" / "rivals" / "peers"


def _load(name: str) -> ModuleType:
    """Import one peer by its path, as the package has no part in its environment."""
    spec = importlib.util.spec_from_file_location(f"peers_{name}", _FOLDER / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_PEERS = {
    path.stem: _load(path.stem) for path in sorted(_FOLDER.glob("*.py")) if path.stem != "__init__"
}
_SHAPES = {
    "mnist-mlp": (1, 28, 28),
    "lenet5": (1, 28, 28),
    "convnet": (1, 28, 28),
    "mnist-rows-lstm": (28, 28),
}


def _samples(workload: str) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((12, *_SHAPES[workload]), dtype=np.float32)


def _seed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the weights that a peer draws the same in every run: some seed by the clock."""
    seeds, default_rng = itertools.count(), np.random.default_rng
    monkeypatch.setattr(np.random, "default_rng", lambda *_: default_rng(next(seeds)))
    np.random.seed(0)  # noqa: NPY002 (pydynet draws from it)


@pytest.mark.parametrize(
    ("name", "workload"), [(name, work) for name, peer in _PEERS.items() for work in peer.WORKLOADS]
)
def test_the_loss_of_a_repeated_batch_falls(
    name: str, workload: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From call to call, too: a second one goes on where the first ended.

    Not from step to step: momentum overshoots near zero.
    """
    x, y = _samples(workload), np.random.default_rng(1).integers(0, 10, 12)
    given = x.copy()
    _seed(monkeypatch)
    train = _PEERS[name].prepare(workload, x, y, mode="eager", threads=1)
    order = np.tile(np.arange(3, 11), (5, 1))
    first, second = train(order), train(order)
    for losses in (first, second):
        assert losses.shape == (5,)
        assert np.isfinite(losses).all()
    assert max(first[1:]) < first[0]
    assert max(second) < first[0]
    np.testing.assert_array_equal(x, given)


@pytest.mark.parametrize("workload", _SHAPES)
def test_the_nets_that_are_written_alike_agree(workload: str) -> None:
    """mygrad's and autograd's are functions of the same parameters."""
    autograd, mygrad = _PEERS["autograd"], _PEERS["mygrad"]
    random = np.random.default_rng(2)
    parameters = [
        0.1 * random.standard_normal(shape, dtype=np.float32) for shape in mygrad._SHAPES[workload]
    ]
    tensors = [mygrad.mg.tensor(p) for p in parameters]
    x = _samples(workload)
    np.testing.assert_allclose(
        autograd.WORKLOADS[workload](parameters, x),
        mygrad.WORKLOADS[workload](tensors, x).data,
        rtol=1e-4,
        atol=1e-4,
    )


@pytest.mark.parametrize(("size", "stride", "shape"), [(3, 1, (2, 3, 5, 4)), (2, 2, (2, 1, 5, 7))])
def test_the_gradient_of_windows(size: int, stride: int, shape: tuple[int, ...]) -> None:
    """autograd's convolution and pooling rest on a gradient written by hand."""
    check_grads = importlib.import_module("autograd.test_util").check_grads
    x = np.random.default_rng(3).standard_normal(shape)
    check_grads(lambda x: _PEERS["autograd"]._patches(x, size, stride), modes=["rev"], order=1)(x)
