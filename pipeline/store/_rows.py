"""The images of a store: for each its label, split and place in the shards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.common.choices import SPLITS, Split
from pipeline.common.mapped import let_go
from pipeline.common.names import among, blocks, one_by_one
from pipeline.store._reasons import Reasons


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
    paths : sequence of bytes
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
    groups : sequence of bytes or None
        Of each row its group, as the source has it; None where it has none.
    unfinished : bool
        Whether an extraction began that has not come to its end: rows that it had not read yet
        are as the one before left them.
    """

    paths: Sequence[bytes]
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
    groups: Sequence[bytes] | None = None
    unfinished: bool = False

    @property
    def complete(self) -> bool:
        """Whether every image has its codes or the reason why not."""
        return not (self.unfinished or self.count(Status.pending))

    def __len__(self) -> int:
        return len(self.labels)

    def count(self, status: Status) -> int:
        """Count the rows of this status."""
        return int(np.count_nonzero(self.status == status))

    def split_counts(self) -> dict[str, int]:
        """Count the usable images of each split."""
        return {split.value: int(np.count_nonzero(self._usable(split))) for split in SPLITS}

    def class_counts(self) -> dict[str, int]:
        """Count the usable images of each class."""
        labels = self.labels[(self.status == Status.ok) & (self.labels >= 0)]
        counts = np.bincount(labels, minlength=len(self.classes))
        return {name: int(count) for name, count in zip(self.classes, counts, strict=True)}

    def reason_counts(self) -> dict[str, int]:
        """Count why images are rejected or pending, the most frequent reason first."""
        return Reasons.of(self.reasons).counts()

    def classes_without_training(self) -> list[str]:
        """Name the classes that have no usable training image."""
        present = set(np.unique(self.labels[self._usable(Split.train)]).tolist())
        return [name for label, name in enumerate(self.classes) if label not in present]

    def contradictions(self) -> int:
        """Count the images that stand under two labels or more."""
        rows = np.flatnonzero((self.status == Status.ok) & (self.labels >= 0)).astype(np.uint32)
        keys = first_bytes(self.sha256, rows)
        order = np.argsort(keys, kind="stable").astype(np.uint32)
        doubtful = [keys[:0]]
        for piece in blocks(len(rows) - 1):
            here, there = order[piece], order[piece.start + 1 : piece.stop + 1]
            differ = self.labels[rows[here]] != self.labels[rows[there]]
            doubtful.append(keys[here[differ & (keys[here] == keys[there])]])
        del order
        labels: dict[bytes, int] = {}
        twice = set()
        for row in one_by_one(rows[among(keys, np.unique(np.concatenate(doubtful)))]):
            key, label = self.sha256[row].tobytes(), int(self.labels[row])
            if labels.setdefault(key, label) != label:
                twice.add(key)
        return len(twice)

    def leaks(self) -> int:
        """Count the images of val and test that are byte for byte in train as well."""
        train, held_out = self._sides()
        known = first_bytes(self.sha256, train)
        known.sort()
        others = first_bytes(self.sha256, held_out)
        shared = among(others, known)
        if not shared.any():
            return 0
        others, held_out = np.unique(others[shared]), held_out[shared]
        train = train[among(first_bytes(self.sha256, train), others)]
        contents = {self.sha256[row].tobytes() for row in one_by_one(train)}
        return sum(self.sha256[row].tobytes() in contents for row in one_by_one(held_out))

    def grouped_leaks(self) -> int:
        """Count the images of val and test that are of a group with images in train."""
        if self.groups is None:
            return 0
        groups = self.groups
        train, held_out = self._sides()
        known = {groups[row] for row in one_by_one(train)} - {b""}
        return sum(groups[row] in known for row in one_by_one(held_out))

    def unlabelled_counts(self) -> dict[str, int]:
        """Count the usable images of each split that have no label, where there are any."""
        none = self.labels < 0
        counts = {split.value: int((none & self._usable(split)).sum()) for split in SPLITS}
        return {name: count for name, count in counts.items() if count}

    def _usable(self, split: Split) -> NDArray[np.bool_]:
        usable: NDArray[np.bool_] = (self.status == Status.ok) & (self.splits == SPLITS[split])
        return usable

    def _sides(self) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
        """Return the usable rows of train, and those of val and of test."""
        held_out = self._usable(Split.val) | self._usable(Split.test)
        train = np.flatnonzero(self._usable(Split.train)).astype(np.uint32)
        return train, np.flatnonzero(held_out).astype(np.uint32)


def first_bytes(
    sha256: NDArray[np.uint8], rows: NDArray[np.integer] | None = None
) -> NDArray[np.uint64]:
    """Shorten hashes of shape (n, 32), or some of them, to their first 8 bytes, as numbers."""
    found = np.empty(len(sha256) if rows is None else len(rows), np.uint64)
    for piece in blocks(len(found)):
        part = sha256[piece] if rows is None else sha256[rows[piece]]
        found[piece] = np.ascontiguousarray(part[:, :8]).view(">u8").ravel()
        let_go(sha256)
    return found
