"""Codes of 16 bits: half the disk, the same questions, and nothing that does not fit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import store
from pipeline.common.choices import Dtype
from pipeline.common.errors import StoreDamaged, StoreError
from tests.store.helpers import HEADER, PROBE, SPACE, codes, digest, make, row, scan

HALF = replace(HEADER, dtype=Dtype.float16)
# Every float32 that 16 bits can hold, those included that become 0 or subnormal.
FITTING = st.floats(-65504, 65504, width=32)


def write(folder: Path, values: np.ndarray, *, header: store.Header = HALF) -> None:
    """Write a store whose image i has the codes values[i] in layer fc."""
    with store.Writer(folder) as writer:
        writer.create(header, PROBE)
        for i, value in enumerate(values):
            writer.append(replace(row(i), codes={**codes(i), "fc": value}))
        writer.finish(scan(list(range(len(values)))))


@given(rows=st.lists(st.lists(FITTING, min_size=5, max_size=5), min_size=1, max_size=6))
@settings(max_examples=40, deadline=None)
def test_what_is_read_is_what_numpy_rounds_to(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[float]]
) -> None:
    folder, values = tmp_path_factory.mktemp("store"), np.array(rows, np.float32)
    write(folder / "s", values)
    store.pack(store.FolderStore(folder / "s"), folder / "packed.h5")
    for place in (folder / "s", folder / "packed.h5"):
        read = store.read_rows(store.open_store(place), "fc", np.arange(len(values)))
        assert read.dtype == np.float32
        np.testing.assert_array_equal(read, values.astype(np.float16).astype(np.float32))


def test_a_value_moves_by_one_part_in_2048_at_the_most(tmp_path: Path) -> None:
    values = np.geomspace(1e-4, 65504, 5000, dtype=np.float32).reshape(-1, 5)
    write(tmp_path, values)
    read = store.read_rows(store.open_store(tmp_path), "fc", np.arange(len(values)))
    error = np.abs(read - values) / values
    assert 2**-12 < error.max() <= 2**-11


def test_every_reader_hands_out_float32(tmp_path: Path) -> None:
    make(tmp_path / "s", list(range(20)), shards=3, header=HALF)
    store.pack(store.FolderStore(tmp_path / "s"), tmp_path / "p.h5")
    for place in ("s", "p.h5"):
        opened = store.open_store(tmp_path / place)
        assert opened.header == HALF
        for views in (False, True):
            blocks = [block for _, block in opened.blocks("map", np.arange(20), views=views)]
            assert {block.dtype for block in blocks} == {np.dtype(np.float32)}
        np.testing.assert_array_equal(opened.probe("fc"), PROBE["fc"])


def test_views_are_as_wide_as_the_images(tmp_path: Path) -> None:
    header = replace(HALF, space=replace(SPACE, views=2, augment="flip"))
    with store.Writer(tmp_path / "s") as writer:
        writer.create(header, PROBE)
        both = {layer: np.stack([block, block + 0.1]) for layer, block in codes(3).items()}
        writer.append(replace(row(3), codes=both))
        writer.finish(scan([3]))
    store.pack(store.FolderStore(tmp_path / "s"), tmp_path / "p.h5")
    for place in ("s", "p.h5"):
        opened = store.open_store(tmp_path / place)
        read = store.read_rows(opened, "map", np.array([0]), views=True)
        assert read.dtype == np.float32
        np.testing.assert_array_equal(read[0], both["map"].astype(np.float16))
    with h5py.File(tmp_path / "p.h5") as file:
        assert file["views/map"].dtype == file["codes/map"].dtype == np.float16


def test_half_the_size_on_disk(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((50, 5), np.float32).repeat(40, axis=0)
    sizes = []
    for name, header in (("float32", HEADER), ("float16", HALF)):
        write(tmp_path / name, values, header=header)
        [shard] = (tmp_path / name / "shards").iterdir()
        store.pack(store.FolderStore(tmp_path / name), tmp_path / f"{name}.h5")
        for path in (shard, tmp_path / f"{name}.h5"):
            with h5py.File(path) as file:
                assert file["codes/fc"].dtype == name
                assert file["codes/fc"].fletcher32
                sizes.append(
                    sum(file["codes"][layer].id.get_storage_size() for layer in SPACE.layers)
                )
    assert sizes[2] < 0.51 * sizes[0]
    assert sizes[3] < 0.51 * sizes[1]


def test_reading_a_shard_takes_as_much_memory_as_of_32_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shard closes at the same number of rows, whatever they take on disk."""
    monkeypatch.setattr("pipeline.store._buffer.BYTES", 10 * (5 + 12) * 4)
    for name, header in (("float32", HEADER), ("float16", HALF)):
        with store.Writer(tmp_path / name) as writer:
            writer.create(header, PROBE)
            for i in range(40):
                writer.append(row(i))
                writer.end_batch()
            writer.finish(scan(list(range(40))))
        assert len(list((tmp_path / name / "shards").iterdir())) == 4


