"""A shard: an immutable HDF5 file with the rows of about a minute's work."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import h5py
import numpy as np
from numpy.typing import NDArray

from pipeline.common.errors import StoreDamaged
from pipeline.common.files import write_durably
from pipeline.common.hdf5 import OpenDatasets, hdf5_bytes
from pipeline.common.names import Names
from pipeline.store._buffer import Row
from pipeline.store._columns import read_strings, write_array, write_rows, write_strings
from pipeline.store._dtype import widened
from pipeline.store._header import DIGITS_IN_NAME, Codes, Header, repair_command
from pipeline.store._origin import write_origin
from pipeline.store._shard_file import open_shard

F = TypeVar("F", bound=np.floating)


VIEWS = "views"
"""The group beside ``codes`` with the codes of all views but the first."""


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
    paths : Names
    reasons : mapping of int to str
        Why rows were rejected.
    sha256 : uint8 array of shape (n, 32)
    stat : int64 array of shape (n, 3)
    code_row : int32 array of shape (n,)
        Row in each ``codes/<layer>``; -1 for a rejected image.
    meaning : Meaning
    """

    name: str
    paths: Names
    reasons: Mapping[int, str]
    sha256: NDArray[np.uint8]
    stat: NDArray[np.int64]
    code_row: NDArray[np.int32]
    meaning: Meaning

    def holds(self, rows: NDArray[np.int32], sha256: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Say of some rows of codes whether they are of these contents, of shape (m, 32)."""
        good = np.flatnonzero(self.code_row >= 0)
        at = np.full(max(int(self.code_row.max(initial=-1)), int(rows.max(initial=-1))) + 2, -1)
        at[self.code_row[good]] = good
        place = at[np.maximum(rows, -1)]  # the last one is of no row
        same: NDArray[np.bool_] = np.all(self.sha256[place] == sha256, axis=1)
        return (place >= 0) & same


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
        write_origin(file, header, probe, number)
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
        paths=Names.of(row.path for row in rows),
        reasons={i: row.reason for i, row in enumerate(rows) if row.codes is None},
        sha256=sha256,
        stat=stat,
        code_row=code_row,
        meaning=Meaning(header.space.space_id, header.dtype.value if good else ""),
    )


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
    with open_shard(path, again=again) as file:
        datasets, code_row = OpenDatasets(file), file["code_row"][...]
        reasons = read_strings(datasets, "reasons")
        index = Index(
            name=path.name,
            paths=read_strings(datasets, "paths"),
            reasons={row: reasons[row].decode() for row in np.flatnonzero(code_row < 0).tolist()},
            sha256=file["sha256"][...],
            stat=file["stat"][...],
            code_row=code_row,
            meaning=_meaning(file),
        )
        good = int((index.code_row >= 0).sum())
        for name in ("codes", VIEWS):
            for layer, codes in file[name].items() if name in file else ():
                if len(codes) != good:
                    raise ValueError(f"layer {layer} has {len(codes)} rows of {good}")
    _check_meaning(path, index.meaning, header)
    return index


class Seen(NamedTuple):
    """
    Which contents files had when they were read.

    Attributes
    ----------
    paths : Names
    stat : int64 array of shape (m, 3)
        Size, modification and change time in nanoseconds; zeros where they prove nothing.
    sha256 : uint8 array of shape (m, 32)
    """

    paths: Names
    stat: NDArray[np.int64]
    sha256: NDArray[np.uint8]


def seen_in(path: Path) -> Seen:
    """
    Read of a shard which contents files had.

    Raises
    ------
    StoreDamaged, StoreError
        As `read_index`.
    """
    with open_shard(path) as file:
        paths = read_strings(OpenDatasets(file), "paths")
        return Seen(paths, file["stat"][...], file["sha256"][...])


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
    with open_shard(path) as file:
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
