"""Paddle by hand: dynamic graph, and the net with its loss through `paddle.jit.to_static`.

The data is converted once to tensors, and each batch is gathered by Paddle.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import paddle
from paddle import nn, optimizer

Network = tuple[nn.Layer, optimizer.Optimizer]

MODES = ("eager", "compiled")


def mnist_mlp() -> Network:
    net = nn.Sequential(
        nn.Flatten(),
        nn.Linear(784, 256),
        nn.ReLU(),
        nn.Linear(256, 128),
        nn.ReLU(),
        nn.Linear(128, 10),
    )
    return net, optimizer.Momentum(0.03125, momentum=0.875, parameters=net.parameters())


def lenet5() -> Network:
    net = nn.Sequential(
        nn.Conv2D(1, 6, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2D(2),
        nn.Conv2D(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2D(2),
        nn.Flatten(),
        nn.Linear(400, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, 10),
    )
    return net, optimizer.Adam(0.0003662109375, parameters=net.parameters())


def convnet() -> Network:
    net = nn.Sequential(
        nn.Conv2D(1, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2D(2),
        nn.Conv2D(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2D(2),
        nn.Conv2D(64, 128, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2D(2),
        nn.Flatten(),
        nn.Linear(1152, 128),
        nn.ReLU(),
        nn.Linear(128, 10),
    )
    return net, optimizer.Adam(0.00048828125, parameters=net.parameters())


class RowsLSTM(nn.Layer):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(28, 64)
        self.output = nn.Linear(64, 10)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        _, (h, _) = self.lstm(x)
        return self.output(h[0])


def mnist_rows_lstm() -> Network:
    net = RowsLSTM()
    return net, optimizer.Adam(0.0009765625, parameters=net.parameters())


WORKLOADS: dict[str, Callable[[], Network]] = {
    "mnist-mlp": mnist_mlp,
    "lenet5": lenet5,
    "convnet": convnet,
    "mnist-rows-lstm": mnist_rows_lstm,
}


class MeanLoss(nn.Layer):
    def __init__(self, net: nn.Layer) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: paddle.Tensor, y: paddle.Tensor) -> paddle.Tensor:
        return nn.functional.cross_entropy(self.net(x), y)


def prepare(
    workload: str, x: np.ndarray, y: np.ndarray, *, mode: str, threads: int
) -> Callable[[np.ndarray], np.ndarray]:
    """Return `train(order)`: a step for each row of indices into x and y, and its mean loss."""
    if workload == "mnist-rows-lstm":
        x = x.reshape(-1, 28, 28)  # an image is a sequence of its rows
    paddle.set_device("cpu")
    paddle.set_default_dtype("float32")
    paddle.seed(0)
    paddle.base.core.set_num_threads(threads)
    images, labels = paddle.to_tensor(x), paddle.to_tensor(y)
    net, opt = WORKLOADS[workload]()
    mean_loss = MeanLoss(net)
    if mode == "compiled":
        mean_loss = paddle.jit.to_static(mean_loss, full_graph=True)

    def train(order: np.ndarray) -> np.ndarray:
        losses = []
        for indices in map(paddle.to_tensor, order):
            loss = mean_loss(paddle.gather(images, indices), paddle.gather(labels, indices))
            loss.backward()
            opt.step()
            opt.clear_grad(set_to_zero=False)
            losses.append(loss.detach())
        return paddle.stack(losses).numpy()

    return train
