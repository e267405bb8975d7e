"""The table: for every scanned image its label, split and place in the shards."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from pipeline.common.choices import SPLITS, Split
from pipeline.common.errors import StoreDamaged
from pipeline.common.files import canonical_json, csv_text, is_absent, write_durably
from pipeline.common.foreign import Foreign, open_datasets
from pipeline.common.hdf5 import Datasets, sealed_bytes
from pipeline.common.seal import BrokenSeal
from pipeline.store._columns import read_strings, write_array, write_strings
from pipeline.store._header import broken, unreadable

FILE = "table.h5"
REJECTED = "rejected.csv"


class Status(IntEnum):
    """What became of an image."""

    ok = 0
    rejected = 1
    pending = 2


@dataclass(frozen=True, kw_only=True)
class Table:
    """
    One row for each scanned image, in the order of the source.

    Attributes
    ----------
    paths : list of bytes
        Relative to the source.
    classes : tuple of str
        Class names; `labels` points into them.
    labels : int32 array of shape (n,)
        -1 for an image without a label.
    splits : uint8 array of shape (n,)
        0 none, 1 train, 2 val, 3 test.
    sha256 : uint8 array of shape (n, 32)
        Zeros where the image could not be read.
    stat : int64 array of shape (n, 3)
        Size, modification and change time (ns) when read; zeros where they prove nothing.
    status : uint8 array of shape (n,)
        Values of `Status`.
    shards : tuple of str
        Names of the shards that `shard` points into.
    shard, row : int32 array of shape (n,)
        Where the codes are; -1 where there are none.
    reasons : mapping of int to str
        Why rows are rejected or pending.
    source : mapping
        Where the images came from: location, layout.
    groups : list of bytes or None
        Of each row its group, as the source has it; None where it has none.
    unfinished : bool
        Whether an extraction began that has not come to its end: rows that it had not read yet
        are as the one before left them.
    """

    paths: list[bytes]
    classes: tuple[str, ...]
    labels: NDArray[np.int32]
    splits: NDArray[np.uint8]
    sha256: NDArray[np.uint8]
    stat: NDArray[np.int64]
    status: NDArray[np.uint8]
    shards: tuple[str, ...]
    shard: NDArray[np.int32]
    row: NDArray[np.int32]
    reasons: Mapping[int, str] = field(default_factory=dict)
    source: Mapping[str, Any] = field(default_factory=dict)
    groups: list[bytes] | None = None
    unfinished: bool = False

    @property
    def complete(self) -> bool:
        """Whether every image has its codes or the reason why not."""
        return not (self.unfinished or self.count(Status.pending))

    def __len__(self) -> int:
        return len(self.paths)

    def count(self, status: Status) -> int:
        """Count the rows of this status."""
        return int(np.count_nonzero(self.status == status))

    def split_counts(self) -> dict[str, int]:
        """Count the usable images of each split."""
        return {split.value: len(self._usable(split)) for split in SPLITS}

    def class_counts(self) -> dict[str, int]:
        """Count the usable images of each class."""
        labels = self.labels[(self.status == Status.ok) & (self.labels >= 0)]
        counts = np.bincount(labels, minlength=len(self.classes))
        return {name: int(count) for name, count in zip(self.classes, counts, strict=True)}

    def reason_counts(self) -> dict[str, int]:
        """Count why images are rejected or pending, the most frequent reason first."""
        return dict(Counter(self.reasons.values()).most_common())

    def classes_without_training(self) -> list[str]:
        """Name the classes that have no usable training image."""
        present = set(self.labels[self._usable(Split.train)].tolist())
        return [name for label, name in enumerate(self.classes) if label not in present]

    def contradictions(self) -> int:
        """Count the images that stand under two labels or more."""
        labels: dict[bytes, int] = {}
        twice = set()
        for row in np.flatnonzero((self.status == Status.ok) & (self.labels >= 0)):
            key, label = self.sha256[row].tobytes(), int(self.labels[row])
            if labels.setdefault(key, label) != label:
                twice.add(key)
        return len(twice)

    def leaks(self) -> int:
        """Count the images of val and test that are byte for byte in train as well."""
        train = {self.sha256[row].tobytes() for row in self._usable(Split.train)}
        held_out = (*self._usable(Split.val), *self._usable(Split.test))
        return sum(self.sha256[row].tobytes() in train for row in held_out)

    def grouped_leaks(self) -> int:
        """Count the images of val and test that are of a group with images in train."""
        if self.groups is None:
            return 0
        train = {self.groups[row] for row in self._usable(Split.train)} - {b""}
        held_out = (*self._usable(Split.val), *self._usable(Split.test))
        return sum(self.groups[row] in train for row in held_out)

    def unlabelled_counts(self) -> dict[str, int]:
        """Count the usable images of each split that have no label, where there are any."""
        counts = {
            split.value: int((self.labels[self._usable(split)] < 0).sum()) for split in SPLITS
        }
        return {name: count for name, count in counts.items() if count}

    def _usable(self, split: Split) -> NDArray[np.int64]:
        return np.flatnonzero((self.status == Status.ok) & (self.splits == SPLITS[split]))


_UNFINISHED, _GROUPS = "unfinished", "groups"
_ARRAYS = ("labels", "splits", "sha256", "stat", "status", "shard", "row")


def write_table(folder: Path, table: Table) -> None:
    """Replace the table of a store, and the list of rejected images beside it."""

    def fill(file: h5py.File) -> None:
        write_strings(file, "paths", table.paths)
        write_strings(file, "classes", [_encode(name) for name in table.classes])
        write_strings(file, "shards", [name.encode() for name in table.shards])
        for name in _ARRAYS:
            write_array(file, name, getattr(table, name))
        reasons = file.create_group("reasons")
        write_array(reasons, "row", np.fromiter(table.reasons, np.int64, len(table.reasons)))
        write_strings(reasons, "text", [text.encode() for text in table.reasons.values()])
        write_strings(file, "source", [canonical_json(dict(table.source))])
        if table.groups is not None:
            write_strings(file, _GROUPS, table.groups)
        if table.unfinished:
            write_array(file, _UNFINISHED, np.ones(1, np.uint8))

    write_durably(folder / FILE, sealed_bytes(fill))
    reasons = [
        (os.fsdecode(table.paths[row]), reason)
        for row, reason in sorted(table.reasons.items())
        if table.status[row] == Status.rejected
    ]
    text = csv_text([("path", "reason"), *reasons])
    write_durably(folder / REJECTED, text.encode("utf-8", "surrogateescape"))


def read_table(folder: Path) -> Table | None:
    """
    Read the table of a store.

    Returns
    -------
    Table or None
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
        with open_datasets(path) as datasets:
            table = _from_datasets(datasets)
        _check(table)
        return table
    except BrokenSeal as error:
        raise broken(path, error, mends="says how it is made again") from error
    except OSError as error:
        if is_absent(path, error):
            return None
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


