"""A user's table in a workload: how it is named, shown, checked against the model, and told of."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bakeoff.bench import workload
from bakeoff.bench.training import aggregate, plan, predictions
from bakeoff.bench.training.plan import RunRequest
from bakeoff.bench.worker.draw import draw
from bakeoff.datasets import load
from bakeoff.models import InputError
from bakeoff.models.losses import BinaryCrossEntropy
from harness.conftest import Outcome

Command = Callable[..., Outcome]

HOUSES = "size,town,price\n" + "".join(
    f"{50 + i % 70},{['Ulm', 'Bonn'][i % 2]},{1000 * (50 + i % 70)}\n" for i in range(100)
)
TOKENS = "first,second,last,kind\n" + "".join(
    f"{i % 7},{i % 5},0,{['p', 'q'][i % 2]}\n" for i in range(60)
)
OUTPUT = '{ type = "dense", name = "output", units = 1 }'
EMBEDDED = """
    { type = "embedding", name = "words", vocabulary_size = 7, units = 2 },
    { type = "flatten" },
    { type = "dense", name = "output", units = 2 },
"""


def write(
    folder: Path,
    data: str,
    layers: str = OUTPUT,
    *,
    inputs: str = "[3]",
    loss: str = "mse",
    metric: str = "mse",
    batch_size: int = 10,
) -> Path:
    path = folder / "mine.toml"
    path.write_text(
        f"""
        name = "mine"
        batch_size = {batch_size}
        epochs = 1
        metric = "{metric}"
        {data}
        [model]
        name = "mine"
        input = {inputs}
        layers = [{layers}]
        loss = {{ type = "{loss}" }}
        optimizer = {{ type = "sgd", learning_rate = 0.0625 }}
        """,
        encoding="utf-8",
    )
    return path


def tokens(folder: Path, content: str = TOKENS, layers: str = EMBEDDED) -> Path:
    (folder / "tokens.csv").write_text(content, encoding="utf-8")
    data = '[data]\ncsv = "tokens.csv"\ntarget = "kind"'
    terms = {"loss": "softmax_cross_entropy", "metric": "accuracy"}
    return write(folder, data, layers, **terms)


@pytest.fixture
def houses(home: Path) -> Path:
    (home / "houses.csv").write_text(HOUSES, encoding="utf-8")
    return home


DATA = '[data]\ncsv = "houses.csv"\ntarget = "price"\n'


@pytest.mark.parametrize("data", ['dataset = "csv:houses.csv?target=price"', DATA])
def test_a_path_is_relative_to_the_file_that_names_it(
    houses: Path, monkeypatch: pytest.MonkeyPatch, data: str
) -> None:
    path = write(houses, data)
    monkeypatch.chdir(houses.parent)
    dataset = load(workload.read(str(path.relative_to(houses.parent))).dataset)
    assert dataset.feature_names == ("size", "town=Bonn", "town=Ulm")
    assert workload.read(str(path)).dataset == f"csv:{houses}/houses.csv?target=price"


def test_all_options_may_stand_in_the_table(houses: Path) -> None:
    (houses / "more,é?.csv").write_text(HOUSES.replace(",", ";"), encoding="utf-8")
    path = write(
        houses,
        """
        [data]
        csv = "more,é?.csv"
        target = "price"
        task = "regression"
        drop = ["town"]
        numeric = ["size"]
        sep = ";"
        decimal = "."
        thousands = ","
        encoding = "utf-8"
        test = "more,é?.csv"
        """,
    )
    dataset = load(workload.read(str(path)).dataset)
    assert (dataset.feature_names, len(dataset.test.x)) == (("size",), 100)


@pytest.mark.parametrize(
    ("data", "part"),
    [
        ("", "mine: expected `dataset`, or a table `[data]`"),
        (f'dataset = "line"\n{DATA}', "mine: expected `dataset`, or a table `[data]`"),
        ('[data]\ntarget = "price"', "missing required field `csv`"),
        (DATA + "seperator = 3", "unknown field `seperator`"),
        (DATA + 'drop = "town"', "Expected `array`, got `str`"),
    ],
)
def test_a_wrong_description_of_data_is_one_line(
    bakeoff: Command, houses: Path, data: str, part: str
) -> None:
    outcome = bakeoff("run", write(houses, data), "--backend", "numpy")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert part in outcome.err


def test_on_the_command_line_a_path_is_relative_to_the_working_folder(houses: Path) -> None:
    (houses / "elsewhere").mkdir()
    path = write(houses / "elsewhere", 'dataset = "line"')
    request = RunRequest(
        workloads=(str(path),),
        backends=None,
        pythons={},
        seeds=(0,),
        epochs=None,
        batch_size=None,
        dataset="csv:houses.csv?target=price",
        data_dir=None,
        device="cpu",
        dtype="float32",
        modes=("eager",),
        threads=1,
        timeout=1,
        output=Path("out"),
    )
    ((work, _),) = plan.check(request, None)
    assert work.dataset == f"csv:{houses}/houses.csv?target=price"


def test_show_says_what_is_understood_of_a_table(bakeoff: Command, houses: Path) -> None:
    outcome = bakeoff("show", "houses.csv")
    assert outcome.code == 0
    for line in (
        "read as    utf-8, comma-separated, decimal .",
        "rows       100 in 3 columns",
        "size    number    0        1 x number  50 to 119",
        "town    category  0        2 x 0/1     2: Bonn, Ulm",
        "no target yet: bakeoff show 'houses.csv?target=COLUMN'",
    ):
        assert line in outcome.out.splitlines()


@pytest.mark.parametrize("name", ["houses.csv?target=price", "csv:houses.csv?target=price"])
def test_show_says_what_a_table_becomes(bakeoff: Command, houses: Path, name: str) -> None:
    lines = bakeoff("show", name).out.splitlines()
    assert "task       regression of 'price'; for classes: task=classification" in lines
    assert "input      [3]: 3 features" in lines
    assert "price   target    0        number      50000 to 119000" in lines
    (train,) = (line for line in lines if line.startswith("train"))
    dataset = load("csv:houses.csv?target=price")
    assert train.startswith("train      70 rows: lines ")
    (test,) = (line for line in lines if line.startswith("test"))
    assert ", ".join(map(str, dataset.test_lines[:5])) in test


def test_show_marks_what_is_refused_and_ends_with_why(bakeoff: Command, houses: Path) -> None:
    spoilt = HOUSES.replace("51,", "51 m,", 1)
    (houses / "houses.csv").write_text(spoilt, encoding="utf-8")
    outcome = bakeoff("show", "houses.csv?target=price")
    assert "size    refused   0        -        column 'size' is '51 m'" in outcome.out
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "line 3: column 'size' is '51 m', expected a number as in 99 other" in outcome.err


def test_show_prints_whole_lines_into_a_pipe(bakeoff: Command, houses: Path) -> None:
    long = "n" * 150
    content = HOUSES.replace("size", long).replace("Ulm", "\x1b[31mUlm")
    (houses / "houses.csv").write_text(content, encoding="utf-8")
    out = bakeoff("show", "houses.csv").out
    assert f"{long}  number    0        1 x number  50 to 119" in out.splitlines()
    assert "\x1b" not in out


def test_show_tells_of_a_dataset_with_a_query(bakeoff: Command, home: Path) -> None:
    out = bakeoff("show", "synthetic-table?samples=100&features=3").out
    assert "rows       70 train, 15 validation, 15 test" in out
    assert "input      [3]" in out


def test_show_checks_a_workload_as_run_does(bakeoff: Command, houses: Path) -> None:
    assert "model and data: they fit" in bakeoff("show", write(houses, DATA)).out
    path = write(houses, DATA, inputs="[4]")
    outcome = bakeoff("show", path)
    assert outcome.code == 2
    assert outcome.err == bakeoff("run", path, "--backend", "numpy").err
    assert "the model's input is [4], the dataset gives [3]" in outcome.err


def test_show_downloads_nothing(bakeoff: Command, houses: Path) -> None:
    path = write(houses, 'dataset = "fashion-mnist"', inputs="[1, 28, 28]", layers="""
        { type = "flatten" }, { type = "dense", name = "output", units = 10 }""",
        loss="softmax_cross_entropy", metric="accuracy")  # fmt: skip
    outcome = bakeoff("show", path)
    assert outcome.code == 0
    assert "model and data: not checked, fashion-mnist is not here yet" in outcome.out


@pytest.mark.parametrize("command", ["run", "train", "parity", "show", "bench"])
def test_a_batch_of_more_rows_than_there_are_is_refused(
    bakeoff: Command, houses: Path, command: str
) -> None:
    chosen = [] if command == "show" else ["--backend", "numpy"]
    outcome = bakeoff(command, write(houses, DATA, batch_size=400), *chosen)
    assert outcome.code == 2
    assert "batch_size 400 is more than the 70 training rows; choose 70 at most" in outcome.err


RESHAPED = '{ type = "reshape", shape = [3, 1] }, { type = "flatten" },' + EMBEDDED
IN_A_PATH = """
    { type = "concat", paths = [
        [{ type = "embedding", name = "words", vocabulary_size = 7, units = 1 },
         { type = "flatten" }],
        [{ type = "embedding", name = "others", vocabulary_size = 9, units = 1 },
         { type = "flatten" }],
    ] },
    { type = "dense", name = "output", units = 2 },
