"""The neutral spec: what it accepts, infers, counts and draws."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import numpy as np
import pytest

from bakeoff.models import InputError, Model, cost, read, zoo
from bakeoff.models.init import batch_order, dropout_masks, initial_weights, stream
from bakeoff.models.initializers import (
    Constant,
    GlorotNormal,
    GlorotUniform,
    HeNormal,
    HeUniform,
    Initializer,
    LecunNormal,
    LecunUniform,
    Normal,
    TruncatedNormal,
    Uniform,
    WeightSpec,
    Zeros,
)
from bakeoff.models.layers import Dense, Dropout, Layer, ReLU, Residual
from bakeoff.models.losses import MSE
from bakeoff.models.optimizers import SGD
from bakeoff.models.words import words

_CLAIMS = Path(__file__).parents[2] / "models" / "claims"
_LENET = (Path(__file__).parents[2] / "models" / "zoo" / "lenet5.toml").read_text(encoding="utf-8")


def _model(*layers: Layer) -> Model:
    return Model(name="m", input=(4,), layers=layers, loss=MSE(), optimizer=SGD(learning_rate=0.5))


def test_every_claim_on_a_framework_is_of_a_word_that_is_explained() -> None:
    """Else nobody reads it, and no test checks it."""
    claimed = [
        claims
        for path in _CLAIMS.glob("*.toml")
        for claims in msgspec.toml.decode(path.read_bytes()).values()
    ]
    explained = [word.claims for word in words().values()]
    assert claimed
    assert all(claims in explained for claims in claimed)


def test_a_norm_says_nothing_of_frameworks() -> None:
    """What they do is a claim, which a test checks; the docstring of a norm is not checked."""
    for word, (norms, _) in words().items():
        for norm in norms:
            named = re.findall(r"PyTorch|Keras|Paddle|MXNet|Gluon|JAX|Flax|optax", norm.__doc__)
            assert not named, word


@pytest.mark.parametrize("name", zoo())
def test_the_zoo_is_named_as_its_files_and_survives_json(name: str) -> None:
    model = read(name)
    assert model.name == name
    assert model.description
    assert msgspec.json.decode(msgspec.json.encode(model), type=Model) == model


def test_shapes_parameters_and_flops_of_lenet5() -> None:
    """Counted by hand: 2 x multiply-adds; a training step has no input gradient for conv1."""
    model = read("lenet5")
    nodes = {node.key: node for node in model.walk()}
    assert nodes["conv1"].output_shape == (6, 28, 28)
    assert nodes["conv2"].output_shape == (16, 10, 10)
    assert nodes["layers[6]"].output_shape == (400,)
    assert model.output_shape == (10,)
    conv1 = 2 * 6 * 28 * 28 * 25
    conv2 = 2 * 16 * 10 * 10 * 6 * 25
    dense = 2 * (400 * 120 + 120 * 84 + 84 * 10)
    assert cost(nodes["conv1"]).training_flops == 2 * conv1
    assert model.cost.forward_flops == conv1 + conv2 + dense
    assert model.cost.training_flops == 2 * conv1 + 3 * (conv2 + dense)
    assert model.cost.parameters == 61_706


def test_a_residual_is_walked_inside_out_and_costs_what_is_inside() -> None:
    inner = Dense(name="inner", units=4)
    model = _model(Residual(body=(inner, ReLU())), Dense(name="head", units=1))
    assert [node.key for node in model.walk()] == [
        "inner",
        "layers[0].body[1]",
        "layers[0]",
        "head",
    ]
    assert model.cost.parameters == 4 * 4 + 4 + 4 + 1
    assert model.cost.training_flops == 2 * 2 * 16 + 3 * 2 * 4


_WRONG = {
    "unknown field": ("units = 120", "units = 120\nunit = 3", "unknown field `unit`"),
    "wrong type": ("units = 120", 'units = "many"', "Expected `int`, got `str`"),
    "too small": ("units = 120", "units = 0", ">= 1"),
    "unknown layer": ('type = "conv2d"', 'type = "conv2"', "did you mean conv2d?"),
    "unknown optimizer": ('type = "adam"', 'type = "adm"', "did you mean adam? known: sgd, adam"),
    "not a number": ("learning_rate = 0.0003662109375", "learning_rate = nan", "> 0.0"),
    "infinite": ("learning_rate = 0.0003662109375", "learning_rate = inf", "<= 1e+30"),
    "layer order": ('type = "flatten"', 'type = "relu"', '"dense1": dense needs an input'),
    "two of a name": ('name = "dense1"', 'name = "dense2"', 'two layers are named "dense2"'),
    "no name": ('name = "dense1"', "", "missing required field `name`"),
    "name of no use": ('name = "dense1"', 'name = "a/../b"', "matching regex"),
    "name with a line after it": ('name = "dense1"', 'name = "dense1\\n"', "matching regex"),
    "window too large": ("kernel_size = 5", "kernel_size = 50", '"conv1": a window of [50, 50]'),
    "pair too long": ("kernel_size = 5", "kernel_size = [5, 5, 5]", "length <= 2"),
    "broken toml": ("units = 120", "units = = 120", "line 38"),
    "wrong output": ("units = 10\n", "units = 1\n", "at least 2 classes"),
    "empty": (_LENET, "", "missing required field"),
}


@pytest.mark.parametrize("wrong", _WRONG)
def test_a_wrong_spec_is_one_line_that_names_file_and_place(wrong: str, tmp_path: Path) -> None:
    before, after, message = _WRONG[wrong]
    path = tmp_path / "model.toml"
    assert before in _LENET
    path.write_text(_LENET.replace(before, after), encoding="utf-8")
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        read(str(path))
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_text_or_not_there(tmp_path: Path) -> None:
    (tmp_path / "model.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="UTF-8"):
        read(str(tmp_path / "model.toml"))
    with pytest.raises(InputError, match="cannot be read"):
        read(str(tmp_path / "nobody.toml"))
    with pytest.raises(InputError, match="did you mean lenet5"):
        read("lenet")


_SPEC = WeightSpec((300, 500), fan_in=500, fan_out=300, initializer=Zeros())
_DISTRIBUTIONS = [
    (Zeros(), 0.0, 0.0),
    (Constant(value=3.5), 3.5, 0.0),
    (Uniform(low=-1.0, high=3.0), 1.0, 4 / np.sqrt(12)),
    (Normal(mean=2.0, std=0.5), 2.0, 0.5),
    (TruncatedNormal(mean=2.0, std=0.5), 2.0, 0.5 * 0.8796256610342398),
    (GlorotUniform(), 0.0, np.sqrt(2 / 800)),
    (GlorotNormal(), 0.0, np.sqrt(2 / 800)),
    (HeUniform(), 0.0, np.sqrt(2 / 500)),
    (HeNormal(), 0.0, np.sqrt(2 / 500)),
    (LecunUniform(), 0.0, np.sqrt(1 / 500)),
    (LecunNormal(), 0.0, np.sqrt(1 / 500)),
]


@pytest.mark.parametrize(
    ("initializer", "mean", "std"),
    [pytest.param(*row, id=row[0].__struct_config__.tag) for row in _DISTRIBUTIONS],
)
def test_initializers_have_their_mean_and_spread(
    initializer: Initializer, mean: float, std: float
) -> None:
    """Over 150,000 draws: five standard errors of the mean, and of the spread (kurtosis <= 3)."""
    w = initializer.draw(stream(0, "test"), _SPEC)
    assert w.shape == _SPEC.shape
    error = std / np.sqrt(w.size)
    assert abs(w.mean() - mean) <= 5 * error
    assert abs(w.std() - std) <= 5 * error


def test_bounded_initializers_keep_their_bounds() -> None:
    limit = np.sqrt(6 / 800)
    w = GlorotUniform().draw(stream(0, "test"), _SPEC)
    assert 0.999 * limit < np.abs(w).max() <= limit
    w = TruncatedNormal(std=0.5).draw(stream(0, "test"), _SPEC)
    assert 0.99 < np.abs(w).max() <= 1.0


def test_adding_a_layer_shifts_no_other_layers_draw() -> None:
    head = Dense(name="head", units=2)
    alone = initial_weights(_model(Dense(name="a", units=3), head), 5, "float32")
    longer = initial_weights(
        _model(Dense(name="b", units=4), Dense(name="a", units=3), head), 5, "float32"
    )
    np.testing.assert_array_equal(alone["head.weight"], longer["head.weight"])
    other_seed = initial_weights(_model(Dense(name="a", units=3), head), 6, "float32")
    assert np.any(alone["head.weight"] != other_seed["head.weight"])


def test_both_dtypes_start_from_the_same_point() -> None:
    model = read("boston-mlp")
    low, high = (initial_weights(model, 1, dtype) for dtype in ("float32", "float64"))
    for name, weight in high.items():
        assert (low[name].dtype, weight.dtype) == (np.float32, np.float64)
        np.testing.assert_array_equal(low[name].astype(np.float64), weight)


def test_a_batch_order_is_fresh_permutations_in_full_batches() -> None:
    order = batch_order(10, batch_size=3, epochs=4, seed=0)
    assert order.shape == (4, 3, 3)
    for epoch in order:
        assert len(set(epoch.ravel())) == 9
        assert set(epoch.ravel()) <= set(range(10))
    assert len({tuple(epoch.ravel()) for epoch in order}) == 4
    np.testing.assert_array_equal(order, batch_order(10, batch_size=3, epochs=4, seed=0))


def test_a_batch_larger_than_the_data_is_all_of_it() -> None:
    order = batch_order(5, batch_size=64, epochs=2, seed=0)
    assert order.shape == (2, 1, 5)
    assert sorted(order[0, 0]) == [0, 1, 2, 3, 4]


def test_dropout_masks_keep_their_share_and_change_with_the_step() -> None:
    model = _model(Dropout(name="drop", rate=0.25), Dense(name="head", units=1))
    first, second = (dropout_masks(model, 20_000, seed=0, step=step)["drop"] for step in (0, 1))
    assert first.shape == (20_000, 4)
    assert first.dtype == bool
    assert abs(first.mean() - 0.75) < 5 * np.sqrt(0.75 * 0.25 / first.size)
    assert np.any(first != second)
