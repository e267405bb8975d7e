"""A shard opened to be read, after its bytes were compared."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from pipeline.common.errors import StoreDamaged, StoreError
from pipeline.common.files import is_absent, read_bytes
from pipeline.common.hdf5 import open_bytes, open_hdf5
from pipeline.common.hostile import HostileFile
from pipeline.store._header import DIGITS_IN_NAME, repair_command, unreadable

# Files that this process has compared with their names: they never change after that, so that
# whoever opens a store many times (a grid search) need not hash it as often.
_compared: set[tuple[int, ...]] = set()


def _identity(path: Path) -> tuple[int, ...]:
    found = os.stat(path)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _compared_file(path: Path, *, again: bool) -> h5py.File:
    """Open a shard from memory, or from its path if it was compared before."""
    identity = _identity(path)
    if identity in _compared and not again:
        return open_hdf5(path)
    data = read_bytes(path)
    if not named_after(path, data):
        raise damaged(path, "its SHA-256 is not the one in its name")
    _compared.add(identity)
    return open_bytes(data)


@contextmanager
def open_shard(path: Path, *, again: bool = False) -> Iterator[h5py.File]:
    """
    Read a shard whole, compare it with its name, and only then show it to HDF5.

    Parameters
    ----------
    path : Path
    again : bool, default False
        Whether to compare also what this process has compared before.

    Raises
    ------
    StoreDamaged
        If it is missing or not what was written.
    StoreError
        If it cannot be read this time.
    """
    try:
        with _compared_file(path, again=again) as file:
            yield file
    except StoreError:
        raise
    except OSError as error:
        # What h5py says of damaged bytes has no number; what the system says of a file has one.
        if error.errno is None or isinstance(error, NotADirectoryError) or is_absent(path, error):
            raise damaged(path, error) from error
        raise unreadable(path, error) from error
    except (KeyError, RuntimeError, HostileFile, IndexError, ValueError, TypeError) as error:
        raise damaged(path, error) from error


def named_after(path: Path, data: bytes) -> bool:
    """Whether bytes have the SHA-256 that a shard's name ends in."""
    return path.stem.partition("-")[2] == hashlib.sha256(data).hexdigest()[:DIGITS_IN_NAME]


def damaged(path: Path, error: object) -> StoreDamaged:
    """Say which shard is damaged and what to do about it."""
    folder = path.parent.parent
    if isinstance(error, FileNotFoundError):
        return StoreDamaged(
            f"shard {path.name} of {folder} is missing; run the same extract command again: only "
            "its rows are computed anew"
        )
    said = " ".join(str(error).split())
    return StoreDamaged(
        f"shard {path} is damaged ({said}); {repair_command(folder)} sets it aside and says how "
        "to compute just its rows again"
    )