"""


@pytest.mark.parametrize("layers", [EMBEDDED, RESHAPED, IN_A_PATH])
class TestIds:
    """What feeds an embedding is left as it is, and checked."""

    def test_ids_are_kept_whole(self, home: Path, layers: str) -> None:
        dataset = load(workload.read(str(tokens(home, layers=layers))).dataset)
        lines = TOKENS.splitlines()
        for row, line in zip(dataset.test.x, dataset.test_lines, strict=True):
            assert row.tolist() == [float(cell) for cell in lines[line - 1].split(",")[:3]]

    @pytest.mark.parametrize("cell", ["7", "-1", "1.5", "", "cat", "inf"])
    @pytest.mark.parametrize("command", ["run", "show", "parity"])
    def test_what_is_no_id_is_named(
        self, bakeoff: Command, home: Path, layers: str, cell: str, command: str
    ) -> None:
        path = tokens(home, TOKENS.replace("2,2,0", f"2,{cell},0", 1), layers)
        chosen = [] if command == "show" else ["--backend", "numpy"]
        outcome = bakeoff(command, path, *chosen)
        assert (outcome.code, outcome.err.count("\n")) == (2, 1)
        assert f"line 4: column 'second' is '{cell}', expected an id" in outcome.err
        assert "a whole number from 0 to 6" in outcome.err

    def test_a_dataset_without_ids_is_refused(
        self, bakeoff: Command, home: Path, layers: str
    ) -> None:
        path = tokens(home, layers=layers)
        data = "synthetic-table?features=3&task=classification&classes=2"
        outcome = bakeoff("run", path, "--backend", "numpy", "--dataset", data)
        assert outcome.code == 2
        assert "in row 0, column x0, and feeds an embedding: expected ids" in outcome.err

    def test_a_model_alone_is_probed_with_ids(self, home: Path, layers: str) -> None:
        x, _ = draw(workload.read(str(tokens(home, layers=layers))).model, 5, step=0)
        assert (x == np.floor(x)).all()
        assert 0 <= x.min() <= x.max() < 7


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_predictions_are_in_original_units_beside_the_targets(
    bakeoff: Command, houses: Path
) -> None:
    content = HOUSES.replace("price\n", "price,empty\n").replace("000\n", "000,\n")
    (houses / "houses.csv").write_text(content.replace(",", "|"), encoding="utf-8")
    out = bakeoff("train", write(houses, DATA), "--backend", "numpy", "--output", "out").out
    assert "warning: mine: houses.csv: found bar as separator" in out
    assert "warning: mine: houses.csv: column 'empty' is left out: it is empty" in out
    path = Path("out/jobs/mine/numpy-eager-0/predictions.csv")
    assert f"predictions: {houses / path}" in out.splitlines()
    dataset, logits = load("csv:houses.csv?target=price"), np.load(path.with_suffix(".npy"))
    lines = HOUSES.splitlines()
    for row, logit in zip(rows_of(path), logits[:, 0], strict=True):
        assert row["target"] == lines[int(row["line"]) - 1].rpartition(",")[2]
        expected = dataset.target_mean + dataset.target_scale * float(logit)
        assert float(row["prediction"]) == pytest.approx(expected, rel=1e-9)
    path.unlink()
    path.with_suffix(".npy").write_bytes(b"damaged")
    damaged = aggregate.summarize(Path("out"))
    assert predictions.write(Path("out"), damaged) == []  # of a damaged job there are none


def test_predictions_of_classes(bakeoff: Command, home: Path) -> None:
    loss = workload.read(str(tokens(home))).model.loss
    logits = np.array([[0.0, np.log(3)], [1000.0, 0.0]])
    dataset = load("synthetic-table?samples=10&features=2&task=classification&classes=2")
    first, second = dataset.test.y.tolist()
    text = predictions.as_csv(loss, dataset, logits)
    assert text == f"row,prediction,target,probability\n0,1,{first},0.75\n1,0,{second},1\n"
    named = load("csv:tokens.csv?target=kind")
    rows = predictions.as_csv(loss, named, np.resize(logits, (len(named.test.y), 2))).splitlines()
    for row, line, label in zip(rows[1:], named.test_lines, named.test.y, strict=True):
        assert row.split(",")[0::2] == [str(line), "pq"[label]]
        assert row.split(",")[1::2] in (["q", "0.75"], ["p", "1"])


def test_predictions_of_one_logit(home: Path) -> None:
    dataset = load("synthetic-table?samples=10&features=2&task=classification&classes=2")
    text = predictions.as_csv(BinaryCrossEntropy(), dataset, np.array([[np.log(3)], [-np.log(4)]]))
    assert [line.split(",")[1::2] for line in text.splitlines()[1:]] == [
        ["1", "0.75"],
        ["0", "0.8"],
    ]


def test_an_embedding_with_a_small_vocabulary_decides(home: Path) -> None:
    path = tokens(home, TOKENS.replace("2,2,0", "2,8,0", 1), IN_A_PATH)
    with pytest.raises(InputError, match="from 0 to 6"):
        load(workload.read(str(path)).dataset)
