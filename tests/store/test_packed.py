from __future__ import annotations

import errno
import itertools
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from pipeline import store
from pipeline.common.choices import Split
from pipeline.common.errors import (
    OutputError,
    ResourceError,
    StoreDamaged,
    StoreError,
    StoreNotFound,
)
from pipeline.store._careful import Careful
from tests.store.helpers import HEADER, codes, make


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    make(tmp_path / "s", list(range(20)), shards=4)
    store.pack(store.FolderStore(tmp_path / "s"), tmp_path / "packed.h5")
    return tmp_path / "packed.h5"


def test_any_program_can_read_it(packed: Path) -> None:
    with h5py.File(packed) as file:
        assert sorted(file) == ["classes", "codes", "labels", "paths", "probe", "sha256", "splits"]
        np.testing.assert_array_equal(file["codes/fc"], [codes(i)["fc"] for i in range(20)])
        assert file["labels"][:].tolist() == [0, 1] * 10
        assert file["classes"].asstr()[:].tolist() == ["a", "b"]
        assert file["paths"].asstr()[3] == "3.jpg"
        assert file["splits"][:2].tolist() == [b"test", b"train"]
        assert file["codes/fc"].fletcher32


def test_reading_it_gives_what_the_store_gives(packed: Path) -> None:
    folder, file = store.open_store(packed.parent / "s"), store.open_store(packed)
    rows = np.array([7, 3, 3, 19, 0])
    for layer in folder.layers:
        np.testing.assert_array_equal(
            store.read_rows(folder, layer, rows), store.read_rows(file, layer, rows)
        )
        np.testing.assert_array_equal(folder.probe(layer), file.probe(layer))
    for split in Split:
        np.testing.assert_array_equal(store.rows_of(folder, split), store.rows_of(file, split))
    assert file.header == folder.header == HEADER
    assert file.paths(rows) == folder.paths(rows)


def test_it_does_not_depend_on_how_the_rows_came_into_shards(tmp_path: Path) -> None:
    files = []
    for shards in (1, 5):
        make(tmp_path / f"s{shards}", list(range(20)), shards=shards)
        files.append(tmp_path / f"{shards}.h5")
        store.pack(store.FolderStore(tmp_path / f"s{shards}"), files[-1])
    assert files[0].read_bytes() == files[1].read_bytes()


def test_an_existing_file_is_never_overwritten(packed: Path) -> None:
    before = packed.read_bytes()
    with pytest.raises(OutputError, match="expected a new file"):
        store.pack(store.FolderStore(packed.parent / "s"), packed)
    assert packed.read_bytes() == before


@pytest.mark.parametrize("room", [0, 1, 2, 5, 10, 20])
def test_a_disk_that_fills_up_while_hdf5_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    make(tmp_path / "s", list(range(20)), shards=5)
    real, writes = Careful._put, itertools.count()

    def full(file: Careful, data: object) -> None:
        if next(writes) >= room:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(file, data)

    monkeypatch.setattr(Careful, "_put", full)
    with pytest.raises(ResourceError, match="No space left"):
        store.pack(store.FolderStore(tmp_path / "s"), tmp_path / "packed.h5")
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_a_real_limit_on_the_file_size_neither_crashes_nor_leaves_a_file(tmp_path: Path) -> None:
    """HDF5 itself ends the interpreter with a segmentation fault here."""
    pytest.importorskip("resource", reason="this system has no limits on file sizes")
    make(tmp_path / "s", list(range(2000)))
    program = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (50000, 50000))\n"
        "from pathlib import Path; from pipeline import store\n"
        f"store.pack(store.FolderStore(Path({str(tmp_path / 's')!r})),"
        f" Path({str(tmp_path / 'p.h5')!r}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 1
    assert "ResourceError: cannot write" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def _foreign(path: Path, **members: object) -> Path:
    with h5py.File(path, "w") as file:
        for name, value in members.items():
            file[name.replace("__", "/")] = value
    return path


def test_codes_of_another_program_are_welcome(tmp_path: Path) -> None:
    X = np.random.default_rng(0).random((60, 7))
    path = _foreign(tmp_path / "x.h5", codes__mine=X, labels=np.array(["dog", "cat"] * 30, "S"))
    opened = store.open_store(path)
    assert opened.header is None
    assert opened.classes == ("cat", "dog")
    np.testing.assert_array_equal(
        store.read_rows(opened, "mine", np.arange(60)), X.astype(np.float32)
    )
    assert opened.probe("mine") is None
    counts = [len(store.rows_of(opened, split)) for split in Split]
    assert sum(counts) == 60
    assert min(counts) > 0


def test_equal_rows_of_a_foreign_file_never_fall_on_both_sides(tmp_path: Path) -> None:
    X = np.repeat(np.random.default_rng(0).random((40, 3)), 3, axis=0)
    path = _foreign(tmp_path / "x.h5", codes__mine=X, labels=np.arange(120) % 2)
    splits = store.open_store(path).splits.reshape(40, 3)
    assert (splits == splits[:, :1]).all()


