"""HDF5 files that other programs made, read by a process of their own.

HDF5 crashes, loops for ever or takes gigabytes on some damaged or hostile files. So a child process
opens such a file, with limits on its time and memory, and answers with plain arrays; whatever
happens to it becomes an error here.
"""

from __future__ import annotations

import errno
import math
import os
import re
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.common.child import LARGEST_ANSWER, Child, ChildEnded
from pipeline.common.files import check_regular, in_words
from pipeline.common.hdf5 import STRINGS, Entry, SealedDatasets
from pipeline.common.hostile import HostileFile
from pipeline.common.seal import BrokenSeal, has_seal, was_sealed

# A process that computes this long on one answer is in a loop: 1 GB is unpacked in that time.
SECONDS = 5.0
# One that neither answers nor computes waits for a disk, which may take longer.
_PATIENCE = 60.0
# What the child may take beyond what Python and HDF5 need themselves.
MEMORY = 1 << 30
_NUMBER = re.compile(r"errno = (\d+)")
_OF_SYSTEM = frozenset((errno.EIO, errno.EACCES, errno.EPERM, errno.ESTALE, errno.ETIMEDOUT))


class Foreign:
    """
    An HDF5 file, open in a child process; see `pipeline.common.hdf5.Datasets`.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    HostileFile
        If the file must not be read, see `pipeline.common.hdf5.inspect`.
    OSError
        If it is not an HDF5 file, or a damaged one, or HDF5 crashes or takes too long on it.
    """

    def __init__(self, path: Path) -> None:
        check_regular(path)
        path.open("rb").close()  # what the system says of it, it says here
        self._path = path
        self._lock = threading.Lock()
        self._child = Child("pipeline.common._foreign_child", os.path.abspath(path))
        described, _ = self._ask({"ask": "describe"})
        self.entries: Mapping[str, Entry] = {
            str(name): Entry(shape=tuple(map(int, shape)), dtype=str(dtype))
            for name, shape, dtype in described["entries"]
        }
        self.attributes: Mapping[str, str | None] = dict(described["attributes"])

    def close(self) -> None:
        """End the child process."""
        self._child.stop()

    def __enter__(self) -> Foreign:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def read(self, name: str, start: int = 0, stop: int | None = None) -> NDArray[Any]:
        """Read rows of a dataset; see `pipeline.common.hdf5.Datasets.read`."""
        entry = self.entries[name]
        shape = entry.shape
        if shape:
            stop = shape[0] if stop is None else min(stop, shape[0])
            shape = (max(0, stop - start), *shape[1:])
        wanted = Entry(shape=shape, dtype=entry.dtype)
        if wanted.bytes > LARGEST_ANSWER:
            raise HostileFile(
                f"'{name}' has {in_words(wanted.bytes)} to be read at once; accepted are "
                f"{in_words(LARGEST_ANSWER)}"
            )
        _, data = self._ask({"ask": "read", "name": name, "start": start, "stop": stop})
        if entry.dtype == STRINGS:
            return _strings(data, math.prod(shape)).reshape(shape)
        return np.frombuffer(data, np.dtype(entry.dtype)).reshape(shape)

    def look(self) -> None:
        """
        Read everything once and keep nothing, so that whoever reads it later does so in safety.

        Raises
        ------
        OSError, HostileFile
            As `read`.
        """
        self._ask({"ask": "look"}, seconds=SECONDS + self._path.stat().st_size / 50e6)

    def _ask(
        self, request: dict[str, Any], *, seconds: float = SECONDS
    ) -> tuple[dict[str, Any], bytearray]:
        """Send a request; return the JSON and the bytes that answer it."""
        with self._lock:
            if self._child.stopped:
                raise OSError("its reader has ended")
            try:
                self._child.send(request | {"seconds": seconds})
                reply, data = self._child.receive(_PATIENCE + seconds)
            except ChildEnded as error:
                raise self._ended(error) from error
        if "error" in reply:
            raise _said(reply["error"], str(reply["message"]))
        return reply, data

    def _ended(self, error: ChildEnded) -> OSError:
        """Say why there is no answer."""
        if error.silent:
            return OSError(f"HDF5 does not read it within {_PATIENCE:.0f} s")
        if error.out_of_time:
            return OSError(f"HDF5 does not come to an end on it ({SECONDS:g} s of computing)")
        return OSError("HDF5 crashes on it, or takes too much memory")


def _said(kind: str, message: str) -> Exception:
    """Return the error that the child met; HDF5 writes the system's number into its text."""
    if kind == "hostile":
        return HostileFile(message)
    number = _NUMBER.search(message)
    if number is not None and int(number[1]) in _OF_SYSTEM:
        return OSError(int(number[1]), os.strerror(int(number[1])))
    return OSError(message)


def open_datasets(path: Path) -> SealedDatasets | Foreign:
    """
    Open an HDF5 file: in this process if it has a seal, else in a process of its own.

    Returns
    -------
    SealedDatasets or Foreign
        To be closed by the caller, or used as a context.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    BrokenSeal
        If a byte that was needed is not what was written, or the seal is gone.
    HostileFile, OSError
        As `Foreign`.
    """
    if has_seal(path):
        return SealedDatasets(path)
    datasets = Foreign(path)
    if was_sealed(datasets.attributes):
        datasets.close()
        raise BrokenSeal(
            "its seal is gone: it was cut, or changed by another program; if that was meant, "
            "delete its attribute 'sealed'"
        )
    return datasets


def _strings(data: bytearray, count: int) -> NDArray[np.bytes_]:
    """Unpack strings: all lengths, then all bytes."""
    lengths = np.frombuffer(data[: 8 * count], np.int64)
    if len(lengths) != count or (lengths < 0).any() or lengths.sum() != len(data) - 8 * count:
        raise OSError("its strings do not add up")
    longest = max(1, int(lengths.max(initial=1)))
    if longest * count > LARGEST_ANSWER:
        raise HostileFile("its strings are too long")
    ends = 8 * count + np.cumsum(lengths)
    pieces = [bytes(data[end - length : end]) for end, length in zip(ends, lengths, strict=True)]
    return np.array(pieces, f"S{longest}")
