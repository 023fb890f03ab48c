"""SGD with momentum and Adam as the spec has them, in TensorFlow's operators."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from ....models import optimizers
from ..lowered import Tensor

SMALL = 2**14  # elements: below, it costs more to share an update among threads than it saves


class SGD(keras.optimizers.SGD):
    """With the rate kept out of the velocity."""

    def __init__(self, spec: optimizers.SGD) -> None:
        rate, momentum = float(spec.learning_rate), float(spec.momentum)
        super().__init__(rate, momentum, spec.nesterov, name="sgd")

    def _backend_update_step(
        self, gradients: list[Tensor], variables: list[keras.Variable], learning_rate: Tensor
    ) -> None:
        rate = tf.convert_to_tensor(learning_rate.value)
        momentum = tf.constant(self.momentum, rate.dtype)
        for g, w, v in zip(gradients, variables, self.momentums, strict=True):
            tf.raw_ops.ResourceApplyMomentum(
                var=w.value.handle,
                accum=v.value.handle,
                lr=rate,
                grad=g,
                momentum=momentum,
                use_nesterov=self.nesterov,
            )


class Adam(keras.optimizers.Adam):
    """With the spec's epsilon, which Keras does not scale by √(1 - β₂ᵗ), in TensorFlow's operator.

    That forms 1 - β in the variables' dtype, 1e-5 off at 0.999: its slots are that much larger.
    The corrections are made in float64: Keras rounds β to float32 first, and then 1 - βᵗ cancels.
    """

    def __init__(self, spec: optimizers.Adam | optimizers.AdamW, decay: float = 0.0) -> None:
        rate = float(spec.learning_rate)
        super().__init__(rate, spec.beta1, spec.beta2, spec.epsilon, name="adam")
        self._decay = decay
        round_off = np.dtype(keras.config.floatx()).type
        betas = (spec.beta1, spec.beta2)
        self._shares = [1 - round_off(beta) for beta in betas]
        pairs = zip(self._shares, betas, strict=True)
        self.units = [float(share) / (1 - beta) for share, beta in pairs]

    def _backend_update_step(
        self, gradients: list[Tensor], variables: list[keras.Variable], learning_rate: Tensor
    ) -> None:
        if self._decay:
            kept = 1 - self._decay * learning_rate.value
            for w in variables:
                w.value.assign(w.value * kept)
        rate, step = (tf.cast(n.value, tf.float64) for n in (learning_rate, self.iterations))
        corrections = 1 - tf.pow(tf.constant([self.beta_1, self.beta_2], tf.float64), step + 1)
        correction_m, correction_v = tf.unstack(corrections * self.units)
        root = tf.sqrt(correction_v)
        dtype = learning_rate.dtype
        options = {
            "lr": tf.cast(rate * root / correction_m, dtype),
            "epsilon": tf.cast(self.epsilon * root, dtype),
            "beta1": tf.constant(self.beta_1, dtype),
            "beta2": tf.constant(self.beta_2, dtype),
            "beta1_power": tf.zeros([], dtype),  # the corrections are in the rate
            "beta2_power": tf.zeros([], dtype),
        }
        slots = (self._momentums, self._velocities)
        for g, *triple in zip(gradients, variables, *slots, strict=True):
            w, m, v = (variable.value for variable in triple)
            if tf.inside_function() and w.shape.num_elements() < SMALL:
                self._update_small(g, w, m, v, options["lr"], options["epsilon"])
            else:
                handles = {"var": w.handle, "m": m.handle, "v": v.handle}
                tf.raw_ops.ResourceApplyAdam(grad=g, **handles, **options)

    def _update_small(
        self, g: Tensor, w: tf.Variable, m: tf.Variable, v: tf.Variable, rate: Tensor, eps: Tensor
    ) -> None:
        """Do what the operator (2.21) does, which cuts even a bias in eight, for all threads."""
        share_m, share_v = self._shares
        m.assign_add((g - m) * share_m)
        v.assign_add((tf.square(g) - v) * share_v)
        w.assign_sub(rate * m / (tf.sqrt(v) + eps))
