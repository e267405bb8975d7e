"""HDF5 that is looked at first, and files whose every byte is vouched for."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.common import hdf5, hostile, seal


def _external_storage(file: h5py.File, secret: Path) -> None:
    file.create_dataset("x", (4,), "u1", external=[(str(secret), 0, 4)])


def _external_link(file: h5py.File, secret: Path) -> None:
    file["x"] = h5py.ExternalLink(str(secret), "/")


def _soft_link(file: h5py.File, secret: Path) -> None:
    file["deep/x"] = h5py.SoftLink("/y")


def _virtual(file: h5py.File, secret: Path) -> None:
    layout = h5py.VirtualLayout((4,), "u1")
    layout[:] = h5py.VirtualSource(str(secret), "x", (4,))
    file.create_virtual_dataset("x", layout)


def _enormous(file: h5py.File, secret: Path) -> None:
    file.create_dataset("x", (1 << 40,), "f4", chunks=(1 << 20,))


def _bomb(file: h5py.File, secret: Path) -> None:
    file.create_dataset("x", (1 << 40,), "f4", chunks=(1 << 20,), compression="gzip")


def _filter(file: h5py.File, secret: Path) -> None:
    file.create_dataset("x", data=np.zeros(100), chunks=(10,), compression="lzf")


@pytest.mark.parametrize(
    "write",
    [_external_storage, _external_link, _soft_link, _virtual, _enormous, _bomb, _filter],
)
def test_hdf5_that_reaches_out_or_lies_is_refused_before_anything_is_read(
    tmp_path: Path, write
) -> None:  # type: ignore[no-untyped-def]
    secret = tmp_path / "secret"
    secret.write_bytes(b"root")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        write(file, secret)
    with pytest.raises(hostile.HostileFile):
        hdf5.open_hdf5(tmp_path / "x.h5")


def test_ordinary_hdf5_is_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["plain"] = np.arange(5)
        file.create_dataset("zipped", data=np.zeros(10_000), compression="gzip", shuffle=True)
        file.create_dataset("checked", data=np.zeros(10_000), chunks=True, fletcher32=True)
        file.create_dataset("names", data=["a", "b"], dtype=h5py.string_dtype())
        file.create_dataset("none", shape=(0, 3))
        file["twice"] = file["plain"]
    with hdf5.open_hdf5(tmp_path / "x.h5") as file:
        assert file["twice"][:].tolist() == [0, 1, 2, 3, 4]


def _fill(file: h5py.File) -> None:
    file.create_dataset("x", data=np.arange(20_000.0), chunks=(1000,), fletcher32=True)
    file["names"] = np.array([b"a", b"bb"], "S2")


def test_a_sealed_file_is_ordinary_hdf5_to_others(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    path.write_bytes(hdf5.sealed_bytes(_fill))
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["x"], np.arange(20_000.0))
    with hdf5.SealedDatasets(path) as datasets:
        assert datasets.entries["x"] == hdf5.Entry(shape=(20_000,), dtype="<f8")
        np.testing.assert_array_equal(datasets.read("x", 50, 60), np.arange(50.0, 60.0))
        assert datasets.read("names").tolist() == [b"a", b"bb"]


@given(place=st.integers(0, 10**9), bit=st.integers(0, 7))
@settings(max_examples=200, deadline=None)
def test_one_flipped_bit_anywhere_in_a_sealed_file_is_found(
    tmp_path_factory: pytest.TempPathFactory, place: int, bit: int
) -> None:
    path = tmp_path_factory.mktemp("sealed") / "x.h5"
    data = bytearray(hdf5.sealed_bytes(_fill))
    data[place % len(data)] ^= 1 << bit
    path.write_bytes(bytes(data))
    if not seal.has_seal(path):
        with h5py.File(path) as file:  # the end of the file was hit, and nothing that HDF5 reads
            assert seal.was_sealed(dict(file.attrs))
        return
    with pytest.raises(seal.BrokenSeal):
        _read_all(path)


def _read_all(path: Path) -> None:
    """Read every dataset, and what HDF5 did not need."""
    with hdf5.SealedDatasets(path) as datasets:
        for name in datasets.entries:
            datasets.read(name)
    with seal.Seal(path.open("rb", buffering=0)) as found:
        found.compare(0, found.blocks * seal.BLOCK)


def test_opening_a_large_sealed_file_reads_a_small_part_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.h5"
    with path.open("w+b") as raw:
        with h5py.File(raw, "w") as file:
            file.create_dataset("x", data=np.zeros((400, 30_000), np.float32), chunks=(8, 30_000))
            seal.mark_sealed(file)
        seal.append_seal(raw)
    compared: list[int] = []
    real = seal.Seal.compare

    def count(self: seal.Seal, start: int, stop: int) -> None:
        compared.append(stop - start)
        real(self, start, stop)

    monkeypatch.setattr(seal.Seal, "compare", count)
    with hdf5.SealedDatasets(path) as datasets:
        assert sum(compared) < path.stat().st_size / 20
        assert not datasets.read("x", 399).any()
        assert sum(compared) < path.stat().st_size / 10


def test_groups_nested_without_end_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        group = file
        for _ in range(100):
            group = group.create_group("g")
    with pytest.raises(hostile.HostileFile, match="deep"):
        hdf5.open_hdf5(tmp_path / "x.h5")


def test_chunks_that_nobody_can_hold_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", (1 << 28,), "f8", chunks=(1 << 27,), compression="gzip")
    with pytest.raises(hostile.HostileFile, match="chunks of"):
        hdf5.open_hdf5(tmp_path / "x.h5")
