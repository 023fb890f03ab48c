"""MXNet Gluon by hand: imperative, and the net and its loss hybridized with static memory.

The data is converted once to an NDArray, and each batch is gathered by MXNet.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

# Threads that spin without end starve each other, and those that sleep are slow to wake; a second
# team of them, made by a large copy, does not spin.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
os.environ.setdefault("MXNET_CPU_PARALLEL_SIZE", str(2**31 - 1))
# The OpenBLAS in MXNet takes a newer CPU for one without AVX.
if "avx2" in Path("/proc/cpuinfo").read_text():
    os.environ.setdefault("OPENBLAS_CORETYPE", "Haswell")

import mxnet as mx
from mxnet import autograd, gluon, nd
from mxnet.gluon import nn, rnn

Network = tuple[gluon.HybridBlock, mx.optimizer.Optimizer]

MODES = ("eager", "compiled")


def mnist_mlp() -> Network:
    net = nn.HybridSequential()
    net.add(nn.Dense(256, "relu"), nn.Dense(128, "relu"), nn.Dense(10))
    return net, mx.optimizer.SGD(learning_rate=0.03125, momentum=0.875)


def lenet5() -> Network:
    net = nn.HybridSequential()
    net.add(
        nn.Conv2D(6, 5, padding=2, activation="relu"),
        nn.MaxPool2D(2),
        nn.Conv2D(16, 5, activation="relu"),
        nn.MaxPool2D(2),
        nn.Dense(120, "relu"),
        nn.Dense(84, "relu"),
        nn.Dense(10),
    )
    return net, mx.optimizer.Adam(learning_rate=0.0003662109375)


def convnet() -> Network:
    net = nn.HybridSequential()
    net.add(
        nn.Conv2D(32, 3, padding=1, activation="relu"),
        nn.MaxPool2D(2),
        nn.Conv2D(64, 3, padding=1, activation="relu"),
        nn.MaxPool2D(2),
        nn.Conv2D(128, 3, padding=1, activation="relu"),
        nn.MaxPool2D(2),
        nn.Dense(128, "relu"),
        nn.Dense(10),
    )
    return net, mx.optimizer.Adam(learning_rate=0.00048828125)


class RowsLSTM(gluon.HybridBlock):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = rnn.LSTM(64, layout="NTC")
        self.output = nn.Dense(10)

    def hybrid_forward(self, F: Any, x: Any) -> Any:  # noqa: N803  Gluon's own name
        return self.output(F.slice_axis(self.lstm(x), axis=1, begin=-1, end=None))


def mnist_rows_lstm() -> Network:
    return RowsLSTM(), mx.optimizer.Adam(learning_rate=0.0009765625)


WORKLOADS: dict[str, Callable[[], Network]] = {
    "mnist-mlp": mnist_mlp,
    "lenet5": lenet5,
    "convnet": convnet,
    "mnist-rows-lstm": mnist_rows_lstm,
}


def prepare(
    workload: str, x: np.ndarray, y: np.ndarray, *, mode: str, threads: int
) -> Callable[[np.ndarray], np.ndarray]:
    """Return `train(order)`: a step for each row of indices into x and y, and its mean loss.

    MXNet has no call for its threads: it takes them from OMP_NUM_THREADS, which must be `threads`.
    """
    if workload == "mnist-rows-lstm":
        x = x.reshape(-1, 28, 28)  # an image is a sequence of its rows
    net, optimizer = WORKLOADS[workload]()
    mx.random.seed(0)
    net.initialize(mx.init.Xavier())
    mean_loss = gluon.loss.SoftmaxCrossEntropyLoss()
    if mode == "compiled":
        net.hybridize(static_alloc=True, static_shape=True)
        mean_loss.hybridize(static_alloc=True, static_shape=True)
    images, labels = nd.array(x, dtype="float32"), nd.array(y, dtype="float32")
    trainer = gluon.Trainer(net.collect_params(), optimizer, kvstore=None)

    def train(order: np.ndarray) -> np.ndarray:
        losses = []
        for indices in nd.array(order, dtype="int32"):
            with autograd.record():
                loss = mean_loss(net(images.take(indices)), labels.take(indices))
            loss.backward()
            trainer.step(len(indices))
            losses.append(loss.mean())
        return nd.concat(*losses, dim=0).asnumpy()

    return train
