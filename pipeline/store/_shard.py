"""A shard: an immutable HDF5 file with the rows of about a minute's work."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import h5py
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import StoreDamaged, StoreError
from pipeline.files import HostileFile, hdf5_bytes, open_hdf5, write_durably
from pipeline.store._columns import read_strings, write_array, write_rows, write_strings
from pipeline.store._dtype import widened

F = TypeVar("F", bound=np.floating)

# What a kill can cost at the most, and what a shard may weigh: while it is written it is in memory
# twice, as rows and as the bytes of the file. Numbers of 16 bits count as the 32 that a reader has
# of them: what reading a shard takes in memory is the same for both.
SECONDS = 60.0
BYTES = 16 << 20

_DIGITS_IN_NAME = 32
_WIDTH = np.dtype(np.float32).itemsize

VIEWS = "views"
"""The group beside ``codes`` with the codes of all views but the first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """
    One image with its codes, or with the reason why it has none.

    Attributes
    ----------
    path : bytes
        Where the image was, relative to the source.
    sha256 : bytes of length 32
        Hash of the image's bytes.
    stat : tuple of int
        Size, modification and change time in nanoseconds when it was read; zeros if unknown.
    codes : mapping of str to float array, or None
        For each layer, the codes, as wide as they are to be stored; None for a rejected image. Of
        several views all, the image's own first.
    reason : str
        Why the image was rejected; empty for a good one.
    """

    path: bytes
    sha256: bytes
    stat: tuple[int, int, int]
    codes: Mapping[str, NDArray[np.floating]] | None
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Index:
    """
    What a shard holds, without the codes.

    Attributes
    ----------
    name : str
        File name; ends in the SHA-256 of the file.
    paths : list of bytes
    reasons : list of str
    sha256 : uint8 array of shape (n, 32)
    stat : int64 array of shape (n, 3)
    code_row : int32 array of shape (n,)
        Row in each ``codes/<layer>``; -1 for a rejected image.
    """

    name: str
    paths: list[bytes]
    reasons: list[str]
    sha256: NDArray[np.uint8]
    stat: NDArray[np.int64]
    code_row: NDArray[np.int32]


