"""What a store keeps as it is while images of another source are added."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import images, store
from pipeline.common.errors import OutputError


@dataclass(frozen=True, kw_only=True)
class KeptImages:
    """
    The images of a store that come first in a joined source.

    Attributes
    ----------
    sha256 : uint8 array of shape (n, 32)
    stat : int64 array of shape (n, 3)
    splits : uint8 array of shape (n,)
    rejected : mapping of int to str
    pending : frozenset of int
        Rows that must be read again.
    source : mapping
        What the table says of where they came from.
    """

    sha256: NDArray[np.uint8]
    stat: NDArray[np.int64]
    splits: NDArray[np.uint8]
    rejected: Mapping[int, str]
    pending: frozenset[int]
    source: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.sha256)

    def fix(
        self,
        splits: NDArray[np.uint8],
        sha256: NDArray[np.uint8],
        groups: Sequence[bytes] | None,
        *,
        given: NDArray[np.uint8],
    ) -> NDArray[np.uint8]:
        """
        Leave every image in its split, and put those that belong to it on the same side.

        Parameters
        ----------
        splits : uint8 array of shape (m,)
            Of all images, as if they were new; the first are the kept ones.
        sha256, groups
            Of all images.
        given : uint8 array of shape (m,)
            What the sources say: that is kept, and told where the same image is on both sides.

        Returns
        -------
        uint8 array of shape (m,)
        """
        n, fixed = len(self), splits.copy()
        fixed[:n] = np.where(self.splits > 0, self.splits, splits[:n])
        numbers = store.first_bytes(sha256[:n])
        order = np.argsort(numbers, kind="stable")
        numbers = numbers[order]
        by_group = {} if groups is None else {groups[row]: fixed[row] for row in range(n)}
        by_group.pop(b"", None)
        new = n + np.flatnonzero(given[n:] == 0)
        new = new[sha256[new].any(axis=1)]
        places = np.searchsorted(numbers, store.first_bytes(sha256, new), "right") - 1
        same = order[places] if n else places
        alike = (places >= 0) & (sha256[same] == sha256[new]).all(axis=1)
        found = np.where(alike, fixed[same], 0).astype(np.uint8)
        if groups is not None:
            for place in np.flatnonzero(~alike).tolist():
                found[place] = by_group.get(groups[int(new[place])], 0)
        fixed[new[found > 0]] = found[found > 0]
        return fixed


def add(table: store.Table | None, new: images.Source) -> tuple[images.Source, KeptImages | None]:
    """
    Join a source with the images that a store has.

    Raises
    ------
    OutputError
        If the store does not say where its images are.
    """
    if table is None or not len(table):
        return new, None
    location = table.source.get("location")
    if not isinstance(location, str):
        raise OutputError(
            "expected a store that says where its images are to add to, found one that does not; "
            "extract both sources into a new store"
        )
    found = images.joined(
        location=location,
        paths=table.paths,
        classes=table.classes,
        labels=table.labels,
        groups=table.groups,
        new=new,
    )
    rows = found.places
    unhashed = np.all(table.sha256[rows] == 0, axis=1)
    rejected = {
        place: table.reasons.get(int(row), "")
        for place, row in enumerate(rows)
        if unhashed[place] and table.status[row] == store.Status.rejected
    }
    waiting = np.flatnonzero(table.status[rows] == store.Status.pending)
    return found, KeptImages(
        sha256=table.sha256[rows],
        stat=table.stat[rows],
        splits=table.splits[rows],
        rejected=rejected,
        pending=frozenset(waiting.tolist()),
        source=table.source,
    )
