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

import hashlib
import io
import math
import os
import struct
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.common.files import check_regular

if TYPE_CHECKING:
    import h5py

# Ids that HDF5 itself defines (https://docs.hdfgroup.org, "Filters in HDF5"): all three are part
# of every build, so that reading a file never loads a plugin.
_DEFLATE, _SHUFFLE, _FLETCHER32 = 1, 2, 3
_FILTERS = {_DEFLATE: "deflate", _SHUFFLE: "shuffle", _FLETCHER32: "fletcher32"}
# The most that deflate can shrink a run of equal bytes (zlib's technical notes: 1032 to 1).
_DEFLATE_LIMIT = 1032
# Tools that make an HDF5 file hold up to this many objects; a model's weights have some thousand.
_MOST_OBJECTS = 10_000
_DEEPEST = 64
# A chunk is read whole and unpacked whole; h5py's manual asks for 10 KiB to 1 MiB.
_LARGEST_CHUNK = 256 << 20

SIGNATURE = b"\x89HDF\r\n\x1a\n"

BLOCK = 64 << 10
_PIECE = 16 << 20  # bytes compared at a time
_MAGIC = b"\x89sealed-1\r\n\x1a\n\x00\x00\x00"  # 16 bytes
_HASH = hashlib.sha256().digest_size
_FOOTER = struct.Struct(f"<16sQQ{_HASH}s")
STRINGS = "strings"
# Set in every file that has a seal, so that a seal that is gone is missed.
_SEALED = "sealed"


class HostileFile(ValueError):
    """An HDF5 file reaches outside itself, needs a plugin, or claims more than it can hold."""


class BrokenSeal(OSError):
    """Bytes of a sealed file are not those that were written."""


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


def mark_sealed(file: h5py.File) -> None:
    """Note in a file that is being written that it will have a seal."""
    file.attrs[_SEALED] = True


