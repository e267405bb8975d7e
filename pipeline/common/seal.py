"""The seal at the end of a file: a hash of each block, compared before anything is believed."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from pipeline.common.files import check_regular

if TYPE_CHECKING:
    import h5py


BLOCK = 64 << 10


_PIECE = 4 << 20  # bytes compared at a time


_MAGIC = b"\x89sealed-1\r\n\x1a\n\x00\x00\x00"  # 16 bytes


_HASH = hashlib.sha256().digest_size


_FOOTER = struct.Struct(f"<16sQQ{_HASH}s")


# Set in every file that has a seal, so that a seal that is gone is missed.
_SEALED = "sealed"


class BrokenSeal(OSError):
    """Bytes of a sealed file are not those that were written."""


def mark_sealed(file: h5py.File) -> None:
    """Note in a file that is being written that it will have a seal."""
    file.attrs[_SEALED] = True


def was_sealed(attributes: Mapping[str, Any]) -> bool:
    """Whether the attributes of a file without a seal say that it had one."""
    return _SEALED in attributes


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
