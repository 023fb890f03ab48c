"""`load` and `open_dataset`: names, the cache, and what happens when it is damaged."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from contextlib import ExitStack
from pathlib import Path

import msgspec
import numpy as np
import pytest

import bakeoff.datasets
from bakeoff.bench.environments.code import write_zip
from bakeoff.datasets import CARDS, Dataset, load, open_dataset
from bakeoff.datasets.catalogue import SOURCES
from bakeoff.models.errors import InputError

ARRAYS = ("x_train", "y_train", "x_validation", "y_validation", "x_test", "y_test")


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BAKEOFF_CACHE", raising=False)
    monkeypatch.delenv("BAKEOFF_DATA", raising=False)


def splits_of(dataset: Dataset) -> tuple[np.ndarray, ...]:
    return (*dataset.train, *dataset.validation, *dataset.test)


def folders_in(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir() if path.is_dir())


def error_of(name: str, cache: Path, **arguments: Path) -> str:
    with pytest.raises(InputError) as caught:
        load(name, cache=cache, **arguments)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("array", range(6), ids=ARRAYS)
def test_arrays_are_read_only_memory_maps(tmp_path: Path, array: int) -> None:
    opened = splits_of(load("line", cache=tmp_path))[array]
    assert isinstance(opened, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        opened[0] = 1


def test_an_open_dataset_equals_the_loaded_one(tmp_path: Path) -> None:
    loaded = load("boston", cache=tmp_path)
    opened = open_dataset(loaded.folder)
    for field in ("name", "task", "input_shape", "feature_names", "target_mean", "sha256", "card"):
        assert getattr(opened, field) == getattr(loaded, field)
    for ours, theirs in zip(splits_of(opened), splits_of(loaded), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_second_load_opens_the_first_ones_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load("line", cache=tmp_path)

    def fail(*_: object) -> None:
        raise AssertionError("prepared again")

    source = msgspec.structs.replace(SOURCES["line"], prepare=fail)
    monkeypatch.setitem(SOURCES, "line", source)
    assert load("line", cache=tmp_path).folder == first.folder


@pytest.mark.parametrize(
    ("name", "sha256"),
    [
        ("boston", "c5b1bbb95a8990d8b243f4d333ae6d2a8700e0b76e380a68903595f397949e83"),
        ("mnist-5k", "3fa76e357654d717e4fcb8037355072fef35273192444938458300afd6053d36"),
    ],
)
def test_content_is_the_same_in_every_cache(tmp_path: Path, name: str, sha256: str) -> None:
    first, second = (load(name, cache=tmp_path / cache) for cache in ("one", "two"))
    assert first.folder != second.folder
    assert first.sha256 == second.sha256 == sha256


def test_sha256_covers_every_array(tmp_path: Path) -> None:
    hashes = {load(f"synthetic-images?seed={seed}", cache=tmp_path).sha256 for seed in range(3)}
    assert len(hashes) == 3


def test_defaults_and_their_explicit_spelling_are_one_dataset(tmp_path: Path) -> None:
    implicit = load("synthetic-sequences?samples=20", cache=tmp_path)
    explicit = load("synthetic-sequences?seed=0&length=16&samples=20", cache=tmp_path)
    assert implicit.folder == explicit.folder
    assert implicit.name == explicit.name == "synthetic-sequences?samples=20"


def test_the_cache_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAKEOFF_CACHE", str(tmp_path))
    assert load("line").folder.parent == tmp_path / "datasets"


def test_the_cache_is_the_users_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert load("line").folder.parent == tmp_path / "bakeoff" / "datasets"


@pytest.mark.parametrize("array", ARRAYS)
@pytest.mark.parametrize("damage", ["missing", "empty", "short", "pickled"])
def test_a_damaged_array_is_made_again(tmp_path: Path, array: str, damage: str) -> None:
    dataset = load("boston", cache=tmp_path)
    file = dataset.folder / f"{array}.npy"
    content = file.read_bytes()
    match damage:
        case "missing":
            file.unlink()
        case "empty":
            file.write_bytes(b"")
        case "short":
            file.write_bytes(content[:-8])
        case "pickled":
            np.save(file, np.array([{}], object), allow_pickle=True)
    with pytest.raises(InputError, match=r"missing or damaged .* delete the folder"):
        open_dataset(dataset.folder)
    assert load("boston", cache=tmp_path).sha256 == dataset.sha256
    assert file.read_bytes() == content
    assert folders_in(tmp_path) == [dataset.folder.name]


@pytest.mark.parametrize("array", ARRAYS)
def test_an_array_of_other_numbers_is_made_again_and_told(
    tmp_path: Path, array: str, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = load("line", cache=tmp_path)
    path = dataset.folder / f"{array}.npy"
    content = path.read_bytes()
    path.write_bytes(content[:-8] + bytes(8))
    with pytest.raises(InputError, match="its arrays are not what was written"):
        open_dataset(dataset.folder)
    assert load("line", cache=tmp_path).sha256 == dataset.sha256
    assert path.read_bytes() == content
    assert "its arrays are not what was written" in caplog.text
    assert "it is made again" in caplog.text


def test_no_bit_of_a_dataset_flips_unnoticed(tmp_path: Path) -> None:
    folder = load("line", cache=tmp_path).folder
    rng = np.random.default_rng(0)
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        for bit in map(int, rng.permutation(8 * len(content))[:20]):
            flipped = bytearray(content)
            flipped[bit // 8] ^= 1 << bit % 8
            path.write_bytes(flipped)
            try:
                opened = open_dataset(folder)
            except InputError:
                continue
            assert opened.folder == folder
            assert not (path.suffix == ".npy" and bit // 8 >= 128), bit  # the rest is a header
        path.write_bytes(content)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"name": "line"}', b"\xff"])
def test_a_damaged_description_is_made_again(tmp_path: Path, content: bytes) -> None:
    dataset = load("line", cache=tmp_path)
    (dataset.folder / "dataset.json").write_bytes(content)
    with pytest.raises(InputError, match="missing or damaged"):
        open_dataset(dataset.folder)
    assert load("line", cache=tmp_path).sha256 == dataset.sha256


def test_arrays_of_another_dataset_are_noticed(tmp_path: Path) -> None:
    line, boston = load("line", cache=tmp_path), load("boston", cache=tmp_path)
    (boston.folder / "x_test.npy").replace(line.folder / "x_test.npy")
    with pytest.raises(InputError, match=r"expected rows of \(1,\)"):
        open_dataset(line.folder)


def test_opening_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="missing or damaged") as caught:
        open_dataset(tmp_path / "nothing")
    assert "\n" not in str(caught.value)


def test_a_failure_while_writing_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, saved = np.save, []

    def fail_at_the_fourth(path: Path, array: np.ndarray, **options: bool) -> None:
        if len(saved) == 3:
            raise OSError(28, "No space left on device")
        saved.append(path)
        save(path, array, **options)

    monkeypatch.setattr(np, "save", fail_at_the_fourth)
    assert "No space left on device" in error_of("line", tmp_path)
    assert len(saved) == 3
    assert folders_in(tmp_path) == []


def test_a_failure_while_preparing_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    source = msgspec.structs.replace(SOURCES["line"], prepare=fail)
    monkeypatch.setitem(SOURCES, "line", source)
    with pytest.raises(KeyboardInterrupt):
        load("line", cache=tmp_path)
    assert folders_in(tmp_path) == []


def test_the_remains_of_a_killed_process_are_replaced(tmp_path: Path) -> None:
    folder = load("line", cache=tmp_path).folder
    remains = folder.rename(folder.with_suffix(".part"))
    (remains / "x_train.npy").write_bytes(b"half")
    assert load("line", cache=tmp_path).folder == folder
    assert folders_in(tmp_path) == [folder.name]


def test_concurrent_processes_make_one_folder(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from bakeoff.datasets import load
print("ready", flush=True)
sys.stdin.readline()
print(load("mnist-5k", cache=Path(sys.argv[1])).sha256)
"""
    command = [sys.executable, "-W", "error", "-c", code, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with ExitStack() as stack:
        processes = [stack.enter_context(subprocess.Popen(command, **pipes)) for _ in range(3)]
        assert [process.stdout.readline() for process in processes] == ["ready\n"] * 3
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        hashes = {process.stdout.read() for process in processes}
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert len(hashes) == len(folders_in(tmp_path)) == 1


def test_a_cache_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "set $BAKEOFF_CACHE to a folder" in error_of("line", tmp_path / "file")


@pytest.mark.parametrize("by_environment", [False, True])
def test_a_data_dir_that_is_not_there_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_environment: bool
) -> None:
    missing = tmp_path / "missing"
    monkeypatch.setenv("BAKEOFF_DATA", str(missing))
    arguments = {} if by_environment else {"data_dir": missing}
    assert f'"{missing}" is not a folder' in error_of("line", tmp_path, **arguments)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("bostn", "did you mean boston?"),
        ("fashion", "did you mean fashion-mnist?"),
        ("", "choose one of these"),
        ("boston:x", "did you mean boston?"),
        ("csv", "did you mean csv:PATH?target=COLUMN"),
    ],
)
def test_an_unknown_name_lists_all_and_suggests_one(tmp_path: Path, name: str, part: str) -> None:
    message = error_of(name, tmp_path)
    assert part in message
    assert ", ".join(CARDS) in message


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("boston?seed=1", "unknown field `seed`; expected boston"),
        ("synthetic-images?size=3", "unknown field `size`; expected synthetic-images?samples=512"),
        ("synthetic-images?samples=many", "`$.samples`"),
        ("synthetic-images?samples=9", "Expected `int` >= 10"),
        ("synthetic-images?samples", '"samples" has no value'),
        ("synthetic-images?seed=1&seed=2", '"seed" appears twice'),
        ("synthetic-images?shape=32x32", "`$.shape`"),
        ("synthetic-images?shape=0x3x3", "`$.shape`"),
        ("synthetic-images?classes=1", "Expected `int` >= 2"),
        ("synthetic-images?seed=-1", "Expected `int` >= 0"),
        ("synthetic-images?samples=9999999", "expected at most 1073741824"),
        ("synthetic-images?classes=9999999", "expected at most 1073741824"),
        ("synthetic-sequences?length=99999999", "expected at most 1073741824"),
        ("synthetic-table?features=99999999", "expected at most 1073741824"),
        ("synthetic-table?task=ranking", "`$.task`"),
        ("synthetic-table?classes=3", "add task=classification"),
    ],
)
def test_a_wrong_parameter_is_named(tmp_path: Path, name: str, part: str) -> None:
    assert part in error_of(name, tmp_path)
    assert folders_in(tmp_path) == []


