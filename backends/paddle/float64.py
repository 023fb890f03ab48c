"""What is Paddle's own in float32, and by formula of ours in float64.

The kernels of 3.3 hold attributes and hyperparameters as float32, in float64 too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import paddle
from paddle import Tensor, nn
from paddle.nn import functional

from ...models import layers
from ...models.shapes import Shape


def scalar(value: float, like: Tensor) -> float | Tensor:
    """Return a constant to reckon with; 3.3: to_static keeps a Python float as a float32."""
    return value if like.dtype == paddle.float32 else paddle.full([], value, like.dtype)


class AvgPool2D(nn.Layer):
    """Native in float32; 3.3's gradient multiplies by 1 / area as a float32, in float64 too."""

    def __init__(
        self,
        kernel: tuple[int, ...],
        stride: tuple[int, ...],
        padding: tuple[int, ...],
        count_padding: bool,
        shape: Shape,
    ) -> None:
        super().__init__()
        self._kernel, self._stride, self._padding = list(kernel), list(stride), list(padding)
        self._count_padding, self._shape = count_padding, shape

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype == paddle.float32:
            sizes = (self._kernel, self._stride, self._padding)
            return functional.avg_pool2d(x, *sizes, exclusive=not self._count_padding)
        if self._count_padding:
            return self._windows(x).mean(axis=2)
        return self._windows(x).sum(axis=2) / self._windows(paddle.ones_like(x)).sum(axis=2)

    def _windows(self, x: Tensor) -> Tensor:
        channels, *space = self._shape
        windows = functional.unfold(x, self._kernel, self._stride, self._padding)
        return windows.reshape([x.shape[0], channels, -1, *space])


class BatchNorm(nn.Layer):
    """Native in float32; 3.3's holds momentum and epsilon as float32, in float64 too."""

    def __init__(self, shape: Shape, layer: layers.BatchNorm) -> None:
        super().__init__()
        for role in ("gamma", "beta", "running_mean", "running_var"):
            setattr(self, role, self.create_parameter([shape[0]]))
        self.running_mean.stop_gradient = self.running_var.stop_gradient = True
        self._momentum, self._epsilon = layer.momentum, layer.epsilon
        self._axes = [0, *range(2, len(shape) + 1)]
        self._shape = [-1] + [1] * (len(shape) - 1)

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype == paddle.float32:
            return functional.batch_norm(
                x,
                self.running_mean,
                self.running_var,
                self.gamma,
                self.beta,
                training=self.training,
                momentum=1 - self._momentum,
                epsilon=self._epsilon,
            )
        mean, var = self.running_mean, self.running_var
        if self.training:
            mean = x.mean(axis=self._axes)
            var = (x - mean.reshape(self._shape)).square().mean(axis=self._axes)
            self._move(self.running_mean, mean)
            self._move(self.running_var, var)
        scale = self.gamma / (var + scalar(self._epsilon, x)).sqrt()
        centred = x - mean.reshape(self._shape)
        return centred * scale.reshape(self._shape) + self.beta.reshape(self._shape)

    def _move(self, running: Tensor, new: Tensor) -> None:
        step = (new.detach() - running) * scalar(self._momentum, new)
        paddle.assign(running + step, running)  # 3.3: to_static drops an add_ silently


class LayerNorm(nn.LayerNorm):
    """Native in float32; 3.3's refuses an epsilon above 0.001, and holds it as a float32."""

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype == paddle.float32 and self._epsilon <= 0.001:
            return functional.layer_norm(
                x, self._normalized_shape, self.weight, self.bias, self._epsilon
            )
        centred = x - x.mean(axis=-1, keepdim=True)
        var = centred.square().mean(axis=-1, keepdim=True)
        return centred / (var + scalar(self._epsilon, x)).sqrt() * self.weight + self.bias


def attend(q: Tensor, k: Tensor, v: Tensor, scale: float, causal: bool) -> Tensor:
    """Return what `scaled_dot_product_attention` does; 3.3's to_static keeps its scale a float32.

    The tensors are [N, T, heads, d].
    """
    q, k, v = (t.transpose([0, 2, 1, 3]) for t in (q, k, v))
    scores = paddle.matmul(q, k, transpose_y=True) * scalar(scale, q)
    if causal:
        scores = scores + paddle.triu(paddle.full_like(scores, -1e4), 1)
    return paddle.matmul(functional.softmax(scores), v).transpose([0, 2, 1, 3])


class ELU(nn.Layer):
    """Native in float32; 3.3's holds alpha as a float32, in float64 too, but 1 is exact."""

    def __init__(self, alpha: float) -> None:
        super().__init__()
        self._alpha = alpha

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype == paddle.float32:
            return functional.elu(x, self._alpha)
        return paddle.where(x > 0, x, functional.elu(x) * scalar(self._alpha, x))


def mean_huber(delta: float) -> Callable[[Tensor, Tensor], Tensor]:
    """Native in float32; 3.3's holds delta as a float32, in float64 too, but 1 is exact."""

    def mean(z: Tensor, y: Tensor) -> Tensor:
        if z.dtype == paddle.float32:
            return functional.smooth_l1_loss(z, y, delta=delta)
        threshold = scalar(delta, z)
        return functional.smooth_l1_loss(z / threshold, y / threshold) * (threshold * threshold)

    return mean


# Paddle asks for the classes Momentum, Adam and AdamW by name: ours must not have those.


class Momentum64(paddle.optimizer.Momentum):
    """3.3's kernel holds momentum and weight decay as float32, 5e-8 off in a float64 run."""

    def _append_optimize_op(self, block: Any, parameter_and_gradient: Any) -> None:
        parameter, gradient = parameter_and_gradient
        if self._regularization_coeff:
            gradient = gradient + parameter * self._regularization_coeff
        velocity = self._get_accumulator("velocity", parameter)
        velocity.scale_(self._momentum).add_(gradient)
        ahead = gradient + velocity * self._momentum if self._use_nesterov else velocity
        parameter.subtract_(ahead * self.get_lr())


class AdamW64(paddle.optimizer.Adam):
    """3.3's AdamW holds the weight decay as a float32; this decays, and leaves the rest to Adam."""

    def __init__(self, *, weight_decay: float, **options: Any) -> None:
        super().__init__(**options)
        self._decay = weight_decay

    def _append_optimize_op(self, block: Any, parameter_and_gradient: Any) -> None:
        parameter_and_gradient[0].scale_(1 - self.get_lr() * self._decay)
        super()._append_optimize_op(block, parameter_and_gradient)


class RMSProp64(paddle.optimizer.RMSProp):
    """3.3's kernel holds rho and epsilon as float32, 4e-8 off in a float64 run."""

    def _append_optimize_op(self, block: Any, parameter_and_gradient: Any) -> None:
        parameter, gradient = parameter_and_gradient
        s = self._get_accumulator("mean_square", parameter)
        s.scale_(self._rho).add_(gradient.square() * (1 - self._rho))
        parameter.subtract_(gradient / (s + self._epsilon).sqrt() * self.get_lr())


FORMULAS: dict[str, Any] = {  # by Paddle's name for what they replace
    "avg_pool2d": AvgPool2D,
    "batch_norm": BatchNorm,
    "layer_norm": LayerNorm,
    "scaled_dot_product_attention": attend,
    "elu": ELU,
    "smooth_l1_loss": mean_huber,
    "Momentum": Momentum64,
    "the decay of AdamW": AdamW64,
    "RMSProp": RMSProp64,
}
