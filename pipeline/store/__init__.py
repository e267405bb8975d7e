"""The feature store: codes on disk that survive kills, full disks and flipped bits.

A store is a folder:

- ``shards/NNNNNN-<sha256>.h5``: for each row the codes of every layer, the SHA-256 of the image's
  bytes, its path as raw bytes, and for images that could not be used a reason instead of codes;
  beside them what ``store.json`` and ``probe.h5`` say, so that these can be made again.
  A shard MUST be built in memory, written aside, synced, renamed, and its folder synced; it MUST
  NOT be opened for writing again. Its name ends in the SHA-256 of its bytes. Numbers are chunked
  by rows, each chunk with a fletcher32 checksum. ``codes/<layer>`` are those of the images, and
  ``views/<layer>`` of their augmented copies, if there are any. They have 32 bits, or 16 where
  that was asked for and every value fits; readers hand out float32 of either.
- ``store.json``: the space, its id, and beside it the engine, the precision, the width of the
  stored numbers and the versions.
- ``probe.h5``: the codes of the bundled probe images.
- ``table.h5``: for each scanned image its label, split, status and place in the shards. It is
  replaced atomically and can always be rebuilt from the source and the shards. Paths, hashes and
  times are read from it only where they are needed.
- ``LOCK``: locked by the kernel while a process writes.
- ``set-aside/``: damaged files that repair moved out of the way.

No byte of these is shown to HDF5 before it was compared: with the SHA-256 in a shard's name or in
``store.json``, or with the seal at the end of a file (`pipeline.common.hdf5`).

A row is found by its content hash: a renamed or copied image is a hit, an edited one a miss.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.common.choices import SPLITS
from pipeline.store._buffer import Row
from pipeline.store._by_content import ByContent
from pipeline.store._header import FILE as HEADER_FILE
from pipeline.store._header import Header
from pipeline.store._joined import JoinedStore
from pipeline.store._pack import pack
from pipeline.store._packed import PackedStore
from pipeline.store._reader import (
    FolderStore,
    Store,
    choose_layer,
    contents,
    name_of,
    read_rows,
    read_together,
    rows_of,
)
from pipeline.store._repair import Repair, repair
from pipeline.store._rows import Status, Table, first_bytes
from pipeline.store._shard import Seen
from pipeline.store._table import StoredTable
from pipeline.store._verify import Verification, verify_folder, verify_packed
from pipeline.store._writer import Scan, Writer, lasting

__all__ = [
    "HEADER_FILE",
    "SPLITS",
    "ByContent",
    "FolderStore",
    "Header",
    "JoinedStore",
    "PackedStore",
    "Repair",
    "Row",
    "Scan",
    "Seen",
    "Status",
    "Store",
    "StoredTable",
    "Table",
    "Verification",
    "Writer",
    "choose_layer",
    "contents",
    "first_bytes",
    "lasting",
    "name_of",
    "open_store",
    "pack",
    "read_rows",
    "read_together",
    "repair",
    "rows_of",
    "verify_folder",
    "verify_packed",
]


def open_store(path: Path) -> Store:
    """
    Open a finished store or a packed file for reading.

    Parameters
    ----------
    path : Path
        A folder made by extract, or an HDF5 file made by pack or by another program.

    Returns
    -------
    Store

    Raises
    ------
    StoreNotFound
        If nothing is there.
    StoreIncomplete
        If images of the store still wait for their codes.
    StoreDamaged
        If the bytes are not those that were written.
    StoreError
        If the file has another layout.
    """
    return PackedStore(path) if path.is_file() else FolderStore(path)
