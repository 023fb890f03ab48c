"""What is said to a stranger: the mend of each mistake, in the words of other frameworks too."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest

from bakeoff.bench import workload as workloads
from bakeoff.bench.workload import Workload
from bakeoff.datasets import load
from bakeoff.datasets.dataset import Dataset
from bakeoff.models import InputError, Model, read, zoo
from bakeoff.models.layers import (
    LSTM,
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Layer,
    ReLU,
    Sigmoid,
    SimpleRNN,
    Softmax,
    Tanh,
)
from bakeoff.models.losses import MAE, MSE, BinaryCrossEntropy, Huber, Loss, SoftmaxCrossEntropy
from bakeoff.models.optimizers import SGD, Optimizer
from bakeoff.models.synonyms import closest

Command = Callable[..., Any]

_SPEC = """
name = "m"
input = [1, 28, 28]
layers = [
    { type = "conv2d", name = "conv", filters = 4, kernel_size = 3 },
    { type = "flatten" },
    { type = "dense", name = "output", units = 10 },
]
loss = { type = "softmax_cross_entropy" }
optimizer = { type = "adam", learning_rate = 0.001 }
"""

_MENDS = {
    "lr": ("learning_rate = 0.001", "lr = 0.001", "did you mean learning_rate? known: learning_"),
    "betas": ("0.001 }", "0.001, betas = [0, 1] }", "did you mean beta1 or beta2? known:"),
    "eps": ("0.001 }", "0.001, eps = 1e-8 }", "did you mean epsilon?"),
    "momentum": ("0.001 }", "0.001, momentum = 0.9 }", "did you mean beta1?"),
    "activation": ("units = 10", 'units = 10, activation = "relu"', '{ type = "relu" }; known: '),
    "out_features": ("units = 10", "out_features = 10", "did you mean units?"),
    "channels": ("filters = 4", "channels = 4", "did you mean filters?"),
    "strides": ("filters = 4", "filters = 4, strides = 2", "did you mean stride?"),
    "batchsize": ('name = "m"', 'name = "m"\nbatchsize = 3', "known: name, description, input,"),
    "Linear": ('type = "dense"', 'type = "Linear"', "did you mean dense?"),
    "nn.Conv2d": ('type = "conv2d"', 'type = "nn.Conv2d"', "did you mean conv2d?"),
    "conv3d": ('type = "conv2d"', 'type = "conv3d"', "`$.layers[0].type`: known: dense, conv1d"),
    "AdamW": ('type = "adam"', 'type = "AdamW"', "did you mean adamw?"),
    "adadelta": ('type = "adam"', 'type = "adadelta"', "`$.optimizer.type`: known: sgd, adam,"),
    "cross_entropy": (
        'type = "softmax_cross_entropy"',
        'type = "cross_entropy"',
        "did you mean softmax_cross_entropy? known:",
    ),
    "no type": ('type = "flatten"', "", "`$.layers[1]`; known: dense, conv1d,"),
    "a name": (
        'optimizer = { type = "adam", learning_rate = 0.001 }',
        'optimizer = "SGD"',
        'write { type = "sgd" }',
    ),
    "channels last": ("[1, 28, 28]", "[28, 28, 1]", "channels come first; write [1, 28, 28]"),
    "a file no more": ("units = 10", f"units = {'9' * 5000}", "Exceeds the limit"),
    "deep arrays": ("[1, 28, 28]", "[" * 500 + "]" * 500, "neste"),
    "deep layers": (
        '{ type = "flatten" }',
        '{ type = "residual", body = [' * 40 + '{ type = "flatten" }' + "] }" * 40,
        "layers are nested 41 deep, expected 32 at most",
    ),
}


@pytest.mark.parametrize("wrong", _MENDS)
def test_a_mistake_in_a_file_is_told_how_to_mend_it(wrong: str, tmp_path: Path) -> None:
    before, after, message = _MENDS[wrong]
    path = tmp_path / "m.toml"
    assert before in _SPEC
    path.write_text(_SPEC.replace(before, after), encoding="utf-8")
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        read(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("batch_size", "batchsize", "did you mean batch_size? known: name,"),
        ("metric =", "metrics =", "did you mean metric?"),
        ("epochs = 3", "epochs = 3\nseed = 1", "option of the command line, --seeds"),
        ('"mse"\n', '"Accuracy"\n', "did you mean accuracy? known: accuracy, macro_f1"),
    ],
)
def test_a_mistake_in_a_workload(workload: Path, before: str, after: str, message: str) -> None:
    text = workload.read_text(encoding="utf-8")
    assert before in text
    workload.write_text(text.replace(before, after, 1), encoding="utf-8")
    with pytest.raises(InputError, match=re.escape(message)):
        workloads.read(str(workload))


_HEADS = "num_heads", "causal"


@pytest.mark.parametrize(
    ("word", "known", "likely"),
    [
        ("heads", _HEADS, "num_heads"),
        ("tensorflow", ("numpy", "torch", "keras"), "keras"),
        ("PyTorch", ("numpy", "torch", "keras"), "torch"),
        ("paddlepaddle", ("torch", "paddle"), "paddle"),
        ("gluon", ("mxnet", "numpy"), "mxnet"),
        ("CosineAnnealingLR", ("step", "cosine"), "cosine"),
        ("lenet6", ("lenet5", "linear"), "lenet5"),
    ],
)
def test_words_of_other_frameworks(word: str, known: tuple[str, ...], likely: str) -> None:
    assert closest(word, known) == f"did you mean {likely}? known: {', '.join(known)}"


def test_the_nearest_is_not_named_where_it_is_another_thing() -> None:
    for word in ("adamax", "conv3d", "relu6", "log_softmax", "frobnicate"):
        assert closest(word, ("adam", "conv2d", "relu", "softmax", "concat")).startswith("known: ")


_EXPLAINED = {
    "LSTM": "h ← o tanh c",
    "AdamW": "without coupled decay",
    "Linear": "y = x Wᵀ + b",
    "attention": "softmax(q k",
    "accuracy": "macro-averaged F1",
    "csv": "csv:PATH?target=COLUMN",
    "Conv2D": "x̂",
    "BatchNormalization": "gamma",
    "cross_entropy": "log Σ",
    "SGD": "momentum·v",
    "xavier": "fan_out",
    "kaiming": "fan_in",
    "cosine": "cos(π",
    "bidirectional": "backward_",
    "clip_norm": "‖g‖",
    "torch.optim.Adam": "β₂",
    "constant": "w = value",
}


@pytest.mark.parametrize("word", _EXPLAINED)
def test_explain_answers_in_the_words_of_other_frameworks(bakeoff: Command, word: str) -> None:
    outcome = bakeoff("explain", word)
    assert outcome.code == 0, outcome.err
    assert _EXPLAINED[word] in outcome.out


def test_a_word_of_two_meanings_has_both(bakeoff: Command) -> None:
    out = bakeoff("explain", "constant").out
    assert "factor = 1" in out
    assert "constant, the initializer:" in out


def _model(loss: Loss, *last: Layer, units: int = 1) -> Model:
    dense = Dense(name="output", units=units)
    return Model(
        name="m", input=(4,), layers=(dense, *last), loss=loss, optimizer=SGD(learning_rate=0.5)
    )


_BOUNDED = [
    (_model(SoftmaxCrossEntropy(), Softmax(), units=10), "applies a softmax itself"),
    (_model(SoftmaxCrossEntropy(), ReLU(), units=10), "never below 0"),
    (_model(SoftmaxCrossEntropy(), Tanh(), Dropout(name="d"), units=10), "between -1 and 1"),
    (_model(BinaryCrossEntropy(), Sigmoid()), "applies a sigmoid itself"),
    (_model(BinaryCrossEntropy(), Softmax()), "applies a sigmoid itself"),
    (_model(MSE(), ReLU()), "about half of them lie below 0"),
    (_model(MAE(), Sigmoid(), Flatten()), "between 0 and 1"),
    (_model(Huber(), Softmax(), units=3), "leave the softmax out"),
]


@pytest.mark.parametrize(("model", "words"), _BOUNDED)
def test_a_bounded_last_layer_is_a_warning(model: Model, words: str) -> None:
    (warning,) = model.warnings
    assert words in warning
    assert '"layers[1]"' in warning


def test_a_recurrent_last_layer_wants_a_dense() -> None:
    for layer in (LSTM(name="r", units=3), SimpleRNN(name="r", units=3, activation="relu")):
        model = Model(name="m", input=(5, 4), layers=(layer,), loss=SoftmaxCrossEntropy(),
                      optimizer=SGD(learning_rate=0.5))  # fmt: skip
        assert model.warnings[0].endswith("put a dense after it")


def test_no_other_end_is_warned_of() -> None:
    assert not any(read(name).warnings for name in zoo())
    assert not _model(MSE()).warnings
    assert not _model(MSE(), BatchNorm(name="norm")).warnings
    assert not _model(SoftmaxCrossEntropy(), Softmax(), Dense(name="z", units=3)).warnings


def test_an_input_that_looks_channels_last_is_a_warning_where_it_can_be_computed() -> None:
    conv = Conv2D(name="c", filters=2, kernel_size=3, padding="same")
    layers = (conv, Flatten(), Dense(name="z", units=1))
    model = Model(name="m", input=(32, 32, 3), layers=layers, loss=MSE(),
                  optimizer=SGD(learning_rate=0.5))  # fmt: skip
    assert "write [3, 32, 32]" in model.warnings[0]


@pytest.mark.parametrize("command", ["show", "run", "train", "parity", "bench"])
def test_every_command_and_the_report_warn(bakeoff: Command, workload: Path, command: str) -> None:
    text = workload.read_text(encoding="utf-8")
    text = text.replace("units = 1 }]", 'units = 1 }, { type = "relu" }]')
    workload.write_text(text, encoding="utf-8")
    more = {
        "show": [], "run": ["--no-parity", "--seeds", "1"], "train": [], "parity": ["--steps", "3"],
        "bench": ["--budget", "1s", "--no-parity"],
    }[command]  # fmt: skip
    backend = [] if command == "show" else ["--backend", "numpy"]
    output = ["--output", "out"] if command in ("run", "train", "bench") else []
    outcome = bakeoff(command, workload, *backend, *more, *output)
    warning = '"layers[1]" (relu) before mse gives outputs never below 0'
    assert re.search(rf"^warning: .*{re.escape(warning)}", outcome.out, re.MULTILINE)
    if output:
        for report in ("report.md", "report.html"):
            assert "never below 0" in Path("out", report).read_text(encoding="utf-8")


def _line(
    metric: str = "mse", loss: Loss | None = None, **changed: Any
) -> tuple[Workload, Dataset]:
    model = Model(
        name="m",
        input=changed.get("input", (1,)),
        layers=(Flatten(), Dense(name="z", units=1)),
        loss=loss or MSE(),
        optimizer=SGD(learning_rate=0.5),
    )
    work = Workload(name="w", dataset="line", batch_size=1, epochs=1, metric=metric, model=model)
    return work, load("line")


@pytest.fixture
def labels(home: Path) -> Dataset:
    """A table of the user's own, whose target is 0 or 1."""
    rows = "\n".join(f"{i},{i % 7},{int(i > 20)}" for i in range(40))
    (home / "t.csv").write_text(f"a,b,y\n{rows}\n", encoding="utf-8")
    return load("csv:t.csv?target=y")


def test_a_target_of_0_and_1_is_told_how_it_becomes_a_classification(labels: Dataset) -> None:
    assert labels.task == "regression"
    work, _ = _line(input=(2,))
    assert "task=classification" in workloads.warnings(work, labels)[0]
    for changed in (_line("accuracy", input=(2,)), _line(loss=BinaryCrossEntropy(), input=(2,))):
        with pytest.raises(InputError, match="write task=classification"):
            workloads.check(changed[0], labels)


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [((1, 1), 'type = "reshape", shape = [1, 1]'), ((2,), "change `input` in the model")],
)
def test_an_input_that_does_not_fit_is_told_what_does(shape: tuple[int, ...], wanted: str) -> None:
    with pytest.raises(InputError, match=re.escape(wanted)):
        workloads.check(*_line(input=shape))


def test_every_construct_is_explained_under_its_own_name(bakeoff: Command) -> None:
    for spec in itertools.chain(get_args(Layer), get_args(Loss), get_args(Optimizer)):
        outcome = bakeoff("explain", spec.__struct_config__.tag)
        assert outcome.code == 0
        assert " here." not in outcome.out.splitlines()[0]
