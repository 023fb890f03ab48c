"""What every layer is: the base Struct, and the shape rules that several layers share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct

from ..initializers import Initializer, WeightSpec
from ..shapes import Shape, show

if TYPE_CHECKING:
    from .composite import Layer

Name = Annotated[str, Meta(pattern=r"^[A-Za-z][A-Za-z0-9_-]*\Z", max_length=64)]


class BaseLayer(Struct, frozen=True, kw_only=True, tag_field="type", forbid_unknown_fields=True):
    """A layer without weights and without layers inside; a subclass adds `output_shape`."""

    name: Name | None = None

    def weights(self, input_shape: Shape) -> dict[str, WeightSpec]:
        """Return the weights by role, in canonical layout."""
        return {}

    def flops(self, input_shape: Shape, output_shape: Shape) -> int:
        """Return the FLOPs of the forward pass for one sample."""
        return 0

    def branches(self) -> dict[str, tuple[Layer, ...]]:
        """Return the lists of layers inside this one, by field name."""
        return {}


class Elementwise(BaseLayer, frozen=True, kw_only=True):
    """A layer that keeps its input's shape, whatever it is."""

    def output_shape(self, input_shape: Shape) -> Shape:
        return input_shape


def weight_and_bias(
    shape: Shape,
    fans: tuple[int, int],
    *,
    weight: Initializer,
    bias: Initializer | None,
    units: int | None = None,
) -> dict[str, WeightSpec]:
    """Return a weight of `shape`, and a bias of `units` (`shape[0]`) unless it has none."""
    specs = {"weight": WeightSpec(shape, *fans, weight)}
    if bias is not None:
        specs["bias"] = WeightSpec((units or shape[0],), *fans, bias)
    return specs


def expect_rank(layer: BaseLayer, input_shape: Shape, axes: str) -> Shape:
    """Raise ValueError unless the input has these axes: `[C, H, W]`, say."""
    if len(input_shape) != axes.count(",") + 1:
        tag = layer.__struct_config__.tag
        raise ValueError(
            f"{tag} needs an input {axes}, got {show(input_shape)}; put a reshape before it"
        )
    return input_shape
