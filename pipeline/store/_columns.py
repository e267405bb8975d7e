"""Columns of an HDF5 file: arrays and raw byte strings, in chunks of rows with checksums."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.common.hdf5 import Datasets
from pipeline.common.mapped import let_go
from pipeline.common.names import Names, blocks

if TYPE_CHECKING:
    import h5py

# h5py's manual asks for chunks of 10 KiB to 1 MiB; a chunk is what one checksum covers and what
# one read costs at the least.
CHUNK_BYTES = 1 << 18


def write_array(group: h5py.Group, name: str, values: NDArray[Any]) -> None:
    """Write an array of any rank with fletcher32 over chunks of whole rows, one at a time."""
    dataset = create_array(group, name, values.shape, values.dtype)
    if not dataset.chunks:
        dataset[...] = values
        return
    for start in range(0, len(values), dataset.chunks[0]):
        dataset[start : start + dataset.chunks[0]] = values[start : start + dataset.chunks[0]]
        let_go(values)


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
    write_pieces(group, name, len(values), lambda piece: Names.of(values[piece]))


def write_pieces(group: h5py.Group, name: str, count: int, part: Callable[[slice], Names]) -> None:
    """Write byte strings as `write_strings`, of which there is only a piece at a time."""
    size = sum(part(piece).size for piece in blocks(count))
    folder = group.create_group(name)
    ends = create_array(folder, "ends", (count,), np.dtype(np.int64))
    data = create_array(folder, "bytes", (size,), np.dtype(np.uint8))
    done = 0
    for piece in blocks(count):
        names = part(piece)
        ends[piece] = names.ends + done
        if names.size:
            data[done : done + names.size] = names.data
        done += names.size


def read_strings(datasets: Datasets, name: str, start: int = 0, stop: int | None = None) -> Names:
    """
    Read what `write_strings` wrote.

    Parameters
    ----------
    datasets : Datasets
    name : str
    start, stop : int
        The rows; all by default.

    Raises
    ------
    KeyError
        If there is no such column.
    OSError
        If it is damaged.
    """
    before = int(datasets.read(f"{name}/ends", start - 1, start)[0]) if start else 0
    ends = datasets.read(f"{name}/ends", start, stop).astype(np.int64, copy=False)
    last = int(ends[-1]) if len(ends) else before
    [size] = datasets.entries[f"{name}/bytes"].shape
    whole = stop is None or start + len(ends) == datasets.entries[f"{name}/ends"].shape[0]
    rising = before >= 0 and bool(np.all(np.diff(ends, prepend=before) >= 0))
    if not rising or last > size or (whole and len(ends) and last != size):
        raise OSError(f"the strings of '{name}' do not add up")
    return Names(datasets.read(f"{name}/bytes", before, last), ends - before)
