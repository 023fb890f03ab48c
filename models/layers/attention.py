"""Self-attention."""

from __future__ import annotations

from ..initializers import GlorotUniform, Initializer, WeightSpec
from ..shapes import PositiveInt, Shape
from .base import BaseLayer, Name, expect_rank

ROLES = ("query_weight", "key_weight", "value_weight", "output_weight")


class MultiHeadAttention(BaseLayer, frozen=True, kw_only=True, tag="multi_head_attention"):
    """y = concat over heads of softmax(q kᵀ / √d) v, times Woᵀ; q, k, v = x Wqᵀ, x Wkᵀ, x Wvᵀ.

    Vaswani et al. 2017. Head j takes features j d .. (j + 1) d - 1, d = D / num_heads. With
    `causal`, position t attends to positions up to t. [T, D] -> [T, D], each weight [D, D]. There
    are no biases: the key's has no effect, and Adam would make noise of its zero gradient.
    """

    name: Name
    num_heads: PositiveInt
    causal: bool = False
    weight_initializer: Initializer = GlorotUniform()

    def output_shape(self, input_shape: Shape) -> Shape:
        features = expect_rank(self, input_shape, "[T, D]")[1]
        if features % self.num_heads:
            raise ValueError(f"num_heads {self.num_heads} does not divide the {features} features")
        return input_shape

    def weights(self, input_shape: Shape) -> dict[str, WeightSpec]:
        shape = (input_shape[1], input_shape[1])
        return {role: WeightSpec(shape, *shape, self.weight_initializer) for role in ROLES}

    def flops(self, input_shape: Shape, output_shape: Shape) -> int:
        steps, features = input_shape
        return 2 * (4 * steps * features**2 + 2 * steps**2 * features)
