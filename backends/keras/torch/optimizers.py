"""SGD with momentum and Adam as the spec has them, in PyTorch's operators for many tensors, of
which Keras's own are made.
"""

from __future__ import annotations

import keras
import torch

from ....models import optimizers
from ..lowered import Tensor


class SGD(keras.optimizers.SGD):
    """With the rate kept out of the velocity."""

    def __init__(self, spec: optimizers.SGD) -> None:
        rate, momentum = float(spec.learning_rate), float(spec.momentum)
        super().__init__(rate, momentum, spec.nesterov, name="sgd")

    def _backend_update_step(
        self, gradients: list[Tensor], variables: list[keras.Variable], learning_rate: Tensor
    ) -> None:
        w, v = ([variable.value for variable in each] for each in (variables, self.momentums))
        torch._foreach_mul_(v, self.momentum)
        torch._foreach_add_(v, gradients)
        step = torch._foreach_add(gradients, v, alpha=self.momentum) if self.nesterov else v
        torch._foreach_sub_(w, torch._foreach_mul(step, learning_rate.value))


class Adam(keras.optimizers.Adam):
    """With the spec's epsilon, which Keras does not scale by √(1 - β₂ᵗ).

    The corrections are made in float64: Keras takes βᵗ in float32, and then 1 - βᵗ cancels.
    """

    units = (1.0, 1.0)

    def __init__(self, spec: optimizers.Adam | optimizers.AdamW, decay: float = 0.0) -> None:
        rate = float(spec.learning_rate)
        super().__init__(rate, spec.beta1, spec.beta2, spec.epsilon, name="adam")
        self._decay = decay

    def _backend_update_step(
        self, gradients: list[Tensor], variables: list[keras.Variable], learning_rate: Tensor
    ) -> None:
        rate, beta1, beta2 = learning_rate.value, self.beta_1, self.beta_2
        step = self.iterations.value.double() + 1
        correction_m, correction_v = ((1 - beta**step).to(rate.dtype) for beta in (beta1, beta2))
        w, m, v = (
            [variable.value for variable in each]
            for each in (variables, self._momentums, self._velocities)
        )
        if self._decay:
            torch._foreach_mul_(w, 1 - self._decay * rate)
        torch._foreach_mul_(m, beta1)
        torch._foreach_add_(m, gradients, alpha=1 - beta1)
        torch._foreach_mul_(v, beta2)
        torch._foreach_addcmul_(v, gradients, gradients, 1 - beta2)
        roots = torch._foreach_div(v, correction_v)
        torch._foreach_sqrt_(roots)
        torch._foreach_add_(roots, self.epsilon)
        moved = torch._foreach_mul(m, rate / correction_m)
        torch._foreach_div_(moved, roots)
        torch._foreach_sub_(w, moved)
