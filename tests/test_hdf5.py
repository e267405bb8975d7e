"""HDF5 that is looked at first, and files whose every byte is vouched for."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from pipeline import hdf5


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
    "hostile",
    [_external_storage, _external_link, _soft_link, _virtual, _enormous, _bomb, _filter],
)
def test_hdf5_that_reaches_out_or_lies_is_refused_before_anything_is_read(
    tmp_path: Path, hostile
) -> None:  # type: ignore[no-untyped-def]
    secret = tmp_path / "secret"
    secret.write_bytes(b"root")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        hostile(file, secret)
    with pytest.raises(hdf5.HostileFile):
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
