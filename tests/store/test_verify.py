from __future__ import annotations

import dataclasses
import errno
import random
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from pipeline import store
from pipeline.common.errors import StoreDamaged
from pipeline.store._table import write_table
from tests.store.helpers import codes, make


def test_a_sound_store(tmp_path: Path) -> None:
    make(tmp_path, [1, 2, 3], shards=2)
    found = store.verify_folder(tmp_path)
    assert (found.shards, found.rows, found.damage) == (2, 3, ())
    assert found.bytes == sum(path.stat().st_size for path in (tmp_path / "shards").iterdir())


@pytest.mark.parametrize("seed", range(40))
def test_one_flipped_bit_anywhere_in_a_shard_is_found(tmp_path: Path, seed: int) -> None:
    make(tmp_path, list(range(50)))
    [shard] = (tmp_path / "shards").iterdir()
    data = bytearray(shard.read_bytes())
    place = random.Random(seed).randrange(len(data) * 8)
    data[place // 8] ^= 1 << place % 8
    shard.write_bytes(bytes(data))
    assert len(store.verify_folder(tmp_path).damage) == 1


@pytest.mark.parametrize("seed", range(40))
def test_a_flipped_bit_is_never_read_as_another_number(tmp_path: Path, seed: int) -> None:
    """Reading, unlike verify, does not hash the file: the chunks' checksums must do."""
    make(tmp_path, list(range(50)))
    [shard] = (tmp_path / "shards").iterdir()
    data = bytearray(shard.read_bytes())
    place = random.Random(seed).randrange(len(data) * 8)
    data[place // 8] ^= 1 << place % 8
    shard.write_bytes(bytes(data))
    expected = [codes(i)["fc"] for i in range(50)]
    try:
        read = store.read_rows(store.open_store(tmp_path), "fc", np.arange(50))
    except StoreDamaged:
        return
    np.testing.assert_array_equal(read, expected)


def test_a_missing_shard_is_found(tmp_path: Path) -> None:
    make(tmp_path, [1, 2], shards=2)
    lost = sorted((tmp_path / "shards").iterdir())[0]
    lost.unlink()
    [line] = store.verify_folder(tmp_path).damage
    assert lost.name in line
    assert "missing" in line


@pytest.mark.parametrize("name", ["table.h5", "probe.h5"])
@pytest.mark.parametrize("data", [b"", b"no HDF5", None])
def test_other_files_are_checked_too(tmp_path: Path, name: str, data: bytes | None) -> None:
    make(tmp_path, [1])
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:-50] if data is None else data)
    [line] = store.verify_folder(tmp_path).damage
    assert name in line


def test_a_lost_table_is_rebuilt_by_the_next_run(tmp_path: Path) -> None:
    make(tmp_path, [1, 2])
    (tmp_path / "table.h5").unlink()
    assert "table.h5 is damaged (it is missing)" in store.verify_folder(tmp_path).damage[0]
    with pytest.raises(StoreDamaged, match="it is missing"):
        store.open_store(tmp_path)
    make(tmp_path, [1, 2])
    assert store.verify_folder(tmp_path).rows == 2


def test_codes_that_an_older_table_does_not_name_are_told(tmp_path: Path) -> None:
    make(tmp_path, [1, 2])
    older = (tmp_path / "table.h5").read_bytes()
    make(tmp_path, [1, 2, 3])
    assert store.verify_folder(tmp_path).notes == ()
    (tmp_path / "table.h5").write_bytes(older)
    [note] = store.verify_folder(tmp_path).notes
    assert note.startswith("the codes of 1 image are of none in the table")


def test_a_table_whose_rows_slipped_is_found(tmp_path: Path) -> None:
    """A table of an earlier version has no checksum; its rows are compared with the shards."""
    table = make(tmp_path, [1, 2, 3])
    write_table(tmp_path, dataclasses.replace(table, row=table.row[::-1].copy()))
    [line] = store.verify_folder(tmp_path).damage
    assert "2 of its rows point at codes of other images" in line


def test_a_file_that_cannot_be_read_this_time_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, [1, 2], shards=2)
    bad = sorted((tmp_path / "shards").iterdir())[0]

    def read(path: Path) -> bytes:
        if path == bad:
            raise OSError(errno.EIO, "Input/output error")
        return path.read_bytes()

    monkeypatch.setattr("pipeline.store._shard_file.read_bytes", read)
    found = store.verify_folder(tmp_path)
    assert found.damage == ()
    [line] = found.unreadable
    assert f"cannot read {bad} this time (input/output error)" in line


def test_a_packed_file_is_compared_as_a_whole(tmp_path: Path) -> None:
    make(tmp_path / "s", list(range(50)))
    packed = tmp_path / "p.h5"
    store.pack(store.FolderStore(tmp_path / "s"), packed)
    whole = packed.read_bytes()
    numbers = random.Random(0)
    for _ in range(60):
        data = bytearray(whole)
        data[numbers.randrange(len(data))] ^= 1 << numbers.randrange(8)
        packed.write_bytes(bytes(data))
        with suppress(StoreDamaged):
            assert store.verify_packed(packed).damage
