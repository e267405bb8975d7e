"""Several views of each image: one row with the codes of all, the ordinary layout for the first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from pipeline import store
from pipeline.common.errors import StoreDamaged, StoreError
from tests.store.helpers import HEADER, PROBE, SPACE, make, row, scan
from tests.store.helpers import codes as codes_of_one

K = 3
HEADER_OF_VIEWS = replace(HEADER, space=replace(SPACE, views=K, augment="flip,crop"))


def codes(i: int) -> dict[str, np.ndarray]:
    """The codes of image i: those of view v are 1000 * v higher than those of the image."""
    return {
        layer: np.stack([block + 1000 * view for view in range(K)])
        for layer, block in codes_of_one(i).items()
    }


def make_views(folder: Path, numbers: list[int], *, shards: int = 1) -> store.Table:
    with store.Writer(folder) as writer:
        writer.create(HEADER_OF_VIEWS, PROBE)
        for part in np.array_split(numbers, shards):
            for i in part.tolist():
                writer.append(replace(row(i), codes=codes(i)))
            writer.end_batch()
            writer.flush()
        return writer.finish(scan(numbers))


@pytest.fixture(params=["folder", "packed"])
def opened(tmp_path: Path, request: pytest.FixtureRequest) -> store.Store:
    make_views(tmp_path / "s", list(range(20)), shards=4)
    folder = store.FolderStore(tmp_path / "s")
    if request.param == "folder":
        return folder
    store.pack(folder, tmp_path / "packed.h5")
    return store.open_store(tmp_path / "packed.h5")


ROWS = np.array([7, 3, 3, 19, 0])


@pytest.mark.parametrize("layer", ["fc", "map"])
def test_blocks_are_of_the_images_or_of_all_views(opened: store.Store, layer: str) -> None:
    expected = np.array([codes(i)[layer] for i in ROWS])
    assert opened.views == K
    assert opened.layers == SPACE.layers
    np.testing.assert_array_equal(store.read_rows(opened, layer, ROWS), expected[:, 0])
    np.testing.assert_array_equal(store.read_rows(opened, layer, ROWS, views=True), expected)


def test_several_layers_come_together_with_the_same_rows(
    opened: store.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.store._packed._BLOCK_BYTES", 4 * K * (5 + 12) * 6)  # six rows
    for views in (False, True):
        found = np.zeros(len(ROWS), bool)
        pieces = list(
            opened.together(["map", "fc"], ROWS, views=views, rng=np.random.default_rng(0))
        )
        assert len(pieces) > 1
        for positions, block in pieces:
            assert list(block) == ["map", "fc"]
            found[positions] = True
            for layer in block:
                expected = np.array([codes(i)[layer] for i in ROWS[positions]])
                np.testing.assert_array_equal(block[layer], expected if views else expected[:, 0])
        assert found.all()


@pytest.mark.parametrize("form", ["folder", "packed"])
def test_one_view_has_an_axis_of_length_one(tmp_path: Path, form: str) -> None:
    make(tmp_path / "s", [1, 2])
    store.pack(store.FolderStore(tmp_path / "s"), tmp_path / "p.h5")
    one = store.open_store(tmp_path / ("s" if form == "folder" else "p.h5"))
    [(_, block)] = one.blocks("map", np.array([0, 1]), views=True)
    np.testing.assert_array_equal(block, [[codes_of_one(1)["map"]], [codes_of_one(2)["map"]]])


def test_other_programs_see_the_ordinary_layout_and_the_views_beside_it(tmp_path: Path) -> None:
    make_views(tmp_path / "s", [4, 5])
    store.pack(store.FolderStore(tmp_path / "s"), tmp_path / "packed.h5")
    [shard] = (tmp_path / "s" / "shards").iterdir()
    for path in (shard, tmp_path / "packed.h5"):
        with h5py.File(path) as file:
            assert file["codes/map"].shape == (2, 2, 2, 3)
            assert file["views/map"].shape == (2, K - 1, 2, 2, 3)
            assert file["views/map"].fletcher32
            np.testing.assert_array_equal(file["codes/fc"][1], codes(5)["fc"][0])
            np.testing.assert_array_equal(file["views/fc"][1], codes(5)["fc"][1:])


def test_one_view_is_stored_as_if_there_were_no_views(tmp_path: Path) -> None:
    make(tmp_path, [1, 2])
    [shard] = (tmp_path / "shards").iterdir()
    with h5py.File(shard) as file:
        assert "views" not in file
        assert file["codes/map"].shape == (2, 2, 2, 3)


def test_who_asks_for_the_images_does_not_pay_for_the_views(
    opened: store.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    real = h5py.Dataset.__getitem__

    def watch(self, key):  # type: ignore[no-untyped-def]
        read.append(self.name)
        return real(self, key)

    monkeypatch.setattr(h5py.Dataset, "__getitem__", watch)
    store.read_rows(opened, "fc", ROWS)
    assert set(read) == {"/codes/fc"}


def test_verify_reads_the_views_of_a_packed_file(tmp_path: Path) -> None:
    make_views(tmp_path / "s", list(range(20)))
    path = tmp_path / "p.h5"
    store.pack(store.FolderStore(tmp_path / "s"), path)
    assert store.verify_packed(path).damage == ()
    with h5py.File(path) as file:
        place = file["views/fc"].id.get_chunk_info(0).byte_offset
    data = bytearray(path.read_bytes())
    data[place + 50] ^= 1
    path.write_bytes(bytes(data))
    [line] = store.verify_packed(path).damage
    assert "damaged" in line
    with pytest.raises(StoreDamaged):
        list(store.open_store(path).blocks("fc", ROWS, views=True))


def test_verify_counts_the_views_of_a_shard(tmp_path: Path) -> None:
    make_views(tmp_path / "s", list(range(20)), shards=2)
    found = store.verify_folder(tmp_path / "s")
    assert (found.shards, found.rows, found.damage) == (2, 20, ())


@pytest.mark.parametrize("wrong", [np.zeros((2, 1, 5)), np.zeros((2, K, 5)), None])
def test_a_packed_file_without_the_views_that_its_header_promises(
    tmp_path: Path, wrong: np.ndarray | None
) -> None:
    make_views(tmp_path / "s", [1, 2])
    store.pack(store.FolderStore(tmp_path / "s"), tmp_path / "p.h5")
    with h5py.File(tmp_path / "p.h5", "a") as file:
        del file["views/fc"], file.attrs["sealed"]
        if wrong is not None:
            file["views/fc"] = wrong
    with pytest.raises(StoreError, match=r"expected an HDF5 file with codes/<layer> and labels"):
        store.open_store(tmp_path / "p.h5")
