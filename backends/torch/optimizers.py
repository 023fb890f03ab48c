"""Each optimizer as PyTorch has it: the native one, and its own names for our slots."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...models import optimizers
from ..contract import lowering

NativeOptimizer = tuple[torch.optim.Optimizer, dict[str, str]]


def sgd(optimizer: optimizers.SGD, parameters: list[nn.Parameter]) -> NativeOptimizer:
    native = torch.optim.SGD(
        parameters,
        lr=optimizer.learning_rate,
        momentum=optimizer.momentum,
        nesterov=optimizer.nesterov,
        weight_decay=optimizer.weight_decay,
        fused=True,
    )
    return native, {"velocity": "momentum_buffer"} if optimizer.momentum else {}


def adam(optimizer: optimizers.Adam, parameters: list[nn.Parameter]) -> NativeOptimizer:
    return _adam(torch.optim.Adam, optimizer, parameters)


def adamw(optimizer: optimizers.AdamW, parameters: list[nn.Parameter]) -> NativeOptimizer:
    return _adam(torch.optim.AdamW, optimizer, parameters)


def _adam(
    native: type[torch.optim.Adam],
    optimizer: optimizers.Adam | optimizers.AdamW,
    parameters: list[nn.Parameter],
) -> NativeOptimizer:
    # On a GPU the fused kernel (2.11) rounds beta2 before it forms 1 - beta2: v is off by 1.3e-5.
    fused = parameters[0].device.type == "cpu"
    made = native(
        parameters,
        lr=optimizer.learning_rate,
        betas=(optimizer.beta1, optimizer.beta2),
        eps=optimizer.epsilon,
        weight_decay=optimizer.weight_decay,
        fused=fused,
        foreach=not fused,
    )
    return made, {"m": "exp_avg", "v": "exp_avg_sq"}


def rmsprop(optimizer: optimizers.RMSprop, parameters: list[nn.Parameter]) -> NativeOptimizer:
    return _SquareRoot(parameters, optimizer, keep=optimizer.rho, add=1 - optimizer.rho), _S


def adagrad(optimizer: optimizers.Adagrad, parameters: list[nn.Parameter]) -> NativeOptimizer:
    return _SquareRoot(parameters, optimizer, keep=1.0, add=1.0), _S


_S = {"s": "s"}


class _SquareRoot(torch.optim.Optimizer):
    """s ← keep·s + add·g²; w ← w - η g / √(s + ε): PyTorch's RMSprop and Adagrad have √s + ε."""

    def __init__(
        self,
        parameters: list[nn.Parameter],
        spec: optimizers.RMSprop | optimizers.Adagrad,
        *,
        keep: float,
        add: float,
    ) -> None:
        super().__init__(parameters, {"lr": spec.learning_rate})
        self._spec, self._keep, self._add = spec, keep, add

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def step(self, closure: None = None) -> None:
        group = self.param_groups[0]
        parameters = group["params"]
        gradients = [p.grad for p in parameters]
        if self._spec.weight_decay:
            gradients = torch._foreach_add(gradients, parameters, alpha=self._spec.weight_decay)
        s = [self.state[p]["s"] for p in parameters]
        torch._foreach_mul_(s, self._keep)
        torch._foreach_addcmul_(s, gradients, gradients, self._add)
        roots = torch._foreach_add(s, self._spec.epsilon)
        torch._foreach_sqrt_(roots)
        torch._foreach_addcdiv_(parameters, gradients, roots, -group["lr"])


def clip(spec: optimizers.Optimizer, parameters: list[Tensor]) -> None:
    """Clip the gradients in place, each element and then all by their norm, if it is asked for."""
    gradients = [p.grad for p in parameters]
    if spec.clip_value:
        torch._foreach_clamp_min_(gradients, -spec.clip_value)
        torch._foreach_clamp_max_(gradients, spec.clip_value)
    if spec.clip_norm:  # PyTorch's clip_grad_norm_ divides by the norm + 1e-6
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        torch._foreach_mul_(gradients, (spec.clip_norm / norm).clamp(max=1.0))


OPTIMIZERS = lowering(optimizers.Optimizer, globals())
