"""HDF5 files: built in memory, sealed as a whole, and looked at before anything is read.

HDF5 checks chunks (fletcher32) but not its own metadata, where one flipped bit gives other rows, a
crash or an endless loop. A file of ours therefore ends in a seal, or its name or a JSON file holds
its SHA-256, and HDF5 is given no byte that was not compared first. Files of other programs are read
in a process of their own, see `pipeline.common.foreign`.

The seal follows the last byte of HDF5, which HDF5 ignores there: the SHA-256 of each block of 64
KiB, a bit for each block that holds something else than data of chunks, and a footer with the size
of the HDF5 part and the SHA-256 of all this. Opening compares the blocks with metadata, reading
those of the chunks that are wanted: opening a large file reads a small part of it. (A Python file
object that compares what HDF5 asks for would do too, but HDF5 1.14 crashes at the end of the
process when a read of such a file has failed.)
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.common.files import check_regular
from pipeline.common.hostile import inspect
from pipeline.common.seal import BrokenSeal, Seal, _places, append_seal, mark_sealed

if TYPE_CHECKING:
    import h5py


SIGNATURE = b"\x89HDF\r\n\x1a\n"

STRINGS = "strings"


def hdf5_bytes(fill: Callable[[h5py.File], None]) -> bytes:
    """
    Build a small HDF5 file in memory.

    HDF5 never syncs, and a full disk inside it ends the interpreter; bytes in memory can be
    written and synced by ourselves.

    Parameters
    ----------
    fill : callable
        Given the open file, writes what belongs in it.

    Returns
    -------
    bytes
        The whole file.
    """
    import h5py

    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        fill(file)
    return memory.getvalue()


def sealed_bytes(fill: Callable[[h5py.File], None]) -> bytes:
    """Build a small HDF5 file in memory, as `hdf5_bytes`, with a seal behind it."""

    def marked(file: h5py.File) -> None:
        mark_sealed(file)
        fill(file)

    data = io.BytesIO(hdf5_bytes(marked))
    append_seal(data, lazily=False)
    return data.getvalue()


def open_bytes(data: bytes) -> h5py.File:
    """
    Open an HDF5 file that is in memory, and whose hash was compared; see `open_hdf5`.

    Parameters
    ----------
    data : bytes
        The whole file.
    """
    return _opened(io.BytesIO(data))


def open_hdf5(path: Path) -> h5py.File:
    """
    Open an HDF5 file for reading after a look at what it claims.

    Parameters
    ----------
    path : Path
        The file, whose bytes were compared with a hash before; it is never locked and never
        written.

    Returns
    -------
    h5py.File
        To be closed by the caller.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    HostileFile
        If the file has soft or external links, external or virtual storage, filters that HDF5
        itself does not bring, or shapes that its bytes cannot hold.
    OSError
        If it is not an HDF5 file, or a damaged one.
    """
    check_regular(path)
    return _opened(path)


def _opened(file_or_path: Any) -> h5py.File:
    import h5py

    file = h5py.File(file_or_path, "r", locking=False if isinstance(file_or_path, Path) else None)
    try:
        inspect(file)
    except RuntimeError as error:  # h5py's word for damaged metadata
        file.close()
        raise OSError(f"it cannot be read as HDF5: {error}") from error
    except BaseException:
        file.close()
        raise
    return file


@dataclass(frozen=True, kw_only=True)
class Entry:
    """
    What a file says of one dataset.

    Attributes
    ----------
    shape : tuple of int
    dtype : str
        As NumPy writes it; ``"strings"`` for strings of any length.
    """

    shape: tuple[int, ...]
    dtype: str

    @property
    def kind(self) -> str:
        """NumPy's letter for the kind of dtype; ``"S"`` for strings of any length."""
        return "S" if self.dtype == STRINGS else np.dtype(self.dtype).kind

    @property
    def bytes(self) -> int:
        """What it takes in memory, at least."""
        width = 1 if self.dtype == STRINGS else np.dtype(self.dtype).itemsize
        return width * math.prod(self.shape)


class Datasets(Protocol):
    """
    The datasets of a file, whoever reads it.

    Attributes
    ----------
    entries : mapping of str to Entry
        By their whole names, such as ``"codes/fc1"``.
    attributes : mapping of str to str or None
        Those of the root, where they are text; None for others.
    """

    entries: Mapping[str, Entry]
    attributes: Mapping[str, str | None]

    def read(self, name: str, start: int = 0, stop: int | None = None) -> NDArray[Any]:
        """
        Read rows of a dataset.

        Parameters
        ----------
        name : str
            One of `entries`.
        start, stop : int
            The rows; all by default.

        Returns
        -------
        array
            Strings as bytes of one length (``S``).

        Raises
        ------
        KeyError
            If there is no such dataset.
        OSError, HostileFile
            If the rows are damaged, or too much for HDF5.
        """


def names_in(datasets: Datasets, group: str) -> list[str]:
    """List the datasets right below a group, by their last names, in order."""
    start = f"{group}/"
    below = [name[len(start) :] for name in datasets.entries if name.startswith(start)]
    return [name for name in below if "/" not in name]


