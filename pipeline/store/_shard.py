"""A shard: an immutable HDF5 file with the rows of about a minute's work."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import h5py
import numpy as np
from numpy.typing import NDArray

from pipeline.common.errors import StoreDamaged, StoreError
from pipeline.common.files import canonical_json, is_absent, read_bytes, write_durably
from pipeline.common.hdf5 import HostileFile, OpenDatasets, hdf5_bytes, open_bytes, open_hdf5
from pipeline.store._columns import read_strings, write_array, write_rows, write_strings
from pipeline.store._dtype import widened
from pipeline.store._header import DIGITS_IN_NAME, Codes, Header, repair_command, unreadable

F = TypeVar("F", bound=np.floating)

# What a kill can cost at the most, and what a shard may weigh: while it is written it is in memory
# twice, as rows and as the bytes of the file. Numbers of 16 bits count as the 32 that a reader has
# of them: what reading a shard takes in memory is the same for both.
SECONDS = 60.0
BYTES = 16 << 20

_PROBE_BYTES = 1 << 20  # of the probe's codes in a shard, at the most
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


class Meaning(NamedTuple):
    """
    What all shards of a store have in common.

    Attributes
    ----------
    space_id : str
    dtype : str
        How wide the codes are; empty for a shard that has none.
    """

    space_id: str
    dtype: str

    @classmethod
    def of(cls, header: Header) -> Meaning:
        """Return what the shards of a store mean."""
        return cls(header.space.space_id, header.dtype.value)

    def fits(self, other: Meaning) -> bool:
        """Whether both may be of one store."""
        widths = {self.dtype, other.dtype} - {""}
        return self.space_id == other.space_id and len(widths) <= 1

    def __str__(self) -> str:
        return f"space {self.space_id[:12]}" + (f" in {self.dtype}" if self.dtype else "")


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
    meaning : Meaning
    """

    name: str
    paths: list[bytes]
    reasons: list[str]
    sha256: NDArray[np.uint8]
    stat: NDArray[np.int64]
    code_row: NDArray[np.int32]
    meaning: Meaning

    def places(self) -> dict[int, bytes]:
        """Return the content hash of each row of codes."""
        return {
            int(row): digest.tobytes()
            for row, digest in zip(self.code_row, self.sha256, strict=True)
            if row >= 0
        }


class RowOrigin(NamedTuple):
    """
    What a shard says of its store.

    Attributes
    ----------
    header : Header
    images : int
        How many probe images there are.
    probe : dict of int to mapping of str to float32 array
        For each probe image that the shard carries, its codes in each layer.
    """

    header: Header
    images: int
    probe: dict[int, dict[str, NDArray[np.float32]]]


class Buffer:
    """
    Rows that wait in memory to become a shard.

    A shard ends where a batch of the network does: what is computed after a kill then has the
    places in its batches that it would have had without, and TensorFlow's last bits depend on
    these.

    Attributes
    ----------
    rows : list of Row
        All of them.
    whole : int
        How many of them, from the first, end with a batch.
    """

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.whole = 0
        self._bytes = self._whole_bytes = self._batch_bytes = 0
        self._since = 0.0

    def add(self, row: Row) -> None:
        """Take one more row."""
        if not self.rows:
            self._since = time.monotonic()
        self.rows.append(row)
        if row.codes is not None:
            self._bytes += sum(_WIDTH * codes.size for codes in row.codes.values())

    def end_batch(self) -> None:
        """Note that a batch ends with the last row."""
        self.whole = len(self.rows)
        self._batch_bytes = self._bytes - self._whole_bytes
        self._whole_bytes = self._bytes

    @property
    def full(self) -> bool:
        """Whether it is time to write the rows of whole batches."""
        late = time.monotonic() - self._since >= SECONDS
        return bool(self.whole) and (late or self._bytes + self._batch_bytes > BYTES)

    def take(self) -> list[Row]:
        """Take out the rows of whole batches."""
        taken, self.rows = self.rows[: self.whole], self.rows[self.whole :]
        self.whole = 0
        self._bytes -= self._whole_bytes
        self._whole_bytes = 0
        self._since = time.monotonic()
        return taken


