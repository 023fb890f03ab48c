"""MNIST's IDX files: the user's own, and those that are downloaded from a server of this test."""

from __future__ import annotations

import gzip
import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from bakeoff.datasets import Dataset, catalogue, checksums, load
from bakeoff.datasets.archive import FILES, Archive, read_archive
from bakeoff.datasets.download import download
from bakeoff.datasets.fashion_mnist import ARCHIVE as FASHION
from bakeoff.datasets.mnist import ARCHIVE as MNIST
from bakeoff.datasets.source import NotHereError
from bakeoff.models.errors import InputError

NOWHERE = "http://127.0.0.1:1/"


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BAKEOFF_DATA", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


def contents(train: int = 60, test: int = 20, height: int = 5, width: int = 7) -> list[bytes]:
    """Return the four files of a small archive, as plain IDX, in the order of FILES."""
    random = np.random.default_rng(0)
    return [
        idx(random.integers(0, 256, (train, height, width), np.uint8)),
        idx((np.arange(train) % 10).astype(np.uint8)),
        idx(random.integers(0, 256, (test, height, width), np.uint8)),
        idx((np.arange(test) % 10).astype(np.uint8)),
    ]


def write(folder: Path, files: list[bytes], suffix: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in zip(FILES, files, strict=True):
        path = folder / f"{name}{suffix}"
        path.write_bytes(gzip.compress(content) if suffix else content)
    return folder


def load_local(folder: Path, name: str = "mnist") -> Dataset:
    return load(name, data_dir=folder, cache=folder / "cache")


def message_of(folder: Path, name: str = "mnist") -> str:
    with pytest.raises(InputError) as caught:
        load_local(folder, name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("own_folder", [True, False])
def test_local_files(tmp_path: Path, name: str, suffix: str, own_folder: bool) -> None:
    files = contents()
    write(tmp_path / name if own_folder else tmp_path, files, suffix)
    dataset = load_local(tmp_path, name)
    assert (dataset.input_shape, dataset.num_classes) == ((1, 5, 7), 10)
    assert [len(s.x) for s in (dataset.train, dataset.validation, dataset.test)] == [55, 5, 20]
    pixels = np.frombuffer(files[2], np.uint8, offset=16).reshape(20, 1, 5, 7) / 255
    scaled = np.polyfit(pixels.ravel(), dataset.test.x.ravel(), 1)
    train = (dataset.train.x.astype(np.float64) - scaled[1]) / scaled[0]
    np.testing.assert_allclose(scaled, [1 / train.std(), -train.mean() / train.std()], rtol=1e-5)
    np.testing.assert_array_equal(dataset.test.y, np.arange(20) % 10)


STEMS = ("train-images", "train-labels", "t10k-images", "t10k-labels")


@pytest.mark.parametrize(
    ("folder", "name", "form"),
    [
        (".", "mnist", "{0}.idx{1}-ubyte"),
        (".", "mnist", "{0}-idx{1}-ubyte.GZ"),
        ("MNIST/raw", "mnist", "{0}-idx{1}-ubyte"),
        ("Mnist", "mnist", "{0}.idx{1}"),
        ("raw", "mnist", "{0}_idx{1}_ubyte"),
        ("FashionMNIST/raw", "fashion-mnist", "{0}-idx{1}-ubyte"),
        ("fashion", "fashion-mnist", "{0}-idx{1}-ubyte"),
        ("fashion_mnist", "fashion-mnist", "{0}-idx{1}-ubyte"),
    ],
)
@pytest.mark.parametrize("capitals", [False, True])
def test_local_files_under_their_usual_names(
    tmp_path: Path, folder: str, name: str, form: str, capitals: bool
) -> None:
    (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    for stem, kind, content in zip(STEMS, (3, 1, 3, 1), contents(), strict=True):
        file = form.format(stem, kind)
        path = tmp_path / folder / (file.upper() if capitals else file)
        path.write_bytes(gzip.compress(content) if "GZ" in form else content)
    plain = load_local(write(tmp_path / "plain" / name, contents()).parent, name)
    assert load_local(tmp_path, name).sha256 == plain.sha256


def npz(path: Path, **changes: np.ndarray) -> None:
    """Write what Keras keeps: the arrays of `contents`."""
    shapes = ((60, 5, 7), (60,), (20, 5, 7), (20,))
    arrays = [
        np.frombuffer(content, np.uint8, offset=4 + 4 * len(shape)).reshape(shape)
        for content, shape in zip(contents(), shapes, strict=True)
    ]
    named = dict(zip(("x_train", "y_train", "x_test", "y_test"), arrays, strict=True))
    np.savez(path, allow_pickle=False, **(named | changes))


def test_the_file_of_keras(tmp_path: Path) -> None:
    npz(tmp_path / "mnist.npz")
    plain = load_local(write(tmp_path / "plain", contents()))
    assert load_local(tmp_path).sha256 == plain.sha256


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"y_test": np.arange(20, dtype=np.int64)}, "holds the label 19"),
        ({"x_test": np.zeros((20, 5, 7), np.float32)}, "x_test is float32, expected whole numbers"),
        ({"x_train": np.zeros((60, 35), np.uint8)}, "has 2 dimensions"),
        ({"x_train": np.full((60, 5, 7), 256)}, "x_train is int64, expected whole numbers from 0"),
    ],
)
def test_a_file_of_keras_that_holds_something_else(
    tmp_path: Path, changes: dict[str, np.ndarray], part: str
) -> None:
    npz(tmp_path / "mnist.npz", **changes)
    assert part in message_of(tmp_path)


