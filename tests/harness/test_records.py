"""The journal of a job, and what a writer killed in mid-line leaves behind."""

from __future__ import annotations

from pathlib import Path

from bakeoff.bench.worker import records
from bakeoff.bench.worker.records import Epoch, Failed, Finished

_EPOCH = Epoch(epoch=1, loss=0.5, metrics={"mse": 2.0})
_END = Finished(metrics={"mse": 1.0}, peak_rss_mb=10.0)


def test_what_is_appended_is_read(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    assert records.read(path) == []
    records.append(path, _EPOCH)
    assert records.ending(records.read(path)) is None
    records.append(path, _END)
    assert records.read(path) == [_EPOCH, _END]
    assert records.ending(records.read(path)) == _END


def test_an_unfinished_line_is_not_read_and_is_dropped_by_the_next_append(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    records.append(path, _EPOCH)
    with path.open("ab") as file:
        file.write(b'{"record":"epoch","epo')
    assert records.read(path) == [_EPOCH]
    records.append(path, Failed(reason="killed"))
    assert records.read(path) == [_EPOCH, Failed(reason="killed")]


def test_a_tail_goes_on_where_it_stopped(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    records.append(path, _EPOCH)
    first, offset = records.tail(path, 0)
    with path.open("ab") as file:
        file.write(b'{"record":"epo')
    assert records.tail(path, offset) == ([], offset)
    records.append(path, _END)
    assert (first, records.tail(path, offset)[0]) == ([_EPOCH], [_END])
