"""SGD with momentum and Adam as the spec has them, for JAX."""

from __future__ import annotations

import keras
import numpy as np
from jax import numpy as jnp

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
        for g, w, v in zip(gradients, variables, self.momentums, strict=True):
            v.assign(self.momentum * v.value + g)
            step = g + self.momentum * v.value if self.nesterov else v.value
            w.assign(w.value - learning_rate.value * step)


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
        corrections = 1 - np.array([beta1, beta2]) ** (self.iterations.value + 1)
        correction_m, correction_v = corrections.astype(rate.dtype)
        slots = (self._momentums, self._velocities)
        for g, w, m, v in zip(gradients, variables, *slots, strict=True):
            m.assign(beta1 * m.value + (1 - beta1) * g)
            v.assign(beta2 * v.value + (1 - beta2) * jnp.square(g))
            step = m.value / correction_m / (jnp.sqrt(v.value / correction_v) + self.epsilon)
            w.assign((1 - self._decay * rate) * w.value - rate * step)