def append_seal(file: BinaryIO, *, lazily: bool = True) -> None:
    """
    Hash what a finished HDF5 file holds and write the seal behind it.

    Parameters
    ----------
    file : binary file
        Open for reading and writing; HDF5 has closed it.
    lazily : bool, default True
        Whether data of chunks is to be compared only when it is read; else all is at opening.
    """
    size = file.seek(0, io.SEEK_END)
    flags = np.ones(-(-size // BLOCK), bool)
    for start, stop in _chunks_of(file) if lazily else ():
        flags[-(-start // BLOCK) : stop // BLOCK] = False
    file.seek(0)
    table = bytearray()
    for start in range(0, size, BLOCK):
        table += hashlib.sha256(file.read(min(BLOCK, size - start))).digest()
    table += np.packbits(flags).tobytes()
    file.seek(size)
    file.write(bytes(table) + _FOOTER.pack(_MAGIC, size, BLOCK, _digest(table, size)))


def _chunks_of(file: BinaryIO) -> list[tuple[int, int]]:
    """List where data of chunks lies, neighbours joined: (first byte, behind the last)."""
    import h5py

    ranges: list[tuple[int, int]] = []

    def visit(_: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.chunks:
            offsets, sizes = _places(item)
            ranges.extend(zip(offsets.tolist(), (offsets + sizes).tolist(), strict=True))

    with h5py.File(file, "r") as opened:
        opened.visititems(visit)
    joined: list[tuple[int, int]] = []
    for start, stop in sorted(ranges):
        if joined and joined[-1][1] == start:
            joined[-1] = (joined[-1][0], stop)
        else:
            joined.append((start, stop))
    return joined


def _places(dataset: h5py.Dataset) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first byte and the size of each chunk of a dataset, in the order of its rows."""
    found: list[tuple[int, int, int]] = []

    def note(chunk: Any) -> None:
        found.append((chunk.chunk_offset[0], chunk.byte_offset, chunk.size))

    dataset.id.chunk_iter(note)
    rows = np.array(sorted(found), np.int64).reshape(-1, 3)
    return rows[:, 1], rows[:, 2]


def _digest(table: bytes | bytearray, size: int) -> bytes:
    return hashlib.sha256(_MAGIC + struct.pack("<QQ", size, BLOCK) + table).digest()


class Seal:
    """
    What a file says of its own bytes; each block is compared once.

    Parameters
    ----------
    file : binary file
        Open for reading, without a buffer; it is closed with this.

    Attributes
    ----------
    blocks : int
        How many there are.

    Raises
    ------
    BrokenSeal
        If the seal itself is not what was written.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._closed = weakref.finalize(self, file.close)  # also where nobody says so
        try:
            self._size, self._table, self._flags = _read_seal(file)
        except BaseException:
            self.close()
            raise
        self.blocks = len(self._table) // _HASH
        self._compared = bytearray(self.blocks)

    def compare(self, start: int, stop: int) -> None:
        """
        Compare the blocks that hold some bytes.

        Parameters
        ----------
        start, stop : int
            The first byte, and the one behind the last.

        Raises
        ------
        BrokenSeal
            If a block is not what was written.
        OSError
            If one cannot be read.
        """
        first, last = start // BLOCK, min(self.blocks, -(-stop // BLOCK))
        if first >= last or all(self._compared[first:last]):
            return
        self._file.seek(first * BLOCK)
        data = memoryview(self._file.read(min(last * BLOCK, self._size) - first * BLOCK))
        for number in range(first, last):
            offset = (number - first) * BLOCK
            digest = hashlib.sha256(data[offset : offset + BLOCK]).digest()
            if digest != self._table[number * _HASH : (number + 1) * _HASH]:
                raise BrokenSeal(
                    f"bytes {number * BLOCK} to {(number + 1) * BLOCK} are not those that were "
                    "written"
                )
            self._compared[number] = True

    def compare_metadata(self) -> None:
        """
        Compare all blocks that hold something else than the data of chunks.

        Raises
        ------
        BrokenSeal, OSError
            As `compare`.
        """
        for start, stop in _runs(np.flatnonzero(self._flags)):
            for piece in range(start * BLOCK, stop * BLOCK, _PIECE):
                self.compare(piece, min(piece + _PIECE, stop * BLOCK))

    def is_of(self, path: Path) -> bool:
        """Whether a path still leads to the file that is compared."""
        return os.path.samestat(os.fstat(self._file.fileno()), os.stat(path))

    def close(self) -> None:
        """Close the file."""
        self._closed()

    def __enter__(self) -> Seal:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _runs(numbers: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Group sorted numbers into runs of neighbours: (first, behind the last)."""
    if not len(numbers):
        return []
    pieces = np.split(numbers, np.flatnonzero(np.diff(numbers) != 1) + 1)
    return [(int(piece[0]), int(piece[-1]) + 1) for piece in pieces]


def _read_seal(file: BinaryIO) -> tuple[int, bytes, NDArray[np.uint8]]:
    """Return the size of the HDF5 part, the hashes of its blocks, and which hold metadata."""
    whole = file.seek(0, io.SEEK_END)
    if whole < _FOOTER.size:
        raise BrokenSeal("it is shorter than a seal")
    file.seek(whole - _FOOTER.size)
    magic, size, block, digest = _FOOTER.unpack(file.read(_FOOTER.size))
    blocks = -(-size // BLOCK)
    length = blocks * _HASH + -(-blocks // 8)
    if magic != _MAGIC or block != BLOCK or size + length + _FOOTER.size != whole:
        raise BrokenSeal("its seal is not what was written")
    file.seek(size)
    table = file.read(length)
    if _digest(table, size) != digest:
        raise BrokenSeal("its seal is not what was written")
    bits = np.frombuffer(table[blocks * _HASH :], np.uint8)
    return size, table[: blocks * _HASH], np.unpackbits(bits, count=blocks)


def has_seal(path: Path) -> bool:
    """Whether a file ends as a sealed one does; what lies before it is not looked at."""
    check_regular(path)
    with path.open("rb") as file:
        whole = file.seek(0, io.SEEK_END)
        file.seek(max(0, whole - _FOOTER.size))
        return file.read(len(_MAGIC)) == _MAGIC


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


def was_sealed(attributes: Mapping[str, Any]) -> bool:
    """Whether the attributes of a file without a seal say that it had one."""
    return _SEALED in attributes


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

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    BrokenSeal
        If a byte that is needed is not what was written.
    HostileFile, OSError
        As `open_hdf5`.
    """

    def __init__(self, path: Path) -> None:
        check_regular(path)
        self._path = path
        self._seal = Seal(path.open("rb", buffering=0))
        self._chunks: dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]] = {}
        try:
            self._seal.compare_metadata()
            with self._open(open_hdf5) as file:
                super().__init__(file)
        except BaseException:
            self._seal.close()
            raise

    @contextmanager
    def _open(self, how: Callable[[Path], h5py.File]) -> Iterator[h5py.File]:
        """
        Open the file for a moment.

        While it is open here, others in this process cannot open it with HDF5's own locking.
        """
        with how(self._path) as file:
            if not self._seal.is_of(self._path):
                raise BrokenSeal("another file took its place")
            yield file

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


def first_line(error: BaseException) -> str:
    """Return what an error says, in one line."""
    return " ".join(str(error).split()) or type(error).__name__


def inspect(file: h5py.File) -> None:
    """
    Refuse what a well-meant file never has; nothing is read but metadata.

    Raises
    ------
    HostileFile
        See `open_hdf5`.
    """
    import h5py

    seen = 0
    groups: list[tuple[h5py.Group, int]] = [(file, 0)]
    visited = set()
    while groups:
        group, depth = groups.pop()
        address = h5py.h5o.get_info(group.id).addr
        if address in visited:
            continue
        visited.add(address)
        if depth > _DEEPEST:
            raise HostileFile(f"groups lie in groups more than {_DEEPEST} deep")
        for name in group:
            seen += 1
            if seen > _MOST_OBJECTS:
                raise HostileFile(f"more than {_MOST_OBJECTS} objects")
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise HostileFile(f"'{name}' is a {type(link).__name__}, not data of this file")
            member = group[name]
            if isinstance(member, h5py.Group):
                groups.append((member, depth + 1))
            elif isinstance(member, h5py.Dataset):
                _inspect_dataset(member)


def _inspect_dataset(dataset: h5py.Dataset) -> None:
    """Refuse storage outside the file, unknown filters and impossible shapes."""
    creation = dataset.id.get_create_plist()
    if creation.get_external_count():
        raise HostileFile(f"'{dataset.name}' keeps its numbers in another file")
    if dataset.is_virtual:
        raise HostileFile(f"'{dataset.name}' is a view into other files")
    filters = {creation.get_filter(i)[0] for i in range(creation.get_nfilters())}
    if unknown := filters - set(_FILTERS):
        known = ", ".join(_FILTERS.values())
        raise HostileFile(
            f"'{dataset.name}' needs HDF5 filter {min(unknown)}; accepted are {known}"
        )
    chunk = dataset.dtype.itemsize
    for edge in dataset.chunks or ():
        chunk *= edge
    if dataset.chunks and chunk > _LARGEST_CHUNK:
        raise HostileFile(
            f"'{dataset.name}' has chunks of {chunk} bytes; accepted are {_LARGEST_CHUNK} "
            "(`h5repack -l CHUNK=...` makes them smaller)"
        )
    claimed = dataset.size * dataset.dtype.itemsize if dataset.size else 0
    # A few bytes of slack: small datasets may live inside the metadata.
    held = dataset.id.get_storage_size() * (_DEFLATE_LIMIT if _DEFLATE in filters else 1)
    if claimed > held + 65536 and creation.get_layout() != 0:
        raise HostileFile(f"'{dataset.name}' claims {claimed} bytes and holds {held}")
