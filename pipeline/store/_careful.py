"""Large HDF5 files, written straight to disk, which may fill up meanwhile."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py

from pipeline.common.files import replacing
from pipeline.common.seal import append_seal, mark_sealed


def write_sealed(
    path: Path, fill: Callable[[h5py.File, Callable[[], None]], None], *, lazily: bool = True
) -> None:
    """
    Replace a file by an HDF5 file with a seal, atomically and durably.

    Parameters
    ----------
    path : Path
    fill : callable
        Given the open file, writes what belongs in it; and, given too, calls from time to time
        what raises the failure of a disk.
    lazily : bool, default True
        As for `append_seal`.

    Raises
    ------
    OSError
        If it cannot be written; what was there before stays.
    """
    with replacing(path) as file:
        careful = Careful(file)
        with h5py.File(careful, "w") as opened:
            mark_sealed(opened)
            fill(opened, careful.check)
        careful.check()
        append_seal(file, lazily=lazily)


class Careful(io.RawIOBase):
    """
    A file that remembers its first failure instead of raising it.

    HDF5 does not survive a failing write: after a full disk the interpreter crashes when the file
    is closed. So HDF5 is told that all is well, what it writes from then on is kept in memory for
    it to read back, and the failure is raised between two blocks of rows.
    """

    def __init__(self, file: io.BufferedRandom) -> None:
        self._file = file
        self._failure: OSError | None = None
        self._position = 0
        self._unwritten: list[tuple[int, bytes]] = []

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        start, size = self._position, len(view)
        self._file.seek(start)
        data = self._file.read(size)
        view[:] = data + bytes(size - len(data))
        for offset, kept in self._unwritten:
            lo, hi = max(start, offset), min(start + size, offset + len(kept))
            if lo < hi:
                view[lo - start : hi - start] = kept[lo - offset : hi - offset]
        self._position += size
        return size

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        if self._failure is None:
            try:
                self._put(data)
            except OSError as error:
                self._failure = error
        if self._failure is not None:
            self._unwritten.append((self._position, bytes(data)))
        self._position += size
        return size

    def _put(self, data: Any) -> None:
        self._file.seek(self._position)
        self._file.write(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_END:
            offset += self._file.seek(0, io.SEEK_END)
        elif whence == io.SEEK_CUR:
            offset += self._position
        self._position = offset
        return offset

    def tell(self) -> int:
        return self._position

    def truncate(self, size: int | None = None) -> int:
        size = self._position if size is None else size
        if self._failure is None:
            try:
                return self._file.truncate(size)
            except OSError as error:
                self._failure = error
        return size

    def flush(self) -> None:
        if self._failure is None:
            try:
                self._file.flush()
            except OSError as error:
                self._failure = error

    def check(self) -> None:
        """Raise what went wrong, if anything did."""
        self.flush()
        if self._failure is not None:
            raise self._failure
