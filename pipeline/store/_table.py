"""The table on disk: its short columns are read at once, the long ones where they are needed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar

import h5py
import numpy as np
from numpy.typing import NDArray

from pipeline.common.choices import SPLITS
from pipeline.common.errors import StoreDamaged
from pipeline.common.files import canonical_json, csv_text, is_absent, write_durably
from pipeline.common.foreign import Foreign, open_datasets
from pipeline.common.hdf5 import Datasets, SealedDatasets
from pipeline.common.names import blocks
from pipeline.common.seal import BrokenSeal
from pipeline.store._careful import write_sealed
from pipeline.store._columns import read_strings, write_array, write_pieces, write_strings
from pipeline.store._header import broken, unreadable
from pipeline.store._reasons import Reasons
from pipeline.store._rows import Status, Table

FILE = "table.h5"
REJECTED = "rejected.csv"


_ARRAYS = ("labels", "splits", "sha256", "stat", "status", "shard", "row")
LONG = ("paths", "sha256", "stat", "groups")
"""Columns that are read only where they are needed."""


class StoredTable(Table):
    """A table whose long columns are read from its file when somebody asks for them."""

    location: ClassVar[Path]
    datasets: ClassVar[Datasets]

    @classmethod
    def of(cls, path: Path, datasets: Datasets, **columns: Any) -> StoredTable:
        """
        Keep a file open for what is not given of its columns.

        Parameters
        ----------
        path : Path
        datasets : Datasets
            Of this file.
        **columns
            Those of `Table` that are not `LONG`.
        """
        none: dict[str, Any] = dict.fromkeys(LONG)
        table = cls(**columns, **none)
        for name in LONG:
            del table.__dict__[name]  # then the properties below are asked
        table.__dict__["location"], table.__dict__["datasets"] = path, datasets
        return table

    @cached_property
    def paths(self) -> Sequence[bytes]:
        """Relative to the source."""
        column: Sequence[bytes] = self._column("paths")
        return column

    @cached_property
    def sha256(self) -> NDArray[np.uint8]:
        """Hashes of the contents."""
        column: NDArray[np.uint8] = self._column("sha256")
        return column

    @cached_property
    def stat(self) -> NDArray[np.int64]:
        """Sizes and times."""
        column: NDArray[np.int64] = self._column("stat")
        return column

    @cached_property
    def groups(self) -> Sequence[bytes] | None:
        """Of each row its group."""
        column: Sequence[bytes] | None = self._column("groups")
        return column

    def pieces(self, *names: str) -> Iterator[tuple[Any, ...]]:
        """Read long columns a piece after the other, and keep nothing of them."""
        for piece in blocks(len(self)):
            yield tuple(
                self.__dict__[name][piece] if name in self.__dict__ else self._read(name, piece)
                for name in names
            )

    def _column(self, name: str) -> Any:
        return self._read(name, slice(0, len(self)))

    def _read(self, name: str, piece: slice) -> Any:
        with _explained(self.location):
            if name in _ARRAYS:
                return self.datasets.read(name, piece.start, piece.stop)
            if f"{name}/ends" not in self.datasets.entries:
                return None
            return read_strings(self.datasets, name, piece.start, piece.stop)


_UNFINISHED = "unfinished"


def write_table(folder: Path, table: Table) -> None:
    """Replace the table of a store, and the list of rejected images beside it."""

    def fill(file: h5py.File, check: Callable[[], None]) -> None:
        write_strings(file, "paths", table.paths)
        write_strings(file, "classes", [_encode(name) for name in table.classes])
        write_strings(file, "shards", [name.encode() for name in table.shards])
        for name in _ARRAYS:
            write_array(file, name, getattr(table, name))
            check()
        reasons, group = Reasons.of(table.reasons), file.create_group("reasons")
        write_array(group, "row", reasons.rows)
        write_pieces(group, "text", len(reasons), reasons.encoded)
        write_strings(file, "source", [canonical_json(dict(table.source))])
        if table.groups is not None:
            write_strings(file, "groups", table.groups)
        if table.unfinished:
            write_array(file, _UNFINISHED, np.ones(1, np.uint8))

    write_sealed(folder / FILE, fill, lazily=False)
    rejected = np.flatnonzero(table.status == Status.rejected)
    reasons = (
        (os.fsdecode(table.paths[row]), table.reasons[row])
        for row in rejected.tolist()
        if row in table.reasons
    )
    text = csv_text(chain([("path", "reason")], reasons))
    write_durably(folder / REJECTED, text.encode("utf-8", "surrogateescape"))


def read_table(folder: Path) -> StoredTable | None:
    """
    Read the table of a store.

    Returns
    -------
    StoredTable or None
        None when no extraction into this store has come that far.

    Raises
    ------
    StoreDamaged
        If the file is there and not what was written.
    StoreError
        If it cannot be read this time.
    """
    path = folder / FILE
    try:
        with _explained(path):
            return _from_datasets(path, open_datasets(path, keep=True))
    except FileNotFoundError:
        return None


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Say in one line what is wrong with a table; let that there is none pass."""
    try:
        yield
    except BrokenSeal as error:
        raise broken(path, error, mends="says how it is made again") from error
    except OSError as error:
        if is_absent(path, error):
            raise
        if error.errno is not None:
            raise unreadable(path, error) from error
        raise broken(path, error, mends="says how it is made again") from error
    except (KeyError, RuntimeError, ValueError, TypeError, IndexError, RecursionError) as error:
        raise broken(path, error, mends="says how it is made again") from error