@pytest.mark.parametrize("value", [65505, -70000, 1e30, np.inf, np.nan])
def test_a_value_that_does_not_fit_is_refused_and_what_was_committed_stays(
    tmp_path: Path, value: float
) -> None:
    make(tmp_path, [1, 2], header=HALF)
    wrong = {**codes(3), "map": codes(3)["map"] + np.float32(value)}
    said = r"up to 65504, .* float16 holds, found .* in layer map; use --dtype float32"
    with pytest.raises(StoreError, match=said) as caught, store.Writer(tmp_path) as writer:
        writer.append(replace(row(3), codes=wrong))
    assert "\n" not in str(caught.value)
    opened = store.open_store(tmp_path)
    np.testing.assert_array_equal(
        store.read_rows(opened, "map", np.arange(2)), [codes(i)["map"] for i in (1, 2)]
    )
    with store.Writer(tmp_path) as writer:
        assert not writer.known(digest(3))
        assert writer.append(row(3)), "the next image is taken as ever"


def test_a_probe_that_does_not_fit_is_refused_before_there_is_a_store(tmp_path: Path) -> None:
    probe = {**PROBE, "fc": PROBE["fc"] * 1e6}
    with (
        pytest.raises(StoreError, match=r"found 1e\+06 in layer fc"),
        store.Writer(tmp_path / "s") as writer,
    ):
        writer.create(HALF, probe)
    assert list(tmp_path.iterdir()) == []


def test_values_too_small_for_16_bits_are_no_reason_to_refuse(tmp_path: Path) -> None:
    write(tmp_path, np.array([[1e-9, -1e-9, 6e-8, 1e-6, 0]], np.float32))
    read = store.read_rows(store.open_store(tmp_path), "fc", np.array([0]))
    np.testing.assert_allclose(read, [[0, 0, 6e-8, 1e-6, 0]], rtol=0.1)


def test_the_width_stands_beside_the_space_not_in_it(tmp_path: Path) -> None:
    assert HALF.space.space_id == HEADER.space.space_id
    assert HALF.to_json()["dtype"] == "float16"
    assert "dtype" not in HALF.to_json()["space"]


def test_a_header_from_before_there_was_a_choice_means_32_bits(tmp_path: Path) -> None:
    make(tmp_path, [1])
    path = tmp_path / "store.json"
    plain = json.loads(path.read_text())
    del plain["dtype"], plain["checksum"]  # which came later still
    path.write_text(json.dumps(plain))
    assert store.FolderStore(tmp_path).header == HEADER
    make(tmp_path, [1, 2])


def test_a_width_that_nobody_knows(tmp_path: Path) -> None:
    make(tmp_path, [1])
    path = tmp_path / "store.json"
    plain = json.loads(path.read_text()) | {"dtype": "float8"}
    del plain["checksum"]
    path.write_text(json.dumps(plain))
    with pytest.raises(StoreDamaged, match="'float8' is not a valid Dtype"):
        store.open_store(tmp_path)