@pytest.mark.parametrize("content", [b"", b"PK\3\4", b"nothing"])
def test_a_damaged_file_of_keras(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "mnist.npz").write_bytes(content)
    assert "mnist.npz" in message_of(tmp_path)


def test_a_folder_of_the_other_dataset_is_refused_by_its_name(tmp_path: Path) -> None:
    folder = write(tmp_path / "FashionMNIST" / "raw", contents())
    assert "is a folder of fashion-mnist by its name, expected mnist" in message_of(folder)


def test_the_own_folder_comes_first(tmp_path: Path) -> None:
    write(tmp_path, contents(height=4))
    write(tmp_path / "mnist", contents(height=6))
    assert load_local(tmp_path).input_shape == (1, 6, 7)


def test_the_environment_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAKEOFF_DATA", str(write(tmp_path, contents())))
    assert load("mnist", cache=tmp_path / "cache").input_shape == (1, 5, 7)


def test_full_size_is_split_as_promised(tmp_path: Path) -> None:
    dataset = load_local(write(tmp_path, contents(60_000, 10_000, 1, 1)))
    assert [len(s.y) for s in (dataset.train, dataset.validation, dataset.test)] == [
        55_000,
        5_000,
        10_000,
    ]
    np.testing.assert_array_equal(np.bincount(dataset.validation.y), [500] * 10)


