"""Arrays that the system may keep on disk, so that long columns take no memory for long."""

from __future__ import annotations

import mmap
import os
import tempfile
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

_SMALL = 1 << 20  # bytes that are not worth a file


def zeros(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """
    Make an array of zeros: a large one in a file without a name, which ends with the array.

    Where there is no room for the file, it is in memory.

    Parameters
    ----------
    shape : tuple of int
    dtype : dtype-like

    Returns
    -------
    array
        To be given to `let_go` from time to time.
    """
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if size < _SMALL or not hasattr(os, "posix_fallocate"):
        return np.zeros(shape, dtype)
    try:
        with tempfile.TemporaryFile() as file:
            # A page that finds no room when it is written ends the process: take the room now.
            os.posix_fallocate(file.fileno(), 0, size)
            opened = mmap.mmap(file.fileno(), size)
    except OSError:
        return np.zeros(shape, dtype)
    return np.frombuffer(opened, dtype).reshape(shape)  # np.memmap takes 30 us for each row


def let_go(*arrays: NDArray[Any]) -> None:
    """Take what was read and written of such arrays out of this process's memory."""
    for array in arrays:
        mapped = file_of(array)
        if mapped is not None and hasattr(mapped, "madvise"):
            mapped.madvise(mmap.MADV_DONTNEED)


def file_of(array: NDArray[Any]) -> mmap.mmap | None:
    """Return the file that an array is in; None of one in memory."""
    base: object = array
    while isinstance(base, np.ndarray):
        base = base.base
    base = base.obj if isinstance(base, memoryview) else base
    return base if isinstance(base, mmap.mmap) else None