def test_numbers_as_labels_without_names(tmp_path: Path) -> None:
    path = _foreign(tmp_path / "x.h5", codes__a=np.ones((3, 2)), labels=[10, -5, 10])
    opened = store.open_store(path)
    assert opened.classes == ("-5", "10")
    assert opened.labels.tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    "members",
    [
        {"labels": [1, 2]},
        {"codes__a": np.ones((3, 2))},
        {"codes__a": np.ones((3, 2)), "labels": [1, 2]},
        {"codes__a": np.ones((2, 2)), "labels": [[1, 2]]},
        {"codes__a": np.array([b"x", b"y"]), "labels": [1, 2]},
        {"codes__a": np.ones((2, 2)), "labels": [1, 2], "splits": np.array([b"dev"] * 2)},
        {"codes__a": np.ones((2, 2)), "labels": [0, 7], "classes": np.array([b"x"])},
        {"codes": [1.0, 2.0], "labels": [1, 2]},
        {"codes__a": np.ones((2, 2)), "labels": [0, 1], "classes": np.array([b"x", b"x"])},
        {"codes__a": np.ones((2, 2)), "labels": [0, 1], "classes": [5, 6]},
        {"codes__a": np.ones((2, 2)), "labels": [0, 1], "splits": [10**12, 0]},
        {"codes__a": np.ones((2, 2)), "labels": [0.5, 1.5]},
        {"codes__a": np.ones((2, 2)), "labels": [np.nan, 1.0]},
        {"codes__a": np.ones((2, 2)), "labels": np.array([2**63 + 1, 1], np.uint64)},
        {"codes__a": np.ones((2, 2)), "labels": [1j, 2j]},
        {"codes__a": np.ones((2, 0)), "labels": [0, 1]},
        {"codes__a": np.full((2, 2), 1e308), "labels": [0, 1]},  # no number of 32 bits
    ],
)
def test_another_layout_is_refused_in_one_line(tmp_path: Path, members: dict[str, object]) -> None:
    path = _foreign(tmp_path / "x.h5", **members)
    with pytest.raises(StoreError, match="expected an HDF5 file with codes/<layer>") as caught:
        store.open_store(path)
    assert "\n" not in str(caught.value)


def test_no_hdf5_at_all(tmp_path: Path) -> None:
    (tmp_path / "x.h5").write_bytes(b"GIF89a")
    with pytest.raises(StoreError):
        store.open_store(tmp_path / "x.h5")
    with pytest.raises(StoreNotFound):
        store.open_store(tmp_path / "y.h5")


def test_damage_after_opening_is_named(packed: Path) -> None:
    opened = store.open_store(packed)
    data = bytearray(packed.read_bytes())
    place = data.index(codes(5)["fc"].tobytes())
    data[place] ^= 1
    packed.write_bytes(bytes(data))
    with pytest.raises(StoreDamaged, match=r"packed\.h5 is damaged"):
        store.read_rows(opened, "fc", np.arange(20))


def test_a_packed_file_is_verified_too(packed: Path) -> None:
    assert store.verify_packed(packed).damage == ()
    data = bytearray(packed.read_bytes())
    data[data.index(codes(5)["map"].tobytes())] ^= 1
    packed.write_bytes(bytes(data))
    assert len(store.verify_packed(packed).damage) == 1


def test_nothing_is_packed_into_a_store(packed: Path) -> None:
    for place in ("x.h5", "shards/000009-x.h5"):
        with pytest.raises(OutputError, match="outside stores"):
            store.pack(store.FolderStore(packed.parent / "s"), packed.parent / "s" / place)


@pytest.mark.parametrize("name", ["sha256", "labels", "splits", "paths", "classes", "probe/fc"])
def test_damage_without_a_seal_is_damage_too(packed: Path, name: str) -> None:
    """As in packed files of the first version: the checksums of the chunks tell."""
    with h5py.File(packed, "a") as file:
        del file.attrs["sealed"]
        place = file[name].id.get_chunk_info(0).byte_offset
    data = bytearray(packed.read_bytes())
    data[place] ^= 4
    packed.write_bytes(bytes(data))
    with pytest.raises(StoreDamaged, match=r"packed\.h5 is damaged"):
        _read_beside_codes(packed)


def test_a_file_changed_by_another_program_is_told_and_can_be_used_on_purpose(packed: Path) -> None:
    with h5py.File(packed, "a") as file:
        file["labels"][0] = 1
    with pytest.raises(StoreDamaged, match="delete its attribute 'sealed'"):
        store.open_store(packed)
    with h5py.File(packed, "a") as file:
        del file.attrs["sealed"]
    assert store.open_store(packed).labels[0] == 1


@pytest.mark.parametrize("claim", [{"labels": (1 << 40,)}, {"codes/a": (4, 1 << 28)}])
def test_a_small_file_that_claims_much_is_refused(tmp_path: Path, claim: dict) -> None:
    [(name, shape)] = claim.items()
    with h5py.File(tmp_path / "x.h5", "w") as file:
        if name != "labels":
            file["labels"] = np.arange(4)
        else:
            file["codes/a"] = np.ones((4, 2))
        chunk = (1 << 20,) if len(shape) == 1 else (1, 1 << 20)
        file.create_dataset(name, shape, "f4", chunks=chunk, compression="gzip")
    with pytest.raises(StoreError, match="claims"):
        store.open_store(tmp_path / "x.h5")


def _read_beside_codes(path: Path) -> None:
    opened = store.open_store(path)
    opened.hashes(np.arange(3))
    opened.probe("fc")


def test_a_name_that_cannot_be_made_durable_leaves_nothing(
    packed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = store.FolderStore(packed.parent / "s")

    def fail(path: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("pipeline.common.files.sync_directory", fail)
    with pytest.raises(ResourceError):
        store.pack(opened, packed.with_name("again.h5"))
    assert not packed.with_name("again.h5").exists()


def test_a_file_whose_first_block_is_gone_is_damaged(packed: Path) -> None:
    packed.write_bytes(bytes(4096) + packed.read_bytes()[4096:])
    with pytest.raises(StoreDamaged):
        store.open_store(packed)