class OpenDatasets:
    """
    The datasets of a file that is open in this process; see `Datasets`.

    Parameters
    ----------
    file : h5py.File

    Attributes
    ----------
    file : h5py.File
    """

    def __init__(self, file: h5py.File) -> None:
        self.file = file
        self.attributes: Mapping[str, str | None] = {
            name: _text(file.attrs[name]) for name in file.attrs
        }
        found: dict[str, Entry] = {}
        groups: list[tuple[str, Any]] = [("", file)]
        while groups:
            path, group = groups.pop()
            below = []
            for name in group:
                member, whole = group[name], f"{path}{name}"
                if hasattr(member, "keys"):
                    below.append((f"{whole}/", member))
                elif hasattr(member, "shape") and member.shape is not None:
                    found[whole] = Entry(shape=tuple(member.shape), dtype=_dtype_text(member))
            groups += reversed(below)
        self.entries: Mapping[str, Entry] = found

    def read(self, name: str, start: int = 0, stop: int | None = None) -> NDArray[Any]:
        """Read rows of a dataset; see `Datasets.read`."""
        return _rows(self.file[name], self.entries[name], start, stop)


def _rows(dataset: h5py.Dataset, entry: Entry, start: int, stop: int | None) -> NDArray[Any]:
    """Read rows; strings become bytes of one length."""
    if any(edge == 0 for edge in entry.shape):
        stop = entry.shape[0] if stop is None else min(stop, entry.shape[0])
        dtype = "S1" if entry.dtype == STRINGS else entry.dtype
        return np.empty((max(0, stop - start), *entry.shape[1:]), dtype)
    rows = dataset[start:stop] if entry.shape else dataset[()]
    if entry.dtype != STRINGS:
        return np.asarray(rows)
    texts = [bytes(text) for text in np.ravel(rows).tolist()]
    return np.array(texts, "S").reshape(np.shape(rows))


class SealedDatasets(OpenDatasets):
    """
    The datasets of a sealed file, compared with its seal before they are read; see `Datasets`.

    Parameters
    ----------
    path : Path
    keep : bool, default False
        Whether to keep it open, where the system lets others replace it then.

    Attributes
    ----------
    stays : bool
        Whether it can be read to its end though another file takes its place.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    BrokenSeal
        If a byte that is needed is not what was written.
    HostileFile, OSError
        As `open_hdf5`.
    """

    def __init__(self, path: Path, *, keep: bool = False) -> None:
        check_regular(path)
        self._path = path
        self._kept: h5py.File | None = None
        self._seal = Seal(path.open("rb", buffering=0))
        self._chunks: dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]] = {}
        try:
            self._seal.compare_metadata()
            with self._open(open_hdf5) as file:
                super().__init__(file)
            self.stays = keep and os.name != "nt"  # which replaces no file that is open
            if self.stays:
                self._kept = _open_quietly(path)
                self._check_same()
        except BaseException:
            self._seal.close()
            raise

    @contextmanager
    def _open(self, how: Callable[[Path], h5py.File]) -> Iterator[h5py.File]:
        """
        Open the file for a moment.

        While it is open here, others in this process cannot open it with HDF5's own locking.
        """
        if self._kept is not None:
            yield self._kept
            return
        with how(self._path) as file:
            self._check_same()
            yield file

    def _check_same(self) -> None:
        if not self._seal.is_of(self._path):
            raise BrokenSeal("another file took its place")

    def read(self, name: str, start: int = 0, stop: int | None = None) -> NDArray[Any]:
        """Read rows of a dataset; see `Datasets.read`."""
        with self._open(_open_quietly) as file:
            dataset = file[name]
            if dataset.chunks and dataset.size:
                self._compare_rows(name, dataset, start, stop)
            return _rows(dataset, self.entries[name], start, stop)

    def _compare_rows(self, name: str, dataset: h5py.Dataset, start: int, stop: int | None) -> None:
        """Compare the chunks that hold some rows."""
        if name not in self._chunks:
            self._chunks[name] = _places(dataset)
        offsets, sizes = self._chunks[name]
        step = dataset.chunks[0]
        whole = dataset.chunks[1:] != dataset.shape[1:]  # then chunks are no runs of rows
        last = None if stop is None or whole else -(-stop // step)
        wanted = slice(0 if whole else start // step, last)
        for place, size in zip(offsets[wanted].tolist(), sizes[wanted].tolist(), strict=True):
            self._seal.compare(place, place + size)

    def close(self) -> None:
        """Close the file."""
        self._seal.close()
        if self._kept is not None:
            self._kept.close()

    def __enter__(self) -> SealedDatasets:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _open_quietly(path: Path) -> h5py.File:
    """Open a file that was looked at before."""
    import h5py

    return h5py.File(path, "r", locking=False)


def _dtype_text(dataset: h5py.Dataset) -> str:
    import h5py

    if h5py.check_string_dtype(dataset.dtype) is not None and dataset.dtype.kind == "O":
        return STRINGS
    text: str = dataset.dtype.str
    return text


def _text(value: Any) -> str | None:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else None


def has_signature(data: bytes) -> bool:
    """Whether a file that begins with these bytes is HDF5, with a user block or without."""
    starts = [0, *(512 << power for power in range(len(data).bit_length()))]
    return any(data[start : start + len(SIGNATURE)] == SIGNATURE for start in starts)
