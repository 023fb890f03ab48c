"""Random nets that look for trouble: what rounding makes most of, one family of nets each.

Nets of `random_models` are small and mild. These saturate, cancel, nearly tie, run deep, add up
thousands of like terms, and are trained by rates, decays and clips at their extremes. None takes
more than some 3e7 FLOPs for a batch of 8, so that a certificate takes well under a second.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from hypothesis import reject
from hypothesis import strategies as st

from bakeoff.backends.contract import Adapter
from bakeoff.bench.parity import probes
from bakeoff.bench.parity.formulas import Formulas, State
from bakeoff.bench.worker.draw import representable
from bakeoff.bench.worker.evidence import Probe
from bakeoff.models import Model
from bakeoff.models.initializers import Constant, Initializer, Normal, Uniform
from bakeoff.models.layers import (
    BatchNorm,
    Conv2D,
    Dense,
    Flatten,
    GlobalAvgPool2D,
    Layer,
    LayerNorm,
    ReLU,
    Sigmoid,
    Softplus,
    Tanh,
)
from bakeoff.models.losses import MAE, MSE, BinaryCrossEntropy, Huber, Loss, SoftmaxCrossEntropy
from bakeoff.models.optimizers import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop
from bakeoff.models.schedules import ConstantRate, CosineDecay, Schedule, StepDecay

Draw = Callable[[st.SearchStrategy[Any]], Any]
Net = tuple[tuple[int, ...], list[Layer]]  # the shape of the input, the layers before the head

_MILD = st.sampled_from([0.2, 0.5, 1.0])
_SCALES = st.sampled_from([1e-6, 1e-4, 1e-2, 1.0, 30.0, 1e3])


@st.composite
def troublesome(draw: Draw, adapter: Adapter, steps: int) -> Probe:
    """Draw a net of one family, with what trains it, and the probe of it."""
    family = draw(st.sampled_from(FAMILIES))
    shape, layers = family(draw)
    loss, outputs, near = _loss(draw)
    scale = draw(_SCALES) if family is _scaled else draw(_MILD)
    head = Dense(name="head", units=outputs, weight_initializer=Normal(std=scale))
    model = Model(
        name=family.__name__.strip("_").replace("_", "-"),
        input=shape,
        layers=(*layers, head),
        loss=loss,
        optimizer=_optimizer(draw, steps),
    )
    specs = [*(node.layer for node in model.walk()), model.loss, model.optimizer]
    known = {*adapter.LAYERS, *adapter.LOSSES, *adapter.OPTIMIZERS}
    if not {type(spec) for spec in specs} <= known:
        reject()
    probe = probes.of_model(model, steps)
    return _with_targets_near_the_kink(probe) if near else probe


def _chain(draw: Draw) -> Net:
    """Convolutions without activations between them."""
    channels, size = draw(st.integers(1, 3)), draw(st.integers(8, 16))
    layers: list[Layer] = [
        _conv(draw, f"conv{i}", draw(st.integers(1, 6)), draw(st.sampled_from([1, 3])))
        for i in range(draw(st.integers(2, 5)))
    ]
    return (channels, size, size), [*layers, *_end(draw)]


def _depthwise(draw: Draw) -> Net:
    """Depthwise and 1x1 convolutions, with or without a stem, pooled over a map."""
    channels = draw(st.sampled_from([2, 4, 8]))
    stem = draw(st.booleans())
    layers: list[Layer] = [_conv(draw, "stem", channels, 3)] if stem else []
    for i in range(draw(st.integers(1, 2))):
        layers += [
            _conv(draw, f"depthwise{i}", channels, 3, groups=channels),
            *_norm(draw, f"norm{i}"),
            _conv(draw, f"pointwise{i}", channels, 1),
        ]
    size = draw(st.sampled_from([6, 12, 24]))
    return (3 if stem else channels, size, size), [*layers, *_end(draw)]


def _saturated(draw: Draw) -> Net:
    """Tanh and sigmoid where they are flat: the derivative is what cancellation leaves of it."""
    bias = draw(st.sampled_from([-1, 1])) * draw(st.integers(8, 17))
    layers: list[Layer] = []
    for i in range(draw(st.integers(1, 2))):
        layers += [
            Dense(
                name=f"dense{i}",
                units=draw(st.integers(2, 8)),
                weight_initializer=Normal(std=draw(st.sampled_from([0.1, 1.0, 5.0]))),
                bias_initializer=Constant(bias),
            ),
            draw(st.sampled_from([Tanh(), Sigmoid()])),
        ]
    return (draw(st.integers(2, 10)),), layers


def _tied(draw: Draw) -> Net:
    """Norms of what nearly ties: two or three features, or channels that hardly vary."""
    std = draw(st.sampled_from([1e-4, 1e-3, 1e-2, 0.1]))
    near: dict[str, Any] = {
        "weight_initializer": Normal(std=std),
        "bias_initializer": Constant(draw(st.sampled_from([0.0, 1.0, 3.0]))),
    }
    epsilon = draw(st.sampled_from([1e-7, 1e-5, 1e-3]))
    if draw(st.booleans()):
        dense = Dense(name="near", units=draw(st.integers(2, 3)), **near)
        return (draw(st.integers(2, 6)),), [dense, LayerNorm(name="norm", epsilon=epsilon)]
    size = draw(st.integers(2, 12))
    conv = Conv2D(name="near", filters=draw(st.integers(1, 4)), kernel_size=1, **near)
    norm = BatchNorm(name="norm", epsilon=epsilon)
    return (draw(st.integers(1, 3)), size, size), [conv, norm, *_end(draw)]


def _deep(draw: Draw) -> Net:
    """Twenty to fifty narrow layers."""
    width, activation = draw(st.integers(3, 8)), draw(st.sampled_from([Tanh(), ReLU()]))
    std = draw(st.sampled_from([0.9, 1.2])) * (2 / width) ** 0.5
    layers: list[Layer] = []
    for i in range(draw(st.integers(20, 50))):
        layers += [_dense(f"dense{i}", width, std), activation]
    return (width,), layers


def _long_sums(draw: Draw) -> Net:
    """A dense layer over thousands of terms of one sign, with weights of one sign too, or not."""
    inputs = draw(st.sampled_from([1_000, 3_000, 8_000, 20_000]))
    weights: Initializer = draw(
        st.sampled_from([Uniform(0.0, 2 / inputs), Normal(std=inputs**-0.5), Constant(1 / inputs)])
    )
    positive = draw(st.sampled_from([Sigmoid(), Softplus()]))
    dense = Dense(name="long", units=draw(st.integers(1, 4)), weight_initializer=weights)
    return (inputs,), [positive, dense, *draw(st.sampled_from([[], [Tanh()]]))]


def _wide_maps(draw: Draw) -> Net:
    """Convolutions over wide maps of one sign: it is the gradients and the pool that add up."""
    size, channels = draw(st.sampled_from([32, 64, 96])), draw(st.integers(1, 3))
    conv = _conv(draw, "conv", draw(st.integers(1, 4)), draw(st.sampled_from([1, 3])))
    positive = draw(st.sampled_from([Sigmoid(), Softplus()]))
    after = draw(st.sampled_from([[], [ReLU()], [Sigmoid()]]))
    return (channels, size, size), [positive, conv, *after, GlobalAvgPool2D()]


def _scaled(draw: Draw) -> Net:
    """Large and tiny weights beside each other."""
    layers: list[Layer] = []
    for i in range(draw(st.integers(1, 3))):
        layers += [
            _dense(f"dense{i}", draw(st.integers(2, 8)), draw(_SCALES)),
            draw(st.sampled_from([ReLU(), Tanh(), Softplus()])),
        ]
    return (draw(st.integers(2, 8)),), layers


def _bias_before_norm(draw: Draw) -> Net:
    """A bias that a batch norm takes away again: its gradient is rounding and nothing else."""
    if draw(st.booleans()):
        dense = _dense("dense", draw(st.integers(2, 6)), draw(_MILD))
        return (draw(st.integers(2, 6)),), [dense, BatchNorm(name="norm"), ReLU()]
    size = draw(st.sampled_from([4, 8, 16]))
    conv = _conv(draw, "conv", draw(st.integers(1, 6)), 3)
    after: list[Layer] = draw(st.sampled_from([[], [ReLU()], [Tanh()]]))
    return (draw(st.integers(1, 3)), size, size), [
        conv,
        BatchNorm(name="norm"),
        *after,
        *_end(draw),
    ]


def _plain(draw: Draw) -> Net:
    """A mild net, so that the optimizer or the loss is all the trouble."""
    layers: list[Layer] = [_dense("dense", draw(st.integers(2, 8)), draw(_MILD))]
    return (draw(st.integers(2, 8)),), [*layers, draw(st.sampled_from([ReLU(), Tanh()]))]


FAMILIES = [
    _chain,
    _depthwise,
    _saturated,
    _tied,
    _deep,
    _long_sums,
    _wide_maps,
    _scaled,
    _bias_before_norm,
    _plain,
]


def _conv(draw: Draw, name: str, filters: int, kernel: int, groups: int = 1) -> Layer:
    return Conv2D(
        name=name,
        filters=filters,
        kernel_size=kernel,
        padding=kernel // 2,
        groups=groups,
        weight_initializer=Normal(std=draw(_MILD)),
        bias_initializer=Normal(std=0.5),
    )


def _dense(name: str, units: int, std: float) -> Layer:
    return Dense(
        name=name,
        units=units,
        weight_initializer=Normal(std=std),
        bias_initializer=Normal(std=0.1 * min(std, 1.0)),
    )


def _norm(draw: Draw, name: str) -> list[Layer]:
    return draw(st.sampled_from([[], [BatchNorm(name=name)], [BatchNorm(name=name), ReLU()]]))


def _end(draw: Draw) -> list[Layer]:
    return [draw(st.sampled_from([GlobalAvgPool2D(), Flatten()]))]


def _loss(draw: Draw) -> tuple[Loss, int, bool]:
    """Draw a loss, its outputs, and whether its targets are near its kink."""
    outputs, near = draw(st.integers(1, 4)), draw(st.booleans())
    match draw(st.integers(0, 4)):
        case 0:
            return MSE(), outputs, False
        case 1:
            return MAE(), outputs, near
        case 2:
            return Huber(delta=draw(st.sampled_from([1e-3, 0.25, 1.0]))), outputs, near
        case 3:
            return BinaryCrossEntropy(), 1, False
        case _:
            smoothing = draw(st.sampled_from([0.0, 0.1]))
            return SoftmaxCrossEntropy(label_smoothing=smoothing), outputs + 1, False


def _optimizer(draw: Draw, steps: int) -> Optimizer:
    """Draw an optimizer with the epsilons that people use, and a rate that is tiny or is not."""
    kind = draw(st.sampled_from([SGD, Adam, Adam, AdamW, RMSprop, Adagrad]))
    options: dict[str, Any] = {
        "learning_rate": draw(st.sampled_from([1e-4, 1e-3, 0.01])),
        "schedule": _schedule(draw, steps),
        "weight_decay": draw(st.sampled_from([0.0, 1e-4, 0.01])),
        "clip_norm": draw(st.sampled_from([None, None, 1e-5, 0.1])),
        "clip_value": draw(st.sampled_from([None, None, None, 1e-3])),
    }
    if kind is SGD:
        options["momentum"] = draw(st.sampled_from([0.0, 0.9]))
        options["nesterov"] = bool(options["momentum"]) and draw(st.booleans())
    return kind(**options)


def _schedule(draw: Draw, steps: int) -> Schedule:
    """Draw one that ends within the probe, jumps at each step, or has hardly warmed up."""
    match draw(st.integers(0, 3)):
        case 0:
            return CosineDecay(steps=draw(st.integers(1, steps)))
        case 1:
            return StepDecay(steps=1, gamma=draw(st.sampled_from([0.1, 0.5])))
        case 2:
            return CosineDecay(steps=steps, warmup_steps=steps)
        case _:
            return ConstantRate(warmup_steps=draw(st.sampled_from([0, steps])))


def _with_targets_near_the_kink(probe: Probe) -> Probe:
    """Replace the targets by what the net itself says, as near to the kink as float32 can be."""
    loss, formulas = probe.model.loss, Formulas(probe.model)
    delta = loss.delta if isinstance(loss, Huber) else 0.0
    state, batches = State.start(probe.model, probe.weights), []
    for x, y, masks in probe.batches:
        outputs = formulas.derivatives(state, (x, y, masks))["forward/head"]
        batch = x, representable(outputs - math.copysign(delta, len(batches) % 2 - 0.5)), masks
        batches.append(batch)
        state = formulas.trained(state, batch)
    return probe._replace(batches=batches)
