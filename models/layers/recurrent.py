"""Recurrent layers: [T, I] -> [units], the last state, or [T, units] with `return_sequences`.

h[-1] = c[-1] = 0. With `bidirectional` a second layer, whose weights begin with `backward_`, reads
the input from its end; outputs are joined, forward first: of each at its own last step, or, with
`return_sequences`, of both at the same t.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from ..initializers import GlorotUniform, Initializer, LecunUniform, WeightSpec, Zeros
from ..shapes import PositiveInt, Shape
from .base import BaseLayer, Name, expect_rank

DIRECTIONS = ("", "backward_")


class _Recurrent(BaseLayer, frozen=True, kw_only=True):
    gates: ClassVar[int] = 1
    biases: ClassVar[tuple[str, ...]] = ("bias",)

    name: Name
    units: PositiveInt
    return_sequences: bool = False
    bidirectional: bool = False
    weight_initializer: Initializer = GlorotUniform()
    recurrent_initializer: Initializer = LecunUniform()
    bias_initializer: Initializer = Zeros()

    @property
    def directions(self) -> tuple[str, ...]:
        """The prefixes of the weights of each direction."""
        return DIRECTIONS if self.bidirectional else DIRECTIONS[:1]

    def output_shape(self, input_shape: Shape) -> Shape:
        steps = expect_rank(self, input_shape, "[T, I]")[0]
        size = self.units * len(self.directions)
        return (steps, size) if self.return_sequences else (size,)

    def weights(self, input_shape: Shape) -> dict[str, WeightSpec]:
        inputs, rows = input_shape[1], self.gates * self.units
        specs = {}
        for prefix in self.directions:
            into, again = (inputs, self.units), (self.units, self.units)
            specs[f"{prefix}weight"] = WeightSpec((rows, inputs), *into, self.weight_initializer)
            specs[f"{prefix}recurrent_weight"] = WeightSpec(
                (rows, self.units), *again, self.recurrent_initializer
            )
            for bias in self.biases:
                specs[f"{prefix}{bias}"] = WeightSpec((rows,), *into, self.bias_initializer)
        return specs

    def flops(self, input_shape: Shape, output_shape: Shape) -> int:
        steps, inputs = input_shape
        rows = self.gates * self.units
        return 2 * steps * rows * (inputs + self.units) * len(self.directions)


class SimpleRNN(_Recurrent, frozen=True, kw_only=True, tag="simple_rnn"):
    """h[t] = φ(W x[t] + b + U h[t-1]), φ = tanh or relu (Elman 1990).

    weight W [units, I], recurrent_weight U [units, units], bias b [units]. Where a framework has
    two biases, which would learn at twice the rate, the adapter holds the second at 0.
    """

    activation: Literal["tanh", "relu"] = "tanh"


class LSTM(_Recurrent, frozen=True, kw_only=True, tag="lstm"):
    """i, f, o = σ(·), g = tanh(·) of W x[t] + b + U h[t-1]; c ← f c + i g; h ← o tanh c.

    Hochreiter & Schmidhuber 1997, with forget gates (Gers et al. 2000). The rows of W [4 units, I],
    U [4 units, units], b [4 units] are blocks in the order i, f, g, o. Where a framework has two
    biases, the adapter holds the second at 0.
    """

    gates: ClassVar[int] = 4


class GRU(_Recurrent, frozen=True, kw_only=True, tag="gru"):
    """r, z = σ(W x[t] + b + U h[t-1] + d); n = tanh(Wn x[t] + bn + r (Un h[t-1] + dn));
    h ← (1 - z) n + z h (Cho et al. 2014, the reset gate after the product, as cuDNN has it).

    The rows of W [3 units, I], U [3 units, units], bias b and recurrent_bias d [3 units] are blocks
    in the order r, z, n; both biases learn.
    """

    gates: ClassVar[int] = 3
    biases: ClassVar[tuple[str, ...]] = ("bias", "recurrent_bias")
