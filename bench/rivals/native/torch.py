"""PyTorch by hand: eager or torch.compile, fused optimizers, images channels-last.

The batches stay in NumPy: `take` gathers one and `from_numpy` shares its memory.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

Network = tuple[nn.Module, torch.optim.Optimizer]

MODES: tuple[str, ...] = ("eager", "compiled")


def mnist_mlp() -> Network:
    net = nn.Sequential(
        nn.Flatten(),
        nn.Linear(784, 256),
        nn.ReLU(),
        nn.Linear(256, 128),
        nn.ReLU(),
        nn.Linear(128, 10),
    )
    return net, torch.optim.SGD(net.parameters(), lr=0.03125, momentum=0.875, fused=True)


def lenet5() -> Network:
    net = nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(400, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, 10),
    ).to(memory_format=torch.channels_last)
    return net, torch.optim.Adam(net.parameters(), lr=0.0003662109375, fused=True)


def convnet() -> Network:
    net = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(64, 128, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(1152, 128),
        nn.ReLU(),
        nn.Linear(128, 10),
    ).to(memory_format=torch.channels_last)
    return net, torch.optim.Adam(net.parameters(), lr=0.00048828125, fused=True)


class RowReader(nn.Module):
    """An LSTM over the 28 rows of a digit; a dense layer on its last state."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.LSTM(28, 64, batch_first=True)
        self.output = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        _, (state, _) = self.rows(x)
        return self.output(state[-1])


def mnist_rows_lstm() -> Network:
    net = RowReader()
    return net, torch.optim.Adam(net.parameters(), lr=0.0009765625, fused=True)


WORKLOADS: dict[str, Callable[[], Network]] = {
    "mnist-mlp": mnist_mlp,
    "lenet5": lenet5,
    "convnet": convnet,
    "mnist-rows-lstm": mnist_rows_lstm,
}


def prepare(
    workload: str, x: np.ndarray, y: np.ndarray, *, mode: str, threads: int
) -> Callable[[np.ndarray], np.ndarray]:
    """Return `train(order)`: one step per row of indices into x and y; the losses before each."""
    if workload == "mnist-rows-lstm":
        x = x.reshape(-1, 28, 28)  # an image is a sequence of its rows
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    net, optimizer = WORKLOADS[workload]()

    def mean_loss(inputs: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(net(inputs), labels)

    if mode == "compiled":
        mean_loss = torch.compile(mean_loss)

    def train(order: np.ndarray) -> np.ndarray:
        losses = []
        for batch in order:
            inputs, labels = torch.from_numpy(x.take(batch, 0)), torch.from_numpy(y.take(batch))
            loss = mean_loss(inputs, labels)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.detach())
        return torch.stack(losses).numpy()

    return train
