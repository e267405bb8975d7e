"""What a table says of itself, by hand, and which tables are refused."""

from __future__ import annotations

import errno
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import store
from pipeline.common.errors import StoreDamaged, StoreError, StoreIncomplete
from pipeline.store import Status, Table
from pipeline.store._table import lost_table, read_source, read_table, write_table
from tests.store.helpers import digest, make

A, B, C, NO_LABEL = 0, 1, 2, -1
NO_SPLIT, TRAIN, VAL, TEST = 0, 1, 2, 3
OK, REJECTED, PENDING = Status.ok, Status.rejected, Status.pending


def table(
    *rows: tuple[int, int, int, int], groups: list[bytes] | None = None, **more: Any
) -> Table:
    """Make a table of rows (label, split, content, status)."""
    labels, splits, contents, states = zip(*rows, strict=True)
    n = len(rows)
    hashes = np.frombuffer(b"".join(map(digest, contents)), np.uint8).reshape(n, 32)
    return Table(
        paths=[f"{i}.jpg".encode() for i in range(n)],
        classes=("a", "b", "c"),
        labels=np.array(labels, np.int32),
        splits=np.array(splits, np.uint8),
        sha256=hashes,
        stat=np.zeros((n, 3), np.int64),
        status=np.array(states, np.uint8),
        shards=("000000-0.h5",),
        shard=np.zeros(n, np.int32),
        row=np.arange(n, dtype=np.int32),
        groups=groups,
        **more,
    )


MIXED = table(
    (A, TRAIN, 0, OK),
    (A, TRAIN, 1, OK),
    (B, VAL, 2, OK),
    (B, TEST, 3, OK),
    (NO_LABEL, TRAIN, 4, OK),
    (NO_LABEL, TEST, 5, OK),
    (NO_LABEL, TEST, 6, OK),
    (B, NO_SPLIT, 7, OK),
    (B, TRAIN, 8, REJECTED),
    (C, TEST, 9, PENDING),
    (C, TEST, 10, REJECTED),
    reasons={8: "damaged", 9: "timed out", 10: "damaged"},
)


def test_only_images_with_codes_count() -> None:
    assert len(MIXED) == 11
    assert [MIXED.count(status) for status in Status] == [8, 2, 1]
    assert MIXED.split_counts() == {"train": 3, "val": 1, "test": 3}
    assert MIXED.class_counts() == {"a": 2, "b": 3, "c": 0}
    assert MIXED.unlabelled_counts() == {"train": 1, "test": 2}
    assert list(MIXED.reason_counts().items()) == [("damaged", 2), ("timed out", 1)]
    assert MIXED.classes_without_training() == ["b", "c"]


def test_complete_is_what_waits_for_nothing() -> None:
    whole = table((A, TRAIN, 0, OK), (A, TRAIN, 1, REJECTED))
    assert whole.complete
    assert not replace(whole, unfinished=True).complete
    assert not MIXED.complete


@pytest.mark.parametrize(
    ("rows", "twice"),
    [
        ([(A, TRAIN, 0, OK), (A, TEST, 0, OK), (B, TRAIN, 1, OK)], 0),
        ([(A, TRAIN, 0, OK), (B, TRAIN, 0, OK)], 1),
        ([(A, TRAIN, 0, OK), (B, TRAIN, 0, OK), (C, TRAIN, 0, OK)], 1),
        ([(A, TRAIN, 0, OK), (B, TEST, 0, OK), (B, TRAIN, 1, OK), (A, TRAIN, 1, OK)], 2),
        ([(A, TRAIN, 0, OK), (NO_LABEL, TRAIN, 0, OK)], 0),
        ([(A, TRAIN, 0, OK), (B, TRAIN, 0, REJECTED)], 0),
    ],
)
def test_images_under_two_labels_count_once_each(
    rows: list[tuple[int, int, int, int]], twice: int
) -> None:
    assert table(*rows).contradictions() == twice


def test_images_that_are_in_train_as_well() -> None:
    found = table(
        (A, TRAIN, 0, OK),
        (A, TRAIN, 1, REJECTED),
        (A, VAL, 0, OK),
        (A, TEST, 0, OK),
        (A, TEST, 0, REJECTED),
        (A, TEST, 1, OK),
        (A, NO_SPLIT, 0, OK),
        (A, TEST, 2, OK),
        (A, VAL, 3, OK),
    )
    assert found.leaks() == 2


def test_images_of_groups_that_are_in_train_as_well() -> None:
    """An image without a group is of none, and not of that of all others without one."""
    splits = (TRAIN, TRAIN, VAL, TEST, TEST, TEST, TEST)
    rows = [(A, split, i, OK) for i, split in enumerate(splits)]
    groups = [b"ann", b"", b"ann", b"ann", b"", b"bob", b"bob"]
    assert table(*rows, groups=groups).grouped_leaks() == 2
    assert table(*rows).grouped_leaks() == 0


def _kept(folder: Path, written: Table) -> Table:
    """Write a table over that of a store, and read it again."""
    make(folder, [1])
    write_table(folder, written)
    read = store.contents(folder)[1]
    assert read is not None
    return read


@pytest.mark.parametrize("groups", [None, [b"g%d" % i for i in range(11)]])
@pytest.mark.parametrize("unfinished", [False, True])
def test_what_is_written_is_read(
    tmp_path: Path, groups: list[bytes] | None, unfinished: bool
) -> None:
    source = {"location": "/photos", "layout": "class folders"}
    written = replace(MIXED, groups=groups, unfinished=unfinished, source=source)
    read = _kept(tmp_path, written)
    assert read.reasons == written.reasons
    for name, value in vars(written).items():
        if name == "reasons":
            continue
        np.testing.assert_array_equal(getattr(read, name), value, err_msg=name)
    listed = (tmp_path / "rejected.csv").read_text()
    assert listed == "path,reason\n8.jpg,damaged\n10.jpg,damaged\n", "what is pending is not"
    assert read_source(tmp_path / "table.h5") == source


