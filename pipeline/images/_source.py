"""A source of images: what there is, what it is called, how it is labelled, how it is read."""

from __future__ import annotations

import hashlib
import heapq
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pipeline.common.choices import SPLITS, Split
from pipeline.common.errors import SourceError
from pipeline.common.names import Names

from ._text import printable

Stat = tuple[int, int, int]
"""Size in bytes, time of modification and time of change in nanoseconds."""

NO_STAT: Stat = (0, 0, 0)
UNLABELLED = -1
_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,18}")


class Given(IntEnum):
    """The split of a row as a number; ``NONE`` where there is none (yet)."""

    NONE = 0
    TRAIN = SPLITS[Split.train]
    VAL = SPLITS[Split.val]
    TEST = SPLITS[Split.test]

    @classmethod
    def of(cls, split: Split) -> Given:
        """Return the number of a split."""
        return cls[split.name.upper()]


@dataclass(frozen=True)
class Content:
    """The bytes of one image and the stat of the file they came from (zeros for arrays)."""

    data: bytes
    stat: Stat = NO_STAT


class Unreadable(Exception):
    """The bytes of an image could not be had: for good, or (`transient`) just now."""

    def __init__(self, reason: str, *, transient: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.transient = transient


Read = Callable[[], Content]
"""Gets the bytes of one image or raises `Unreadable`; safe to call in any thread."""


@dataclass(frozen=True)
class Limit:
    """
    How many images to keep.

    Attributes
    ----------
    total : int or None
        Of all images together; None when each split has a limit of its own.
    by_split : mapping of Given to int
        Of the images that the source itself puts into a split.
    """

    total: int | None = None
    by_split: Mapping[Given, int] = field(default_factory=dict)


def parse_limit(text: str) -> Limit:
    """
    Read a limit as it is typed.

    Parameters
    ----------
    text : str
        A number of images (``"500"``), or numbers by split (``"train=2000,test=1000"``), where a
        split that is not named gives no images.

    Returns
    -------
    Limit
        For `Source.limited`.

    Raises
    ------
    SourceError
        If the text is neither, or a number is below 1.
    """
    try:
        if "=" not in text:
            limit = Limit(total=int(text))
        else:
            pairs = [part.split("=", 1) for part in text.split(",")]
            limit = Limit(
                by_split={Given.of(Split(name.strip())): int(number) for name, number in pairs}
            )
            if len(limit.by_split) < len(pairs):
                raise ValueError("a split is named twice")
        if min(limit.by_split.values() if limit.total is None else [limit.total]) < 1:
            raise ValueError("below 1")
    except ValueError as error:
        raise SourceError(
            f"expected a limit such as 500 or train=2000,test=1000, found '{printable(text)}'; "
            "type a positive number, or numbers for train, val, test"
        ) from error
    return limit


@dataclass(frozen=True, kw_only=True, eq=False)
class Source(ABC):
    """
    Images that were found, one row each.

    Attributes
    ----------
    layout : str
        What was detected, in words.
    location : str
        Absolute path of the folder that `paths` are relative to, of the file that holds the
        images, or ``"digits"``.
    classes : tuple of str
        Sorted names of the classes.
    paths : sequence of bytes
        Of each row, its path as raw bytes, with ``/`` between folders; for images inside an
        array a name such as ``b"x_train#12"``.
    labels : ndarray of int32, shape (n,)
        Index into `classes`; -1 where there is no label.
    splits : ndarray of uint8, shape (n,)
        What the source itself says, a `Given` each.
    groups : sequence of bytes or None
        Rows of one group belong on the same side of a split.
    ignored : mapping of str to int
        Extension or other reason, and how many files were left out for it.
    notes : tuple of str
        Sentences worth telling the user.
    """

    layout: str
    location: str
    classes: tuple[str, ...]
    paths: Sequence[bytes]
    labels: NDArray[np.int32]
    splits: NDArray[np.uint8]
    groups: Sequence[bytes] | None = None
    ignored: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.paths)

    @abstractmethod
    def stat(self, row: int) -> Stat | None:
        """
        Look at a row's file without reading it.

        Parameters
        ----------
        row : int
            Index of the row.

        Returns
        -------
        tuple of int or None
            Size in bytes, mtime and ctime in nanoseconds; None where there is no such file, or
            the image is part of an array.
        """

    @abstractmethod
    def contents(self, rows: Iterable[int]) -> Generator[tuple[int, Read], None, None]:
        """Yield for each row, in this order, how to get its bytes."""

    def limited(self, limit: Limit) -> Self:
        """
        Choose a subset that does not depend on the order or number of the other images.

        Images are chosen by the SHA-256 of their paths: of a larger limit, the subset of a
        smaller one is a part.

        Parameters
        ----------
        limit : Limit
            From `parse_limit`. Where there are fewer images, all of them are kept.

        Returns
        -------
        Source
            The chosen rows in the order they had; `classes` stays as it is.

        Raises
        ------
        SourceError
            If a limit by split is asked of a source that has no images in this split.
        """
        if limit.total is not None:
            return self.subset(sorted(self._first(range(len(self)), limit.total)))
        chosen: list[int] = []
        for given, number in limit.by_split.items():
            rows = np.flatnonzero(self.splits == given).tolist()
            if not rows:
                name = given.name.lower()
                raise SourceError(
                    f"the limit names {name}, but the source ({self.layout}) puts no image into "
                    f"{name}; give one number instead, such as {number}"
                )
            chosen += self._first(rows, number)
        return self.subset(sorted(chosen))

    def _first(self, rows: Sequence[int], number: int) -> list[int]:
        """Return the `number` rows whose paths have the smallest hashes."""
        keys = ((hashlib.sha256(self.paths[row]).digest(), row) for row in rows)
        return [row for _, row in heapq.nsmallest(number, keys)]

    def subset(self, rows: Sequence[int]) -> Self:
        """Return a source of these rows only."""
        return replace(
            self,
            paths=Names.of(self.paths[row] for row in rows),
            labels=self.labels[list(rows)],
            splits=self.splits[list(rows)],
            groups=None if self.groups is None else Names.of(self.groups[row] for row in rows),
        )


def indexed(names: Sequence[str | None]) -> tuple[tuple[str, ...], NDArray[np.int32]]:
    """
    Turn the class names of all rows into sorted classes and labels.

    Names that are all whole numbers are sorted as numbers.
    """
    classes = sorted({name for name in names if name is not None})
    if all(_WHOLE_NUMBER.fullmatch(name) for name in classes):
        classes.sort(key=int)
    number = {name: i for i, name in enumerate(classes)}
    labels = (UNLABELLED if name is None else number[name] for name in names)
    return tuple(classes), np.fromiter(labels, np.int32, len(names))
