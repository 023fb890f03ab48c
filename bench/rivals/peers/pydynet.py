"""PyDyNet: PyTorch's interface on NumPy, with its own layers, loss and optimizers, in float32."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
from pydynet import Tensor, nn
from pydynet.nn import functional as F  # noqa: N812  as its documentation has it
from pydynet.optim import SGD, Adam, Optimizer

MODES = ("eager",)

_FLOAT = {"dtype": np.float32}


class Flatten(nn.Module):
    """[N, ...] -> [N, I]."""

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], -1)


class LastHidden(nn.Module):
    """The last hidden state of an LSTM, [N, T, I] -> [N, H]: `nn.LSTM` would stack them all."""

    def __init__(self, inputs: int, units: int) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(inputs, units, **_FLOAT)

    def forward(self, x: Tensor) -> Tensor:
        state = self.cell(x[:, 0])
        for t in range(1, x.shape[1]):
            state = self.cell(x[:, t], state)
        return state[0]


def _conv(inputs: int, filters: int, kernel_size: int, padding: int) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, filters, kernel_size, padding=padding, **_FLOAT)
    return [conv, nn.ReLU(), nn.MaxPool2d(2, 2, 0)]


def _dense(*sizes: int) -> list[nn.Module]:
    layers = []
    for inputs, units in itertools.pairwise(sizes):
        layers += [nn.Linear(inputs, units, **_FLOAT), nn.ReLU()]
    return layers[:-1]


def mnist_mlp() -> tuple[nn.Module, Optimizer]:
    net = nn.Sequential(Flatten(), *_dense(784, 256, 128, 10))
    return net, SGD(net.parameters(), lr=2**-5, momentum=0.875, nesterov=False)


def lenet5() -> tuple[nn.Module, Optimizer]:
    layers = [*_conv(1, 6, 5, 2), *_conv(6, 16, 5, 0), Flatten(), *_dense(400, 120, 84, 10)]
    net = nn.Sequential(*layers)
    return net, Adam(net.parameters(), lr=3 * 2**-13)


def convnet() -> tuple[nn.Module, Optimizer]:
    convs = [*_conv(1, 32, 3, 1), *_conv(32, 64, 3, 1), *_conv(64, 128, 3, 1)]
    net = nn.Sequential(*convs, Flatten(), *_dense(1152, 128, 10))
    return net, Adam(net.parameters(), lr=2**-11)


def mnist_rows_lstm() -> tuple[nn.Module, Optimizer]:
    net = nn.Sequential(LastHidden(28, 64), *_dense(64, 10))
    return net, Adam(net.parameters(), lr=2**-10)


WORKLOADS = {
    "mnist-mlp": mnist_mlp,
    "lenet5": lenet5,
    "convnet": convnet,
    "mnist-rows-lstm": mnist_rows_lstm,
}


def prepare(
    workload: str, x: np.ndarray, y: np.ndarray, *, mode: str, threads: int
) -> Callable[[np.ndarray], np.ndarray]:
    """Return `train(order)`: int64 [steps, batch] -> losses [steps]. BLAS has its own threads."""
    if workload == "mnist-rows-lstm":
        x = x.reshape(-1, 28, 28)  # an image is a sequence of its rows
    net, optimizer = WORKLOADS[workload]()

    def step(batch: np.ndarray) -> float:
        logits = net(Tensor(x.take(batch, 0), copy=None))
        loss = F.cross_entropy_loss(logits, Tensor(y[batch], copy=None))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return lambda order: np.array([step(batch) for batch in order])