def _column(name: str, *values: int) -> dict[str, Any]:
    """Put other numbers at the beginning of a column."""
    column = getattr(MIXED, name).copy()
    column[: len(values)] = values
    return {name: column}


@pytest.mark.parametrize(
    "edges",
    [
        _column("labels", -1, 2),
        _column("shard", -1, 0),
        _column("splits", 0, 3),
        _column("status", 0, 2),
        {"reasons": {0: "first", 10: "last"}},
    ],
)
def test_numbers_up_to_the_last_are_read(tmp_path: Path, edges: dict[str, Any]) -> None:
    read = _kept(tmp_path, replace(MIXED, **edges))
    [(name, value)] = edges.items()
    if name == "reasons":
        assert read.reasons == value
    else:
        np.testing.assert_array_equal(getattr(read, name), value)


def test_a_table_of_no_rows_is_one(tmp_path: Path) -> None:
    none = np.empty(0, np.int32)
    columns = dict.fromkeys(("labels", "splits", "status", "shard", "row"), none)
    shapes = {"sha256": np.empty((0, 32), np.uint8), "stat": np.empty((0, 3), np.int64)}
    empty = replace(MIXED, paths=[], classes=(), shards=(), reasons={}, **columns, **shapes)
    assert len(_kept(tmp_path, empty)) == 0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"labels": MIXED.labels[1:]}, "column 'labels' has 10 rows of 11"),
        ({"groups": [b"g"] * 10}, "10 groups of 11 rows"),
        ({"sha256": MIXED.sha256[:, 1:]}, r"column 'sha256' is uint8 of shape \(11, 31\)"),
        ({"stat": MIXED.stat[:, 1:]}, r"column 'stat' is int64 of shape \(11, 2\)"),
        ({"row": np.zeros(11)}, "column 'row' is float64 of shape"),
        (_column("splits", 4), "splits or states that there are not"),
        (_column("status", 3), "splits or states that there are not"),
        ({"reasons": {11: "x"}}, "reasons of rows that there are not"),
        ({"reasons": {-1: "x"}}, "reasons of rows that there are not"),
        (_column("labels", -2), "column 'labels' points outside"),
        (_column("labels", 3), "column 'labels' points outside"),
        (_column("shard", 1), "column 'shard' points outside"),
    ],
)
def test_columns_that_do_not_fit_together(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    """As damaged as a flipped bit, although its checksum is right."""
    make(tmp_path, [1])
    with suppress(IndexError):  # the list of rejected images, which comes after the table
        write_table(tmp_path, replace(MIXED, **changes))
    with pytest.raises(StoreDamaged, match=rf"table\.h5 is damaged \({said}") as caught:
        store.contents(tmp_path)
    assert "says how it is made again" in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"no HDF5"])
def test_what_is_no_table(tmp_path: Path, data: bytes) -> None:
    make(tmp_path, [1])
    (tmp_path / "table.h5").write_bytes(data)
    with pytest.raises(StoreDamaged, match=r"table\.h5 is damaged"):
        store.contents(tmp_path)
    assert read_source(tmp_path / "table.h5") == {}


def test_a_table_that_cannot_be_read_this_time_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, [1])

    def read(path: Path, *, keep: bool) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("pipeline.store._table.open_datasets", read)
    with pytest.raises(StoreError, match=r"this time \(input/output error\)") as caught:
        store.contents(tmp_path)
    assert not isinstance(caught.value, StoreDamaged)


def test_a_table_that_was_there_is_lost_and_one_that_was_not_is_to_come(tmp_path: Path) -> None:
    make(tmp_path, [1])
    assert lost_table(tmp_path) is None
    (tmp_path / "table.h5").unlink()
    with pytest.raises(StoreDamaged, match="it is missing"):
        store.open_store(tmp_path)
    (tmp_path / "rejected.csv").unlink()
    with pytest.raises(StoreIncomplete, match="just begun; run the same extract command again"):
        store.open_store(tmp_path)


def test_long_columns_are_read_from_the_file_that_was_opened(tmp_path: Path) -> None:
    """Whoever has opened a store goes on with it, though another run replaces the table."""
    groups = [b"g%d" % i for i in range(11)]
    before = _kept(tmp_path, replace(MIXED, groups=groups))
    write_table(tmp_path, replace(MIXED, paths=[b"other"] * 11, sha256=MIXED.sha256[::-1].copy()))
    assert before.paths == MIXED.paths
    assert before.groups == groups
    np.testing.assert_array_equal(before.sha256, MIXED.sha256)


def test_a_table_is_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.common.names.BLOCK", 4)
    _kept(tmp_path, MIXED)
    table = read_table(tmp_path)
    assert table is not None
    pieces = list(table.pieces("paths", "sha256"))
    assert [list(paths) for paths, _ in pieces] == [
        MIXED.paths[start : start + 4] for start in (0, 4, 8)
    ]
    np.testing.assert_array_equal(np.concatenate([part for _, part in pieces]), MIXED.sha256)


def test_images_of_hashes_that_begin_alike_are_not_the_same() -> None:
    first = np.frombuffer(digest(0), np.uint8)
    other = np.concatenate([first[:8], np.frombuffer(digest(1), np.uint8)[8:]])
    both = table((A, TRAIN, 0, OK), (B, TEST, 0, OK))
    alike = replace(both, sha256=np.stack([first, other]))
    assert (both.contradictions(), both.leaks()) == (1, 1)
    assert (alike.contradictions(), alike.leaks()) == (0, 0)