def lost_table(folder: Path) -> StoreDamaged | None:
    """Say that a table is missing that was there: the list of rejected images comes after it."""
    if os.path.lexists(folder / FILE) or not (folder / REJECTED).exists():
        return None
    return broken(folder / FILE, "it is missing", mends="says how it is made again")


def read_source(path: Path) -> dict[str, Any]:
    """Read of a damaged table where its images came from, to be shown to a person; or nothing."""
    try:
        with Foreign(path) as datasets:
            source = json.loads(read_strings(datasets, "source")[0])
        return source if isinstance(source, dict) else {}
    except (OSError, KeyError, RuntimeError, ValueError, TypeError, IndexError, RecursionError):
        return {}


def _from_datasets(path: Path, datasets: SealedDatasets | Foreign) -> StoredTable:
    """Read the short columns, and the long ones too where the file may not stay."""
    try:
        _check_shapes(datasets)
        rows = datasets.read("reasons/row")
        texts = read_strings(datasets, "reasons/text")
        if len(rows) != len(texts):
            raise ValueError(f"{len(texts)} reasons of {len(rows)} rows")
        table = StoredTable.of(
            path,
            datasets,
            classes=tuple(_decode(name) for name in read_strings(datasets, "classes")),
            shards=tuple(name.decode() for name in read_strings(datasets, "shards")),
            reasons=Reasons.listed(rows.astype(np.int64), (text.decode() for text in texts)),
            source=json.loads(read_strings(datasets, "source")[0]),
            unfinished=_UNFINISHED in datasets.entries,
            **{name: datasets.read(name) for name in _ARRAYS if name not in LONG},
        )
        _check(table)
        if isinstance(datasets, SealedDatasets) and datasets.stays:
            return table
        for name in LONG:
            getattr(table, name)
    except BaseException:
        datasets.close()
        raise
    datasets.close()
    return table


def _check_shapes(datasets: Datasets) -> None:
    """Refuse a table whose columns do not fit together."""
    entries = datasets.entries
    [n] = entries["paths/ends"].shape
    for name in _ARRAYS:
        if entries[name].shape[0] != n:
            raise ValueError(f"column '{name}' has {entries[name].shape[0]} rows of {n}")
    if "groups/ends" in entries and entries["groups/ends"].shape != (n,):
        raise ValueError(f"{entries['groups/ends'].shape[0]} groups of {n} rows")
    shapes = {"sha256": (n, 32), "stat": (n, 3)}
    for name in _ARRAYS:
        found = entries[name]
        if found.shape != shapes.get(name, (n,)) or found.kind not in "iu":
            raise ValueError(f"column '{name}' is {np.dtype(found.dtype)} of shape {found.shape}")


def _check(table: Table) -> None:
    """Refuse numbers that lead nowhere."""
    n = len(table)
    if n and (table.splits.max() > max(SPLITS.values()) or table.status.max() > max(Status)):
        raise ValueError("splits or states that there are not")
    rows = Reasons.of(table.reasons).rows
    if len(rows) and not (rows.min() >= 0 and rows.max() < n):
        raise ValueError("reasons of rows that there are not")
    for name, bound in (("labels", len(table.classes)), ("shard", len(table.shards))):
        column = getattr(table, name)
        if n and not (column.min() >= -1 and column.max() < bound):
            raise ValueError(f"column '{name}' points outside")


def _encode(name: str) -> bytes:
    """Class names come from folder names, which may be any bytes."""
    return name.encode("utf-8", "surrogateescape")


def _decode(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")
