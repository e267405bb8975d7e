"""What is damaged is set aside, what the rest can tell is made again, nothing else is touched."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import store
from pipeline.common.choices import Dtype
from pipeline.common.errors import (
    OutputError,
    StoreDamaged,
    StoreError,
    StoreIncomplete,
    StoreLocked,
    StoreNotFound,
)
from tests.store.helpers import HEADER, PROBE, codes, make, row, scan

NUMBERS = list(range(12))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make(tmp_path / "s", NUMBERS, shards=3)
    return tmp_path / "s"


def flip(path: Path, place: int | None = None) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2 if place is None else place] ^= 4
    path.write_bytes(bytes(data))


def shards(folder: Path) -> list[Path]:
    return sorted((folder / "shards").glob("[0-9]*.h5"))


def check_whole(folder: Path) -> None:
    assert store.verify_folder(folder).damage == ()
    opened = store.open_store(folder)
    assert opened.header == HEADER
    np.testing.assert_array_equal(
        store.read_rows(opened, "fc", np.array(NUMBERS)), [codes(i)["fc"] for i in NUMBERS]
    )
    for layer, block in PROBE.items():
        np.testing.assert_array_equal(opened.probe(layer), block)


def test_a_sound_store_stays_as_it_is(folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    done = store.repair(folder)
    assert (done.set_aside, done.made, done.waiting, done.rows) == ((), (), 0, 12)
    assert {path: path.read_bytes() for path in before} == before
    assert not (folder / "set-aside").exists()


def lose(folder: Path, name: str) -> None:
    (folder / name).unlink()


def spoil(folder: Path, name: str) -> None:
    flip(folder / name)


@pytest.mark.parametrize("harm", [lose, spoil])
@pytest.mark.parametrize("names", [["store.json"], ["probe.h5"], ["store.json", "probe.h5"]])
def test_header_and_probe_are_made_again_from_the_shards(
    folder: Path, harm: Callable[[Path, str], None], names: list[str]
) -> None:
    for name in names:
        harm(folder, name)
    with pytest.raises(StoreDamaged, match=r"`pipeline repair .*s` makes it again"):
        store.FolderStore(folder).probe("fc")
    with (
        pytest.raises(StoreDamaged, match="pipeline repair"),
        store.Writer(folder),
    ):
        pass
    done = store.repair(folder)
    assert done.made == ("store.json", "probe.h5")
    assert [line.partition(":")[0] for line in done.set_aside] == (names if harm is spoil else [])
    assert sorted(path.name for path in (folder / "set-aside").glob("*")) == (
        sorted(names) if harm is spoil else []
    )
    check_whole(folder)


@pytest.mark.parametrize("damage", ["flip", "cut", "garbage"])
def test_rows_of_a_damaged_shard_wait_for_extract(folder: Path, damage: str) -> None:
    bad = shards(folder)[1]
    if damage == "flip":
        flip(bad)
    elif damage == "cut":
        bad.write_bytes(bad.read_bytes()[:-40])
    else:
        bad.write_bytes(b"not even HDF5")
    with (
        pytest.raises(StoreDamaged, match=rf"{bad.name} is damaged .*pipeline repair"),
        store.Writer(folder),
    ):
        pass
    done = store.repair(folder)
    assert [line.partition(":")[0] for line in done.set_aside] == [f"shards/{bad.name}"]
    assert (done.waiting, done.rows, done.made) == (4, 8, ("table.h5",))
    assert done.table is not None
    assert set(done.table.reasons.values()) == {"its codes were damaged and set aside"}
    with pytest.raises(StoreIncomplete, match="4 of 12 images"):
        store.open_store(folder)
    assert store.verify_folder(folder).damage == ()
    make(folder, NUMBERS)
    check_whole(folder)


def test_a_deleted_shard_is_noticed_too(folder: Path) -> None:
    shards(folder)[0].unlink()
    done = store.repair(folder)
    assert (done.waiting, done.set_aside) == (4, ())


def test_a_damaged_table_is_made_again_by_extract(folder: Path) -> None:
    flip(folder / "table.h5")
    done = store.repair(folder)
    assert (done.waiting, done.table, done.rows) == (None, None, 12)
    make(folder, NUMBERS)
    check_whole(folder)


def test_what_is_set_aside_twice_is_kept_twice(folder: Path) -> None:
    for _ in range(2):
        flip(folder / "table.h5")
        store.repair(folder)
        make(folder, NUMBERS)
    assert sorted(path.name for path in (folder / "set-aside").iterdir()) == [
        "table.h5",
        "table.h5.2",
    ]


def test_what_cannot_be_mended_is_said_and_nothing_is_moved(folder: Path) -> None:
    (folder / "store.json").unlink()
    for path in shards(folder):
        flip(path)
    before = sorted(path for path in folder.rglob("*"))
    with pytest.raises(StoreDamaged, match="no sound shard carries"):
        store.repair(folder)
    assert sorted(path for path in folder.rglob("*")) == before


def test_a_store_of_a_later_version_is_left_alone(folder: Path) -> None:
    path = folder / "store.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 2}))
    with pytest.raises(Exception, match="found 2"):
        store.repair(folder)
    assert not (folder / "set-aside").exists()


def test_nobody_repairs_what_another_writes(folder: Path) -> None:
    with store.Writer(folder), pytest.raises(StoreLocked):
        store.repair(folder)


def test_no_store(tmp_path: Path) -> None:
    with pytest.raises(StoreNotFound, match="found nothing"):
        store.repair(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_of_large_maps_several_shards_together_carry_the_probe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The codes of one image have 68 bytes."""
    monkeypatch.setattr("pipeline.store._origin._PROBE_BYTES", 100)
    make(tmp_path / "s", list(range(16)), shards=8)
    (tmp_path / "s" / "probe.h5").unlink()
    assert store.repair(tmp_path / "s").made == ("store.json", "probe.h5")
    assert store.verify_folder(tmp_path / "s").damage == ()
    (tmp_path / "s" / "probe.h5").unlink()
    shards(tmp_path / "s")[3].unlink()
    with pytest.raises(StoreDamaged, match="carry 7 of 8 images"):
        store.repair(tmp_path / "s")