def write_shard(
    folder: Path, number: int, rows: list[Row], *, header: Header, probe: Codes
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
    header : Header
        Of the store. With several views the codes of a row have as many as their first axis.
    probe : mapping of str to float32 array
        The codes of the probe images; see `carried`.

    Returns
    -------
    Index
        Of the new shard.

    Raises
    ------
    OSError
        If the file cannot be written; nothing is left of it then.
    """
    views = header.space.views
    good = [row.codes for row in rows if row.codes is not None]
    code_row = np.full(len(rows), -1, np.int32)
    code_row[[row.codes is not None for row in rows]] = np.arange(len(good))
    sha256 = np.frombuffer(b"".join(row.sha256 for row in rows), np.uint8).reshape(-1, 32)
    stat = np.array([row.stat for row in rows], np.int64)

    def fill(file: h5py.File) -> None:
        file.attrs["space_id"] = header.space.space_id
        _write_origin(file, header, probe, number)
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
    name = f"{number:06d}-{hashlib.sha256(data).hexdigest()[:DIGITS_IN_NAME]}.h5"
    write_durably(folder / name, data)
    return Index(
        name=name,
        paths=[row.path for row in rows],
        reasons=[row.reason for row in rows],
        sha256=sha256,
        stat=stat,
        code_row=code_row,
        meaning=Meaning(header.space.space_id, header.dtype.value if good else ""),
    )


def _write_origin(file: h5py.File, header: Header, probe: Codes, number: int) -> None:
    """Write what store.json and probe.h5 say, so that these can be made again from shards."""
    text = np.frombuffer(canonical_json(header.to_json()), np.uint8)
    write_array(file, "header", text)
    group = file.create_group("probe")
    places = carried(probe, number)
    group.attrs["images"] = len(next(iter(probe.values()))) if probe else 0
    write_array(group, "places", np.array(places, np.int32))
    codes = group.create_group("codes")
    for layer, block in probe.items():
        write_array(codes, layer, block[places])


def carried(probe: Codes, number: int) -> list[int]:
    """
    Choose the probe images whose codes a shard carries.

    All of them, as long as that is a small part of a shard; of large maps as many as are, by
    turns, so that a few shards in a row have all.

    Parameters
    ----------
    probe : mapping of str to array of shape (images, ...)
    number : int
        Of the shard.

    Returns
    -------
    list of int
    """
    images = len(next(iter(probe.values()))) if probe else 0
    if not images:
        return []
    one = sum(block.nbytes for block in probe.values()) // images
    count = min(images, max(1, _PROBE_BYTES // max(1, one)))
    return sorted((number * count + place) % images for place in range(count))


def read_origin(path: Path) -> RowOrigin | None:
    """
    Read what a sound shard says of its store.

    Returns
    -------
    RowOrigin or None
        None for a shard from before shards carried this.

    Raises
    ------
    StoreDamaged
        If the shard is not what was written.
    """
    with _opened(path) as file:
        if "header" not in file:
            return None
        header = Header.from_json(json.loads(file["header"][...].tobytes()))
        group = file["probe"]
        blocks = {layer: group["codes"][layer][...] for layer in group["codes"]}
        places = group["places"][...].tolist()
        codes = {
            place: {layer: block[i] for layer, block in blocks.items()}
            for i, place in enumerate(places)
        }
        return RowOrigin(header, int(group.attrs["images"]), codes)


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
    if not _named_after(path, data):
        raise damaged(path, "its SHA-256 is not the one in its name")
    _compared.add(identity)
    return open_bytes(data)


@contextmanager
def _opened(path: Path, *, again: bool = False) -> Iterator[h5py.File]:
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


def read_index(path: Path, *, header: Header | None, again: bool = False) -> Index:
    """
    Read everything of a shard but the codes.

    Parameters
    ----------
    path : Path
    header : Header or None
        Of the store that it must belong to; None for any.
    again : bool, default False
        Whether to compare its bytes also if this process has done so before.

    Raises
    ------
    StoreDamaged
        If the file cannot be read or belongs to another store.
    StoreError
        If it cannot be read this time.
    """
    with _opened(path, again=again) as file:
        datasets = OpenDatasets(file)
        index = Index(
            name=path.name,
            paths=read_strings(datasets, "paths"),
            reasons=[reason.decode() for reason in read_strings(datasets, "reasons")],
            sha256=file["sha256"][...],
            stat=file["stat"][...],
            code_row=file["code_row"][...],
            meaning=_meaning(file),
        )
        good = int((index.code_row >= 0).sum())
        for name in ("codes", VIEWS):
            for layer, codes in file[name].items() if name in file else ():
                if len(codes) != good:
                    raise ValueError(f"layer {layer} has {len(codes)} rows of {good}")
    _check_meaning(path, index.meaning, header)
    return index


def _meaning(file: h5py.File) -> Meaning:
    widths = {codes.dtype.name for codes in file["codes"].values()}
    return Meaning(str(file.attrs["space_id"]), ", ".join(sorted(widths)))


def _check_meaning(path: Path, found: Meaning, header: Header | None) -> None:
    """Refuse a shard of other codes than store.json says: nobody knows which of them is right."""
    if header is None or found.fits(expected := Meaning.of(header)):
        return
    folder = path.parent.parent
    raise StoreDamaged(
        f"expected codes of {expected} in {path}, as store.json says, found {found}: one of them "
        f"is of another store; {repair_command(folder)} sets aside the one that does not belong "
        "to the others"
    )


def read_codes(
    path: Path,
    layers: Sequence[str],
    rows: NDArray[np.int32],
    *,
    header: Header,
    views: bool = False,
) -> dict[str, NDArray[np.float32]]:
    """
    Read some rows of some layers of a shard, which is read once for all of them.

    Parameters
    ----------
    path : Path
        The shard.
    layers : sequence of str
        Which codes.
    rows : int32 array of shape (n,)
        Values of ``code_row``; in any order.
    header : Header
        Of the store that it must belong to.
    views : bool, default False
        Whether to read the codes of all views, of which the shard must have several.

    Returns
    -------
    dict of str to float32 array of shape (n, ...)
        For each layer; with `views` of shape (n, views, ...).

    Raises
    ------
    StoreDamaged
        If the shard is missing, not what was written or of another space.
    StoreError
        If it cannot be read this time.
    """
    with _opened(path) as file:
        _check_meaning(path, _meaning(file), header)
        return {layer: _codes(file, layer, rows, views=views) for layer in layers}


def _codes(
    file: h5py.File, layer: str, rows: NDArray[np.int32], *, views: bool
) -> NDArray[np.float32]:
    # A shard is at most some 16 MB: one sequential read beats many selected ones.
    codes: NDArray[np.floating] = file["codes"][layer][...]
    if views:
        codes = joined(codes, file[VIEWS][layer][...])
    return widened(codes[rows])


def joined(first: NDArray[F], others: NDArray[F]) -> NDArray[F]:
    """Join the codes of first views (n, ...) and of the others (n, views - 1, ...)."""
    return np.concatenate([first[:, None], others], axis=1)


def _named_after(path: Path, data: bytes) -> bool:
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