GOOD = contents()
DAMAGED = {
    "truncated-images": (0, GOOD[0][:-1], "holds 2099 bytes after its header, expected 2100"),
    "trailing-byte": (0, GOOD[0] + b"x", "holds 2101 bytes after its header"),
    "truncated-labels": (1, GOOD[1][:-1], "holds 59 bytes after its header, expected 60"),
    "truncated-header": (0, GOOD[0][:9], "ends inside its header, after 9 bytes"),
    "empty": (2, b"", "starts with b''"),
    "web-page": (2, b"<html>", "starts with b'<htm'"),
    "labels-for-images": (0, GOOD[1], "has 1 dimensions (labels), expected an IDX file"),
    "images-for-labels": (3, GOOD[2], "has 3 dimensions (images)"),
    "floats": (0, b"\0\0\x0d\x03" + GOOD[0][4:], "starts with b'\\x00\\x00\\r\\x03'"),
    "two-dimensions": (0, idx(np.zeros((3, 4), np.uint8)), "has 2 dimensions, expected"),
    "no-images": (0, idx(np.zeros((0, 5, 7), np.uint8)), "promises the shape (0, 5, 7)"),
    "label-range": (1, GOOD[1][:-1] + b"\x0a", "holds the label 10, expected labels from 0 to 9"),
    "count-train": (1, idx(np.zeros(59, np.uint8)), "has 60 items and"),
    "count-test": (3, idx(np.zeros(21, np.uint8)), "has 20 items and"),
    "size": (2, idx(np.zeros((20, 7, 5), np.uint8)), "has (5, 7) pixels and"),
    "truncated-gzip": (0, gzip.compress(GOOD[0])[:-20], "cannot be decompressed"),
    "damaged-gzip": (0, gzip.compress(GOOD[0])[:-8] + bytes(8), "cannot be decompressed (CRC"),
    "gzip-of-nothing": (0, b"\x1f\x8b\x08\x00" + b"?" * 30, "cannot be decompressed"),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_local_file_is_named(tmp_path: Path, damage: str) -> None:
    index, content, part = DAMAGED[damage]
    write(tmp_path, [*GOOD[:index], content, *GOOD[index + 1 :]])
    message = message_of(tmp_path)
    assert part in message
    assert str(tmp_path / FILES[index]) in message
    assert not [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]


def test_one_training_image_cannot_be_split(tmp_path: Path) -> None:
    assert "has 1 image, expected at least 2" in message_of(write(tmp_path, contents(train=1)))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    (write(tmp_path / "mnist", GOOD) / FILES[3]).unlink()
    message = message_of(tmp_path)
    assert "mnist" in message
    assert f"lacks {FILES[3]} (plain or .gz), expected all four" in message


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_files_of_the_other_dataset_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    other = next(known for known in checksums.SHA256 if known != name)
    folder = write(tmp_path, GOOD, ".gz")
    labels = folder / f"{FILES[1]}.gz"
    pinned = {labels.name: hashlib.sha256(labels.read_bytes()).hexdigest()}
    monkeypatch.setitem(checksums.SHA256, other, pinned)
    assert f'"{labels}" is a file of {other}, expected one of {name}' in message_of(folder, name)


def test_eight_different_checksums_are_pinned() -> None:
    pinned = [value for files in checksums.SHA256.values() for value in files.values()]
    assert len(set(pinned)) == 8
    assert {len(value) for value in pinned} == {64}
    assert set(MNIST.sha256) == set(FASHION.sha256) == {f"{name}.gz" for name in FILES}


class Mirrors(ThreadingHTTPServer):
    """A server of `files` whose first folder says how it behaves; it notes what was asked."""

    daemon_threads = True
    files: dict[str, bytes]
    asked: list[tuple[str, str | None]]

    def url(self, behaviour: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{behaviour}/"


class Handler(BaseHTTPRequestHandler):
    server: Mirrors

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        _, behaviour, name = self.path.split("/")
        wanted = self.headers["Range"]
        self.server.asked.append((behaviour, wanted))
        content = self.server.files[name]
        if behaviour == "fails":
            self.send_error(503)
            return
        if behaviour == "wrong":
            content = content[::-1]
        if behaviour == "endless":
            content = bytes(1000) + content
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        if behaviour == "no-ranges":
            start = 0
        if start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        whole = behaviour not in ("truncates", "truncates-first") or (
            behaviour == "truncates-first" and start
        )
        self.wfile.write(content[start:] if whole else content[start : start + 100])


@pytest.fixture
def mirrors() -> Iterator[Mirrors]:
    with Mirrors(("127.0.0.1", 0), Handler) as server:
        server.asked = []
        server.files = {
            f"{name}.gz": gzip.compress(content, mtime=0)
            for name, content in zip(FILES, GOOD, strict=True)
        }
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


NAME = f"{FILES[0]}.gz"
CONTENT = gzip.compress(GOOD[0], mtime=0)


def fetch(target: Path, *urls: str) -> list[tuple[int, int]]:
    progress: list[tuple[int, int]] = []
    download(
        target,
        mirrors=urls,
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        report=lambda done, total: progress.append((done, total)),
    )
    return progress


def test_a_download_reports_progress_and_leaves_no_part(tmp_path: Path, mirrors: Mirrors) -> None:
    progress = fetch(tmp_path / NAME, mirrors.url("good"))
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert progress[-1] == (len(CONTENT), len(CONTENT))
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


@pytest.mark.parametrize("first", ["fails", "wrong", "nowhere"])
def test_the_next_mirror_helps(tmp_path: Path, mirrors: Mirrors, first: str) -> None:
    fetch(
        tmp_path / NAME, NOWHERE if first == "nowhere" else mirrors.url(first), mirrors.url("good")
    )
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert mirrors.asked[-1] == ("good", None)


def test_a_truncated_transfer_is_resumed(tmp_path: Path, mirrors: Mirrors) -> None:
    progress = fetch(tmp_path / NAME, mirrors.url("truncates-first"))
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert mirrors.asked == [("truncates-first", None), ("truncates-first", "bytes=100-")]
    assert progress[0] == (100, len(CONTENT))
    assert progress[-1] == (len(CONTENT), len(CONTENT))


def test_the_part_of_an_earlier_run_is_resumed(tmp_path: Path, mirrors: Mirrors) -> None:
    (tmp_path / f"{NAME}.part").write_bytes(CONTENT[:333])
    fetch(tmp_path / NAME, mirrors.url("good"))
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert mirrors.asked == [("good", "bytes=333-")]


def test_a_mirror_that_keeps_failing_hands_its_part_on(tmp_path: Path, mirrors: Mirrors) -> None:
    fetch(tmp_path / NAME, mirrors.url("truncates"), mirrors.url("good"))
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert mirrors.asked[-1] == ("good", "bytes=300-")


@pytest.mark.parametrize("part", [b"?" * 100, b"?" * 100_000], ids=["wrong", "too-long"])
def test_a_bad_part_is_replaced(tmp_path: Path, mirrors: Mirrors, part: bytes) -> None:
    (tmp_path / f"{NAME}.part").write_bytes(part)
    fetch(tmp_path / NAME, mirrors.url("good"))
    assert (tmp_path / NAME).read_bytes() == CONTENT


def test_a_mirror_without_ranges_starts_again(tmp_path: Path, mirrors: Mirrors) -> None:
    (tmp_path / f"{NAME}.part").write_bytes(CONTENT[:50])
    fetch(tmp_path / NAME, mirrors.url("no-ranges"))
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert mirrors.asked == [("no-ranges", "bytes=50-")]


def test_a_file_that_is_far_too_long_is_given_up(
    tmp_path: Path, mirrors: Mirrors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bakeoff.datasets.download.MAX_BYTES", 500)
    with pytest.raises(InputError, match="more than 500 bytes"):
        fetch(tmp_path / NAME, mirrors.url("endless"))


def test_every_mirrors_answer_is_told(tmp_path: Path, mirrors: Mirrors) -> None:
    urls = [mirrors.url("fails"), mirrors.url("wrong"), NOWHERE]
    with pytest.raises(InputError) as caught:
        fetch(tmp_path / NAME, *urls)
    message = str(caught.value)
    for url, answer in zip(
        urls, ["HTTP Error 503", "wrong checksum", "<urlopen error"], strict=True
    ):
        assert f"{url} answered: {answer}" in message
    assert "\n" not in message
    assert list(tmp_path.iterdir()) == []


def use(monkeypatch: pytest.MonkeyPatch, *urls: str) -> None:
    """Let `mnist` be the small archive, at these mirrors."""
    sha256 = {
        f"{name}.gz": hashlib.sha256(gzip.compress(content, mtime=0)).hexdigest()
        for name, content in zip(FILES, GOOD, strict=True)
    }
    archive = Archive(name="mnist", mirrors=urls, sha256=sha256)
    source = replace(catalogue.SOURCES["mnist"], read=partial(read_archive, archive))
    monkeypatch.setitem(catalogue.SOURCES, "mnist", source)


def test_load_downloads_once(
    tmp_path: Path, mirrors: Mirrors, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, mirrors.url("good"))
    progress: dict[str, tuple[int, int]] = {}
    dataset = load(
        "mnist", cache=tmp_path, progress=lambda *now: progress.update({now[0]: now[1:]})
    )
    assert dataset.input_shape == (1, 5, 7)
    assert progress == {n: (len(c), len(c)) for n, c in mirrors.files.items()}
    assert load("mnist", cache=tmp_path).folder == dataset.folder
    assert len(mirrors.asked) == 4
    names = {path.name for path in (tmp_path / "downloads" / "mnist").iterdir()}
    assert names == {f"{name}.gz" for name in FILES}


def test_a_damaged_download_is_fetched_again(
    tmp_path: Path, mirrors: Mirrors, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, mirrors.url("good"))
    first = load("mnist", cache=tmp_path)
    (tmp_path / "downloads" / "mnist" / NAME).write_bytes(b"damaged")
    assert load("mnist", cache=tmp_path).sha256 == first.sha256
    assert len(mirrors.asked) == 5


def test_a_data_dir_without_the_files_is_refused_with_what_it_holds(
    tmp_path: Path, mirrors: Mirrors, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, mirrors.url("good"))
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").touch()
    message = message_of(tmp_path)
    assert "has no mnist, expected train-images-idx3-ubyte" in message
    assert "it holds photos/cat.png;" in message
    assert mirrors.asked == []


def test_nothing_is_downloaded_offline(
    tmp_path: Path, mirrors: Mirrors, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, mirrors.url("good"))
    with pytest.raises(NotHereError, match="mnist is not here yet"):
        load("mnist", cache=tmp_path, offline=True)
    assert mirrors.asked == []


def test_offline_names_every_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, NOWHERE, NOWHERE + "other/")
    with pytest.raises(InputError) as caught:
        load("mnist", cache=tmp_path)
    message = str(caught.value)
    for part in (NAME, NOWHERE, "connect", "--data-dir DIR", "$BAKEOFF_DATA", "--dataset mnist-5k"):
        assert part in message
    assert "\n" not in message
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["downloads"]
