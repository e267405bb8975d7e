"""A store packed into one file."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from pipeline.common.choices import SPLITS
from pipeline.common.errors import (
    OutputError,
    ResourceError,
)
from pipeline.common.files import FULL, free_bytes, in_words
from pipeline.common.names import Names, blocks, one_by_one
from pipeline.store._careful import write_sealed
from pipeline.store._columns import create_array, write_array
from pipeline.store._header import FILE
from pipeline.store._reader import FolderStore, Rows
from pipeline.store._shard import VIEWS


def pack(store: FolderStore, path: Path) -> int:
    """
    Write a store as one HDF5 file.

    The file has ``codes/<layer>`` (n, ...), ``labels`` (n,), ``classes``, ``paths`` (n,),
    ``splits`` (n,), ``sha256`` (n, 32) and, if the source had any, ``groups`` (n,); rows are the
    images that have codes, in the order of the source. The attribute ``header`` holds the space
    as JSON, ``probe/<layer>`` the codes of the probe. Of several views ``codes/<layer>`` has the
    images' own, ``views/<layer>``
    (n, views - 1, ...) the others. Numbers are as wide as in the store. A seal follows the last
    byte of HDF5, see `pipeline.common.hdf5`.

    Parameters
    ----------
    store : FolderStore
        A finished store.
    path : Path
        Where to write; must not exist.

    Returns
    -------
    int
        Number of rows.

    Raises
    ------
    OutputError
        If the path is taken or cannot be written.
    ResourceError
        If the disk has too little room; nothing is left behind then.
    """
    if path.exists():
        raise OutputError(f"expected a new file, found {path}; delete it or choose another name")
    for folder in path.resolve().parents:
        if (folder / FILE).exists():
            raise OutputError(
                f"expected a place outside stores, found {path} in {folder}; choose another place"
            )
    rows = np.flatnonzero(store.usable)
    numbers = sum(int(np.prod(shape)) for shape in store.layers.values())
    needed = _dtype(store).itemsize * numbers * store.views * len(rows)
    if needed > (free := free_bytes(path.parent)):
        raise ResourceError(
            f"packing needs {in_words(needed)}, {path.parent} has {in_words(free)} free; "
            "make room or choose another place",
        )
    try:
        write_sealed(path, lambda file, check: _fill(file, store, rows, check))
    except OSError as error:
        with suppress(OSError):
            path.unlink(missing_ok=True)  # it was not there before
        raise _unwritten(path, error) from error
    return len(rows)


def _unwritten(path: Path, error: OSError) -> ResourceError | OutputError:
    if isinstance(error, ResourceError):
        return error
    kind = ResourceError if error.errno in FULL else OutputError
    left = "what is left of it is to be deleted" if path.exists() else "nothing was left"
    return kind(f"cannot write {path} ({error.strerror or error}); {left}")


def _dtype(store: FolderStore) -> np.dtype[Any]:
    return np.dtype(store.header.dtype.value if store.header is not None else np.float32)


def _fill(file: h5py.File, store: FolderStore, rows: Rows, check: Callable[[], None]) -> None:
    if store.header is not None:
        file.attrs["header"] = np.bytes_(json.dumps(store.header.to_json(), sort_keys=True))
    classes = [name.encode("utf-8", "surrogateescape") for name in store.classes]
    names = np.zeros(max(SPLITS.values()) + 1, "S5")
    for split, code in SPLITS.items():
        names[code] = split.value.encode()
    _write_text(file, "classes", classes)
    table, every = store.table, len(rows) == len(store.table)
    for name, column in (("paths", table.paths), ("groups", table.groups)):
        if column is not None:
            own = column if every else Names.of(column).take(one_by_one(rows))
            _write_text(file, name, own)
    write_array(file, "labels", store.labels[rows])
    write_array(file, "sha256", table.sha256 if every else table.sha256[rows])
    write_array(file, "splits", names[store.splits[rows]])
    codes, probe = file.create_group("codes"), file.create_group("probe")
    dtype = _dtype(store)
    for layer, shape in store.layers.items():
        dataset = create_array(codes, layer, (len(rows), *shape), dtype)
        others = None
        if store.views > 1:
            wide = (len(rows), store.views - 1, *shape)
            others = create_array(file.require_group(VIEWS), layer, wide, dtype)
        for positions, block in store.blocks(layer, rows, views=True):
            block = block.astype(dtype, copy=False)
            _write_rows(dataset, positions, block[:, 0])
            if others is not None:
                _write_rows(others, positions, block[:, 1:])
            check()
        kept = store.probe(layer)
        if kept is not None:
            write_array(probe, layer, kept)


def _write_text(file: h5py.File, name: str, values: Sequence[bytes]) -> None:
    """
    Write strings of one length, padded with NUL.

    Strings of any length would lie in HDF5's global heap, which has no checksum, and on which a
    flipped bit can keep HDF5 busy for ever.
    """
    length = max(map(len, values), default=1) or 1
    dtype = h5py.string_dtype("utf-8", length)
    dataset = create_array(file, name, (len(values),), dtype)
    for piece in blocks(len(values)):
        dataset[piece] = np.array(list(values[piece]), dtype)


def _write_rows(dataset: h5py.Dataset, positions: Rows, block: NDArray[Any]) -> None:
    """Write rows in runs of neighbours, as they mostly are."""
    for run in np.split(np.arange(len(positions)), np.flatnonzero(np.diff(positions) != 1) + 1):
        dataset[positions[run[0]] : positions[run[-1]] + 1] = block[run]
