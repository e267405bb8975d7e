"""Columns of an HDF5 file: arrays and raw byte strings, in chunks of rows with checksums."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.common.hdf5 import Datasets

if TYPE_CHECKING:
    import h5py

# h5py's manual asks for chunks of 10 KiB to 1 MiB; a chunk is what one checksum covers and what
# one read costs at the least.
CHUNK_BYTES = 1 << 18


def write_array(group: h5py.Group, name: str, values: NDArray[Any]) -> None:
    """Write an array of any rank with fletcher32 over chunks of whole rows."""
    create_array(group, name, values.shape, values.dtype)[...] = values


def write_rows(group: h5py.Group, name: str, rows: Sequence[NDArray[Any]]) -> None:
    """Write rows that stand each for itself, a chunk at a time: no array holds them all."""
    dataset = create_array(group, name, (len(rows), *rows[0].shape), rows[0].dtype)
    step = dataset.chunks[0] if dataset.chunks else len(rows)
    for start in range(0, len(rows), step):
        dataset[start : start + step] = np.stack(rows[start : start + step])


def create_array(
    group: h5py.Group, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> h5py.Dataset:
    """Create an empty dataset of the same layout, to be filled row by row."""
    if 0 in shape:
        return group.create_dataset(name, shape=shape, dtype=dtype)
    row = max(1, int(np.prod(shape[1:], dtype=np.int64)) * dtype.itemsize)
    rows = max(1, min(shape[0], CHUNK_BYTES // row))
    return group.create_dataset(
        name, shape=shape, dtype=dtype, chunks=(rows, *shape[1:]), fletcher32=True
    )


def write_strings(group: h5py.Group, name: str, values: Sequence[bytes]) -> None:
    """Write byte strings as they are: names on disk need be neither UTF-8 nor free of NUL."""
    lengths = np.fromiter((len(value) for value in values), np.int64, len(values))
    folder = group.create_group(name)
    write_array(folder, "ends", np.cumsum(lengths))
    write_array(folder, "bytes", np.frombuffer(b"".join(values), np.uint8))


def read_strings(datasets: Datasets, name: str) -> list[bytes]:
    """
    Read what `write_strings` wrote.

    Raises
    ------
    KeyError
        If there is no such column.
    OSError
        If it is damaged.
    """
    data = datasets.read(f"{name}/bytes").tobytes()
    ends: list[int] = datasets.read(f"{name}/ends").tolist()
    starts = [0, *ends]
    if ends and (starts != sorted(starts) or ends[-1] != len(data)):
        raise OSError(f"the strings of '{name}' do not add up")
    return [data[start:end] for start, end in zip(starts, ends, strict=False)]
