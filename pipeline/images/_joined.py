"""Two sources as one: what a store has already, and what is added to it."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, repeat

import numpy as np
from numpy.typing import NDArray

from pipeline.common.names import Names, Places, blocks, one_by_one

from ._files import FileSource
from ._source import UNLABELLED, Read, Source, Stat, indexed


@dataclass(frozen=True, kw_only=True, eq=False)
class Joined(Source):
    """
    The rows of one source, then those of another.

    Attributes
    ----------
    first, second : Source
    places : int64 array of shape (n,)
        Of each row of this source that comes from `first`, its row there.
    """

    first: Source
    second: Source
    places: NDArray[np.int64]

    @property
    def cut(self) -> int:
        """How many rows are those of the first source."""
        return len(self.places)

    def stat(self, row: int) -> Stat | None:
        if row < self.cut:
            return self.first.stat(int(self.places[row]))
        return self.second.stat(row - self.cut)

    def contents(self, rows: Iterable[int]) -> Generator[tuple[int, Read], None, None]:
        wanted = np.fromiter(rows, np.int64)
        old = np.sort(wanted[wanted < self.cut])
        of_old = self.first.contents(one_by_one(self.places[old]))
        for row, (_, read) in zip(one_by_one(old), of_old, strict=True):
            yield row, read
        for row, read in self.second.contents(one_by_one(wanted[wanted >= self.cut] - self.cut)):
            yield row + self.cut, read


def joined(
    *,
    location: str,
    paths: Sequence[bytes],
    classes: tuple[str, ...],
    labels: NDArray[np.int32],
    groups: Sequence[bytes] | None,
    new: Source,
) -> Joined:
    """
    Put a source behind images that a store has.

    Parameters
    ----------
    location : str
        What the old paths are relative to.
    paths, classes, labels, groups
        Of the old images; see `Source`.
    new : Source
        Its paths become absolute where it lies elsewhere. Old images of the same paths make room
        for the new ones.

    Returns
    -------
    Source
    """
    first = FileSource(
        layout="",
        location=location,
        classes=classes,
        paths=paths,
        labels=labels,
        splits=np.zeros(len(paths), np.uint8),
        groups=groups,
    )
    own: Sequence[bytes] = new.paths
    if new.location != location:
        own = Names.of(os.path.join(os.fsencode(new.location), path) for path in own)
    places = np.flatnonzero(~_taken(paths, own, base=os.fsencode(location)))
    # Classes without images stay classes.
    every, numbers = indexed([*classes, *new.classes])
    old_labels, new_labels = numbers[: len(classes)], numbers[len(classes) :]
    return Joined(
        layout=new.layout,
        location=location,
        classes=every,
        paths=Names.joined([Names.of(paths).take(one_by_one(places)), Names.of(own)]),
        labels=np.concatenate(
            [_renumbered(labels[places], old_labels), _renumbered(new.labels, new_labels)]
        ),
        splits=np.concatenate([np.zeros(len(places), np.uint8), new.splits]),
        groups=_groups(groups, places, new),
        ignored=new.ignored,
        notes=new.notes,
        first=first,
        second=new,
        places=places,
    )


def _taken(paths: Sequence[bytes], own: Sequence[bytes], *, base: bytes) -> NDArray[np.bool_]:
    """Say of paths whether others, relative to the same folder, name the same file."""
    whole = Names.of(os.path.join(base, path) for path in own)
    known, taken = Places(whole), np.zeros(len(paths), bool)
    for piece in blocks(len(paths)):
        part = [os.path.join(base, path) for path in paths[piece]]
        rows, places = known.find(part)
        for row, place in zip(rows.tolist(), places.tolist(), strict=True):
            taken[piece.start + place] |= whole[row] == part[place]
    return taken


def _renumbered(labels: NDArray[np.int32], numbers: NDArray[np.int32]) -> NDArray[np.int32]:
    """Give labels the numbers of the joined classes; the last is that of no label."""
    return np.append(numbers, np.int32(UNLABELLED))[labels]


def _groups(groups: Sequence[bytes] | None, places: NDArray[np.int64], new: Source) -> Names | None:
    if groups is None and new.groups is None:
        return None
    old = (
        repeat(b"", len(places)) if groups is None else (groups[row] for row in one_by_one(places))
    )
    further = repeat(b"", len(new)) if new.groups is None else new.groups
    return Names.of(chain(old, further))