SQUASHED = replace(HEADER, space=replace(HEADER.space, resize="squash"))
HALF = replace(HEADER, dtype=Dtype.float16)
OTHER_PROBE = {layer: block * 2 for layer, block in PROBE.items()}


@pytest.fixture(params=[SQUASHED, HALF])
def other(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A store of the same images in another space, or in 16 bits."""
    with store.Writer(tmp_path / "other") as writer:
        writer.create(request.param, OTHER_PROBE)
        for i in NUMBERS:
            writer.append(row(i))
        writer.finish(scan(NUMBERS))
    return tmp_path / "other"


@pytest.mark.parametrize("names", [["store.json"], ["probe.h5"], ["store.json", "probe.h5"]])
def test_most_codes_decide_which_header_and_probe_are_theirs(
    folder: Path, other: Path, names: list[str]
) -> None:
    for name in names:
        shutil.copy(other / name, folder / name)
    assert store.verify_folder(folder).damage
    if "store.json" in names:
        opened = store.open_store(folder)
        with pytest.raises(StoreDamaged, match="one of them is of another store"):
            store.read_rows(opened, "fc", np.array(NUMBERS))
        with pytest.raises(StoreDamaged, match="one of them is of another store"):
            store.pack(store.FolderStore(folder), folder.parent / "x.h5")
    done = store.repair(folder)
    assert sorted(line.partition(":")[0] for line in done.set_aside) == sorted(names)
    assert (done.rows, done.waiting) == (12, 0)
    check_whole(folder)


def test_a_shard_of_another_store_is_set_aside_and_not_counted(folder: Path, other: Path) -> None:
    [alien] = shards(other)
    odd = folder / "shards" / alien.name.replace("000000", "000009")
    shutil.copy(alien, odd)
    done = store.repair(folder)
    assert [line.partition(":")[0] for line in done.set_aside] == [f"shards/{odd.name}"]
    assert done.rows == 12
    check_whole(folder)


def test_damaged_shards_are_not_outvoted_by_those_of_another_store(
    folder: Path, other: Path
) -> None:
    """The table names the shards of the store; without it nothing is sure, and nothing done."""
    [alien] = shards(other)
    for number in range(5, 8):
        shutil.copy(alien, folder / "shards" / alien.name.replace("000000", f"00000{number}"))
    for path in shards(folder)[:2]:
        flip(path)
    table = (folder / "table.h5").read_bytes()
    (folder / "table.h5").unlink()
    before = sorted(folder.rglob("*"))
    with pytest.raises(StoreDamaged, match="with 2 damaged shards nothing says which"):
        store.repair(folder)
    assert sorted(folder.rglob("*")) == before
    (folder / "table.h5").write_bytes(table)
    done = store.repair(folder)
    assert done.header == HEADER
    assert (len(done.set_aside), done.rows, done.waiting) == (5, 4, 8)
    make(folder, NUMBERS)
    check_whole(folder)


def test_codes_that_come_back_get_their_places_again(folder: Path, tmp_path: Path) -> None:
    before = store.open_store(folder).table
    gone = shards(folder)[:2]
    for path in gone:
        path.rename(tmp_path / path.name)
    assert store.repair(folder).waiting == 8
    for path in gone:
        (tmp_path / path.name).rename(path)
    done = store.repair(folder)
    assert (done.found, done.waiting, done.made) == (8, 0, ("table.h5",))
    check_whole(folder)
    assert store.open_store(folder).table.reasons == before.reasons
    assert len(list((folder / "set-aside").glob("table.h5*"))) == 2


def dangling_link(shards: Path) -> None:
    shards.rename(shards.with_name("elsewhere"))
    shards.symlink_to("/no/such/disk")


def failing_disk(shards: Path) -> None:
    """Stand in for os.listdir where the disk fails: root may list every folder."""
    listdir = os.listdir

    def fail(path: Any = ".") -> list[str]:
        if Path(path) == shards:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return listdir(path)

    os.listdir = fail  # type: ignore[assignment]


@pytest.mark.parametrize("harm", [dangling_link, failing_disk])
@pytest.mark.parametrize("lost", ["table.h5", "store.json"])
def test_shards_that_cannot_be_listed_are_not_none(
    folder: Path, monkeypatch: pytest.MonkeyPatch, harm: Callable[[Path], None], lost: str
) -> None:
    monkeypatch.setattr(os, "listdir", os.listdir)
    harm(folder / "shards")
    if lost == "store.json":
        (folder / lost).unlink()
    table = (folder / "table.h5").read_bytes()
    for attempt in (store.repair, lambda folder: store.Writer(folder).__enter__()):
        with pytest.raises(StoreError, match=r"cannot read .*shards this time") as caught:
            attempt(folder)
        assert not isinstance(caught.value, StoreDamaged)
    assert (folder / "table.h5").read_bytes() == table
    if lost != "store.json":
        assert "this time" in store.verify_folder(folder).unreadable[0]


def test_shards_on_another_disk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in for a rename from one file system to another."""
    bad = shards(folder)[1]
    flip(bad)
    flip(folder / "store.json")
    damaged = bad.read_bytes()
    rename = os.rename

    def across(source: Path, target: Path) -> None:
        if Path(source).parent.name == "shards":
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        rename(source, target)

    monkeypatch.setattr(os, "rename", across)
    assert store.repair(folder).waiting == 4
    assert not bad.exists()
    assert (folder / "set-aside" / bad.name).read_bytes() == damaged


@pytest.mark.parametrize("what", ["link", "folder", "pipe"])
def test_what_is_no_file_goes_to_another_disk_too(
    folder: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Copying what such a link leads to would never end."""
    bad = shards(folder)[1]
    bad.unlink()
    {"link": lambda: bad.symlink_to("/dev/zero"), "folder": bad.mkdir}.get(
        what, lambda: os.mkfifo(bad)
    )()

    def across(source: Path, target: Path) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(os, "rename", across)
    if what == "pipe":
        with pytest.raises(OutputError, match="found a pipe"):
            store.repair(folder)
        bad.unlink()
    assert store.repair(folder).waiting == 4
    assert not os.path.lexists(bad)


def test_a_table_that_is_a_link_to_a_missing_disk_is_not_replaced(folder: Path) -> None:
    (folder / "table.h5").rename(folder.parent / "table.h5")
    (folder / "table.h5").symlink_to("/no/such/disk/table.h5")
    for attempt in (
        store.repair,
        store.open_store,
        lambda folder: store.Writer(folder).__enter__(),
    ):
        with pytest.raises(StoreError, match="this time"):
            attempt(folder)
    assert "this time" in store.verify_folder(folder).unreadable[0]


def test_a_file_in_place_of_the_shards_is_damage(folder: Path) -> None:
    shutil.rmtree(folder / "shards")
    (folder / "shards").touch()
    with pytest.raises(StoreDamaged):
        store.read_rows(store.open_store(folder), "fc", np.arange(12))
    assert store.repair(folder).waiting == 12


@pytest.mark.parametrize("name", ["store.json", "probe.h5"])
def test_a_folder_in_place_of_a_file_is_damage(folder: Path, name: str) -> None:
    (folder / name).unlink()
    (folder / name).mkdir()
    with pytest.raises(StoreDamaged, match="not a regular file"):
        store.FolderStore(folder).probe("fc")
    store.repair(folder)
    check_whole(folder)


def test_the_source_is_read_from_a_table_that_was_set_aside(folder: Path) -> None:
    with store.Writer(folder) as writer:
        writer.finish(scan(NUMBERS, source={"location": "/photos", "layout": "x"}))
    (folder / "table.h5").write_bytes((folder / "table.h5").read_bytes()[:-1])
    for _ in range(2):
        assert store.repair(folder).source == {"location": "/photos", "layout": "x"}


def test_what_has_no_name_of_a_shard_is_none(folder: Path) -> None:
    shutil.copy(shards(folder)[0], folder / "shards" / ("9x" + shards(folder)[0].name))
    assert store.verify_folder(folder).shards == 3
    assert store.repair(folder).rows == 12
