"""PureML (ym-pure-ml): reverse mode on NumPy arrays, with its own layers, loss and optimizers.

It makes weights in float64; once they are cast, all is float32. It has no LSTM, so that is written
here, of its layers.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
from pureml import Tensor
from pureml.activations import relu, sigmoid, tanh
from pureml.layers import Affine, Conv2D, Layer, MaxPool2D
from pureml.losses import CCE
from pureml.optimizers import SGD, Adam, Optim

MODES = ("eager",)

Layers = Sequence[Layer]
Forward = Callable[[Layers, Tensor], Tensor]


def _affine(*sizes: int) -> list[Layer]:
    return [Affine(i, o, "kaiming-normal") for i, o in itertools.pairwise(sizes)]


def _dense(layers: Layers, x: Tensor) -> Tensor:
    """Apply affine layers in turn, with ReLU between: [N, ...] -> [N, O]."""
    *hidden, output = layers
    x = x.reshape(x.shape[0], -1)
    for layer in hidden:
        x = relu(layer(x))
    return output(x)


def _conv(layers: Layers, x: Tensor) -> Tensor:
    """Convolve, ReLU, pool by two, for every convolution; then the affine layers."""
    pool = MaxPool2D(2, 2)
    convs = [layer for layer in layers if isinstance(layer, Conv2D)]
    for conv in convs:
        x = pool(relu(conv(x)))
    return _dense(layers[len(convs) :], x)


def _lstm(layers: Layers, x: Tensor) -> Tensor:
    """c = f c + i g and h = o tanh(c): [N, T, I] -> [N, O]. A slice's gradient is an `add.at`."""
    *gates, output = layers
    h = c = Tensor(np.zeros((len(x.data), 64), np.float32))
    for t in range(x.shape[1]):
        row = Tensor(x.data[:, t])
        i, f, o, g = (of_x(row) + of_h(h) for of_x, of_h in zip(gates[:4], gates[4:], strict=True))
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        h = sigmoid(o) * tanh(c)
    return output(h)


def mnist_mlp() -> tuple[Forward, Layers]:
    return _dense, _affine(784, 256, 128, 10)


def lenet5() -> tuple[Forward, Layers]:
    return _conv, [Conv2D(1, 6, 5, padding=2), Conv2D(6, 16, 5), *_affine(400, 120, 84, 10)]


def convnet() -> tuple[Forward, Layers]:
    convs = [Conv2D(i, o, 3, padding=1) for i, o in ((1, 32), (32, 64), (64, 128))]
    return _conv, [*convs, *_affine(1152, 128, 10)]


def mnist_rows_lstm() -> tuple[Forward, Layers]:
    of_x = [Affine(28, 64) for _ in range(4)]
    of_h = [Affine(64, 64, bias=False) for _ in range(4)]
    return _lstm, [*of_x, *of_h, *_affine(64, 10)]


WORKLOADS = {
    "mnist-mlp": mnist_mlp,
    "lenet5": lenet5,
    "convnet": convnet,
    "mnist-rows-lstm": mnist_rows_lstm,
}
_RATES = {"mnist-mlp": 2**-5, "lenet5": 3 * 2**-13, "convnet": 2**-11, "mnist-rows-lstm": 2**-10}


def _optimizer(workload: str, parameters: list[Tensor]) -> Optim:
    if workload == "mnist-mlp":  # its momentum weighs the gradient by 1 − μ
        return SGD(parameters, _RATES[workload] / (1 - 0.875), beta=0.875)
    return Adam(parameters, _RATES[workload])


def _float32(p: Tensor) -> Tensor:
    return Tensor(p.data.astype(np.float32), p.requires_grad)


def prepare(
    workload: str, x: np.ndarray, y: np.ndarray, *, mode: str, threads: int
) -> Callable[[np.ndarray], np.ndarray]:
    """Return `train(order)`: int64 [steps, batch] -> losses [steps]. BLAS has its own threads."""
    if workload == "mnist-rows-lstm":
        x = x.reshape(-1, 28, 28)  # an image is a sequence of its rows
    forward, layers = WORKLOADS[workload]()
    for layer in layers:
        layer.W, layer.b = _float32(layer.W), _float32(layer.b)
    optimizer = _optimizer(workload, [p for layer in layers for p in layer.parameters])
    one_hot = np.eye(10, dtype=np.float32)[y]

    def step(batch: np.ndarray) -> float:
        logits = forward(layers, Tensor(x.take(batch, 0)))
        loss = CCE(Tensor(one_hot[batch]), logits, from_logits=True)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return float(loss.data)

    return lambda order: np.array([step(batch) for batch in order])