class Buffer:
    """Rows that wait in memory to become a shard."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.good = 0
        self._bytes = 0
        self._since = 0.0

    def add(self, row: Row) -> None:
        """Take one more row."""
        if not self.rows:
            self._since = time.monotonic()
        self.rows.append(row)
        if row.codes is not None:
            self.good += 1
            self._bytes += sum(_WIDTH * codes.size for codes in row.codes.values())

    @property
    def full(self) -> bool:
        """Whether it is time to write."""
        late = time.monotonic() - self._since >= SECONDS
        return bool(self.rows) and (late or self._bytes >= BYTES)


def write_shard(
    folder: Path, number: int, rows: list[Row], *, space_id: str, views: int = 1
) -> Index:
    """
    Commit rows as one shard: built in memory, written aside, synced, renamed.

    Parameters
    ----------
    folder : Path
        The ``shards`` folder of a store.
    number : int
        Place of the shard in the order of shards.
    rows : list of Row
        At least one.
    space_id : str
        The space that the codes are in.
    views : int, default 1
        With more than one, the codes of a row have this many as their first axis.

    Returns
    -------
    Index
        Of the new shard.

    Raises
    ------
    OSError
        If the file cannot be written; nothing is left of it then.
    """
    good = [row.codes for row in rows if row.codes is not None]
    code_row = np.full(len(rows), -1, np.int32)
    code_row[[row.codes is not None for row in rows]] = np.arange(len(good))
    sha256 = np.frombuffer(b"".join(row.sha256 for row in rows), np.uint8).reshape(-1, 32)
    stat = np.array([row.stat for row in rows], np.int64)

    def fill(file: h5py.File) -> None:
        file.attrs["space_id"] = space_id
        write_strings(file, "paths", [row.path for row in rows])
        write_strings(file, "reasons", [row.reason.encode() for row in rows])
        write_array(file, "sha256", sha256)
        write_array(file, "stat", stat)
        write_array(file, "code_row", code_row)
        codes = file.create_group("codes")
        for layer in good[0] if good else ():
            if views == 1:
                write_rows(codes, layer, [row[layer] for row in good])
                continue
            write_rows(codes, layer, [row[layer][0] for row in good])
            write_rows(file.require_group(VIEWS), layer, [row[layer][1:] for row in good])

    data = hdf5_bytes(fill)
    name = f"{number:06d}-{hashlib.sha256(data).hexdigest()[:_DIGITS_IN_NAME]}.h5"
    write_durably(folder / name, data)
    return Index(
        name=name,
        paths=[row.path for row in rows],
        reasons=[row.reason for row in rows],
        sha256=sha256,
        stat=stat,
        code_row=code_row,
    )


def shard_names(folder: Path) -> list[str]:
    """List the committed shards in order; files being written are not among them."""
    return sorted(path.name for path in folder.glob("[0-9]*-*.h5"))


def read_index(path: Path, *, space_id: str) -> Index:
    """
    Read everything of a shard but the codes.

    Raises
    ------
    StoreDamaged
        If the file cannot be read or is of another space.
    """
    try:
        with open_hdf5(path) as file:
            found = file.attrs["space_id"]
            index = Index(
                name=path.name,
                paths=read_strings(file, "paths"),
                reasons=[reason.decode() for reason in read_strings(file, "reasons")],
                sha256=file["sha256"][...],
                stat=file["stat"][...],
                code_row=file["code_row"][...],
            )
    except (OSError, KeyError, RuntimeError, HostileFile, ValueError) as error:
        raise damaged(path, error) from error
    if found != space_id:
        raise damaged(path, f"it belongs to space {str(found)[:12]}, not {space_id[:12]}")
    return index


def read_codes(
    path: Path,
    layer: str,
    rows: NDArray[np.int32],
    *,
    views: bool = False,
    trusted: bool = False,
) -> NDArray[np.float32]:
    """
    Read some rows of one layer of a shard.

    Parameters
    ----------
    path : Path
        The shard.
    layer : str
        Which codes.
    rows : int32 array of shape (n,)
        Values of ``code_row``; in any order.
    views : bool, default False
        Whether to read the codes of all views, of which the shard must have several.
    trusted : bool, default False
        Whether this process has compared the shard's bytes with its name before; the checksums of
        the chunks are always compared.

    Returns
    -------
    float32 array of shape (n, ...)
        With `views` of shape (n, views, ...).

    Raises
    ------
    StoreDamaged
        If the shard is missing or its bytes are not those that were written.
    """
    try:
        # The checksums of the chunks do not tell a shard from another that took its name, and
        # fletcher32 takes 0x0000 for 0xFFFF.
        if not trusted and not name_is_true(path):
            raise OSError("its SHA-256 is not the one in its name")
        with open_hdf5(path) as file:
            # A shard is at most some 16 MB: one sequential read beats many selected ones.
            codes: NDArray[np.floating] = file["codes"][layer][...]
            if views:
                codes = joined(codes, file[VIEWS][layer][...])
        return widened(codes[rows])
    except (OSError, KeyError, RuntimeError, HostileFile, IndexError, ValueError) as error:
        raise damaged(path, error) from error


def joined(first: NDArray[F], others: NDArray[F]) -> NDArray[F]:
    """Join the codes of first views (n, ...) and of the others (n, views - 1, ...)."""
    return np.concatenate([first[:, None], others], axis=1)


def name_is_true(path: Path) -> bool:
    """Whether a shard's bytes still have the SHA-256 that its name ends in."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return path.stem.partition("-")[2] == digest[:_DIGITS_IN_NAME]


def damaged(path: Path, error: object) -> StoreError:
    """Say which shard is damaged and what to do about it."""
    said = " ".join(str(error).split())
    if isinstance(error, PermissionError):
        return StoreError(f"cannot read shard {path} (permission denied); make it readable")
    if isinstance(error, FileNotFoundError):
        return StoreDamaged(
            f"shard {path.name} of {path.parent.parent} is missing; run the same extract command "
            "again: only its rows are computed anew"
        )
    return StoreDamaged(
        f"shard {path} is damaged ({said}); delete this file and run the same extract command "
        "again: only its rows are computed anew"
    )
