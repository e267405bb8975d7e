"""Two sources as one: what a store has already, and what is added to it."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ._files import FileSource
from ._source import Read, Source, Stat, indexed


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
        wanted = list(rows)
        own = {int(self.places[row]): row for row in wanted if row < self.cut}
        for row, read in self.first.contents(sorted(own)):
            yield own[row], read
        for row, read in self.second.contents(
            [row - self.cut for row in wanted if row >= self.cut]
        ):
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
    base = os.fsencode(location)
    moved = new.location != location
    own = [os.path.join(os.fsencode(new.location), path) if moved else path for path in new.paths]
    taken = {os.path.join(base, path) for path in own}
    places = [row for row, path in enumerate(paths) if os.path.join(base, path) not in taken]
    old_names = [None if labels[row] < 0 else classes[labels[row]] for row in places]
    new_names = [None if label < 0 else new.classes[label] for label in new.labels]
    # Classes without images stay classes.
    every, numbers = indexed([*old_names, *new_names, *classes, *new.classes])
    count = len(places) + len(new)
    return Joined(
        layout=new.layout,
        location=location,
        classes=every,
        paths=[*(paths[row] for row in places), *own],
        labels=numbers[:count],
        splits=np.concatenate([np.zeros(len(places), np.uint8), new.splits]),
        groups=_groups(groups, places, new),
        ignored=new.ignored,
        notes=new.notes,
        first=first,
        second=new,
        places=np.array(places, np.int64),
    )


def _groups(
    groups: Sequence[bytes] | None, places: Sequence[int], new: Source
) -> list[bytes] | None:
    if groups is None and new.groups is None:
        return None
    old = [b""] * len(places) if groups is None else [groups[row] for row in places]
    return [*old, *([b""] * len(new) if new.groups is None else new.groups)]
