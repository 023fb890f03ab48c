"""Each optimizer as Paddle has it: the native one, and its own names for our slots."""

from __future__ import annotations

from typing import Any

import paddle
from paddle import Tensor, nn

from ...models import optimizers
from ..contract import lowering
from . import float64, formulas

NativeOptimizer = tuple[paddle.optimizer.Optimizer, dict[str, str]]


def sgd(optimizer: optimizers.SGD, parameters: list[Tensor]) -> NativeOptimizer:
    common = _common(optimizer, parameters)
    if not optimizer.momentum:
        return paddle.optimizer.SGD(**common), {}
    native = (paddle.optimizer.Momentum if _is_float32(parameters) else float64.Momentum64)(
        momentum=optimizer.momentum, use_nesterov=optimizer.nesterov, **common
    )
    return native, {"velocity": "velocity"}


def adam(optimizer: optimizers.Adam, parameters: list[Tensor]) -> NativeOptimizer:
    native = paddle.optimizer.Adam(
        **_betas(optimizer),
        use_multi_tensor=_is_float32(parameters),  # the only dtype it has
        **_common(optimizer, parameters),
    )
    return native, _M_V


def adamw(optimizer: optimizers.AdamW, parameters: list[Tensor]) -> NativeOptimizer:
    common = _common(optimizer, parameters) | {"weight_decay": optimizer.weight_decay}
    native = paddle.optimizer.AdamW if _is_float32(parameters) else float64.AdamW64
    return native(**_betas(optimizer), **common), _M_V


def rmsprop(optimizer: optimizers.RMSprop, parameters: list[Tensor]) -> NativeOptimizer:
    native = (paddle.optimizer.RMSProp if _is_float32(parameters) else float64.RMSProp64)(
        rho=optimizer.rho, epsilon=optimizer.epsilon, **_common(optimizer, parameters)
    )
    return native, {"s": "mean_square"}


def adagrad(optimizer: optimizers.Adagrad, parameters: list[Tensor]) -> NativeOptimizer:
    native = formulas.Adagrad(epsilon=optimizer.epsilon, **_common(optimizer, parameters))
    return native, {"s": "moment"}


_M_V = {"m": "moment1", "v": "moment2"}


def _common(optimizer: optimizers.Optimizer, parameters: list[Tensor]) -> dict[str, Any]:
    """Return what every native optimizer takes; it clips before it adds the coupled decay."""
    return {
        "learning_rate": optimizer.learning_rate,
        "parameters": parameters,
        "weight_decay": optimizer.weight_decay or None,
        "grad_clip": _clip(optimizer),
    }


def _betas(optimizer: optimizers.Adam | optimizers.AdamW) -> dict[str, float]:
    return {
        "beta1": optimizer.beta1,
        "beta2": optimizer.beta2,
        "epsilon": optimizer.epsilon,
    }


def _is_float32(parameters: list[Tensor]) -> bool:
    return bool(parameters[0].dtype == paddle.float32)


def _clip(optimizer: optimizers.Optimizer) -> Any:
    clips = []
    if optimizer.clip_value:
        clips.append(nn.ClipGradByValue(optimizer.clip_value))
    if optimizer.clip_norm:
        clips.append(nn.ClipGradByGlobalNorm(optimizer.clip_norm))
    return _ClipInTurn(clips) if len(clips) > 1 else next(iter(clips), None)


class _ClipInTurn(paddle.nn.clip.ClipGradBase):
    def __init__(self, clips: list[Any]) -> None:
        super().__init__()
        self._clips = clips

    def _dygraph_clip(self, parameters_and_gradients: Any) -> Any:
        for clip in self._clips:
            parameters_and_gradients = clip(parameters_and_gradients)
        return parameters_and_gradients


OPTIMIZERS = lowering(optimizers.Optimizer, globals())
