"""A store as one ordinary HDF5 file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline import store


@dataclass(frozen=True, kw_only=True)
class Packing:
    """
    What `pack` wrote.

    Attributes
    ----------
    file : str
    rows : int
        Images with codes.
    bytes : int
        Size of the file.
    """

    file: str
    rows: int
    bytes: int


def pack(store_path: str | Path, file: str | Path) -> Packing:
    """
    Write a finished store as one HDF5 file that any tool can read.

    Parameters
    ----------
    store_path : str or Path
        The store.
    file : str or Path
        Where to write; must not exist.

    Returns
    -------
    Packing

    Raises
    ------
    StoreNotFound, StoreIncomplete, StoreDamaged
        If the store cannot be read as a whole.
    OutputError
        If the file exists or cannot be written.
    ResourceError
        If the disk has too little room.

    Examples
    --------
    >>> import pipeline
    >>> pipeline.pack("artifacts/features/photos", "photos.h5").rows
    60
    >>> pipeline.load_codes("photos.h5").X.shape
    (35, 24)
    """
    path = Path(file)
    rows = store.pack(store.FolderStore(Path(store_path)), path)
    return Packing(file=str(path), rows=rows, bytes=path.stat().st_size)