def _from_datasets(datasets: Datasets) -> Table:
    rows = datasets.read("reasons/row").tolist()
    texts = read_strings(datasets, "reasons/text")
    return Table(
        paths=read_strings(datasets, "paths"),
        classes=tuple(_decode(name) for name in read_strings(datasets, "classes")),
        shards=tuple(name.decode() for name in read_strings(datasets, "shards")),
        reasons={row: text.decode() for row, text in zip(rows, texts, strict=True)},
        source=json.loads(read_strings(datasets, "source")[0]),
        groups=read_strings(datasets, _GROUPS) if f"{_GROUPS}/ends" in datasets.entries else None,
        unfinished=_UNFINISHED in datasets.entries,
        **{name: datasets.read(name) for name in _ARRAYS},
    )


def _check(table: Table) -> None:
    """Refuse a table whose columns do not fit together."""
    n = len(table)
    for name in _ARRAYS:
        if len(getattr(table, name)) != n:
            raise ValueError(f"column '{name}' has {len(getattr(table, name))} rows of {n}")
    if table.groups is not None and len(table.groups) != n:
        raise ValueError(f"{len(table.groups)} groups of {n} rows")
    shapes = {"sha256": (n, 32), "stat": (n, 3)}
    for name in _ARRAYS:
        column = getattr(table, name)
        if column.shape != shapes.get(name, (n,)) or column.dtype.kind not in "iu":
            raise ValueError(f"column '{name}' is {column.dtype} of shape {column.shape}")
    if n and (table.splits.max() > max(SPLITS.values()) or table.status.max() > max(Status)):
        raise ValueError("splits or states that there are not")
    if any(not 0 <= row < n for row in table.reasons):
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