@pytest.mark.parametrize("name", CARDS)
def test_every_card_is_complete(name: str) -> None:
    card = CARDS[name]
    for text in msgspec.structs.astuple(card):
        assert text
        assert "\n" not in text
    assert len(card.size) < 60


def test_the_card_of_boston_says_why_to_prefer_diabetes() -> None:
    assert "ethical problem" in CARDS["boston"].caveats
    assert "diabetes" in CARDS["boston"].caveats


def test_an_unknown_attribute_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        bakeoff.datasets.lod  # noqa: B018


def run_python(code: str, *, path: str, arguments: tuple[str, ...] = ()) -> str:
    """Run code in a fresh interpreter whose only packages are on this path."""
    command = [sys.executable, "-S", "-W", "error", "-c", code, *arguments]
    environment = {"PYTHONPATH": path, "PATH": os.environ["PATH"]}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_worker_opens_a_dataset_from_a_zip_with_numpy_and_msgspec_alone(tmp_path: Path) -> None:
    dataset = load("line", cache=tmp_path)
    archive = tmp_path / "code.zip"
    write_zip(archive)
    code = """
import sys
from pathlib import Path
from bakeoff.datasets import open_dataset
dataset = open_dataset(Path(sys.argv[1]))
print(dataset.__class__.__module__, dataset.train.y.ravel().tolist())
print(sorted({"sklearn", "filelock", "platformdirs", "urllib.request"} & set(sys.modules)))
"""
    path = f"{archive}{os.pathsep}{sysconfig.get_path('purelib')}"
    output = run_python(code, path=path, arguments=(str(dataset.folder),))
    assert output == "bakeoff.datasets.dataset [2.0, 4.0, 6.0]\n[]\n"


def test_the_cards_import_no_heavy_package() -> None:
    code = """
import sys
from bakeoff.datasets import CARDS
print(sorted({"sklearn", "pandas", "scipy", "mlxtend", "matplotlib"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
