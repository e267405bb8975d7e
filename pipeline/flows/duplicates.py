"""Images that are there twice: the same bytes, or codes that point in nearly the same direction."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from pipeline import store
from pipeline.common.choices import Split
from pipeline.common.listener import Progress
from pipeline.flows.audited import Audited, stays
from pipeline.flows.findings import Finding, Kind, label_of, split_of

NEIGHBOURS = 5
_BLOCK = 1 << 24  # numbers of a block of cosines: 64 MB
# Of 925 photos of clothing, copies (JPEG of quality 60, three quarters of the size, mirrored) were
# at 0.02 to 0.18 of the median distance to the fifth neighbour, other photos of the same wall and
# hanger from 0.194 on; of 1,797 handwritten digits, none twice, the nearest two were at 0.217.
_SHARE = 0.19
_FEW, _FEW_DISTANCE = 20, 0.01  # with fewer images there is no usual distance
_ROUNDING = 1e-5  # cosines in float32 of two equal codes


class Neighbours:
    """
    The nearest other rows of each row.

    Parameters
    ----------
    audited : Audited
    progress : callable
        Called with the rows done and the rows there are.

    Attributes
    ----------
    which : int64 array of shape (n, k)
        Places in the rows, the nearest first; k is 5, less with fewer rows.
    distances : float32 array of shape (n, k)
        1 - cosine.
    """

    def __init__(self, audited: Audited, progress: Progress) -> None:
        units, n = audited.units, len(audited.rows)
        k = min(NEIGHBOURS, n - 1)
        self.which = np.zeros((n, k), np.int64)
        self.distances = np.ones((n, k), np.float32)
        step = max(1, _BLOCK // n)
        for start in range(0, n if k else 0, step):
            block = slice(start, min(start + step, n))
            cosines = units[block] @ units.T
            own = np.arange(block.stop - start)
            cosines[own, own + start] = -np.inf
            for place in range(k):  # faster than to sort or to part a row
                best = cosines.argmax(axis=1)
                self.which[block, place] = best
                self.distances[block, place] = 1 - cosines[own, best]
                cosines[own, best] = -np.inf
            progress(block.stop, n)

    @property
    def limit(self) -> float:
        """How far apart two images of one photo are at the most: a share of what is usual here."""
        n, k = self.distances.shape
        if n < _FEW:
            return _FEW_DISTANCE
        return max(_ROUNDING, _SHARE * float(np.median(self.distances[:, k - 1])))

    def pairs(self) -> NDArray[np.int64]:
        """Return places of near duplicates: shape (m, 2), the nearest first."""
        one, place = np.nonzero(self.distances <= self.limit)
        both = np.sort(np.stack([one, self.which[one, place]], axis=1), axis=1)
        unique, first = np.unique(both, axis=0, return_index=True)
        order = np.argsort(self.distances[one, place][first], kind="stable")
        return np.asarray(unique[order])

    def together(self) -> NDArray[np.int64]:
        """Number the rows so that near duplicates, and theirs, have one number: shape (n,)."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        pairs, n = self.pairs(), len(self.which)
        ones = np.ones(len(pairs), np.int8)
        graph = coo_array((ones, (pairs[:, 0], pairs[:, 1])), shape=(n, n))
        return np.asarray(connected_components(graph, directed=False)[1], np.int64)


def duplicates(audited: Audited, near: Neighbours) -> list[Finding]:
    """
    Find images that are there twice.

    Returns
    -------
    list of Finding
        Each of two rows, the one first that may go. Pairs across splits are leaks.
    """
    opened, rows = audited.opened, audited.rows
    found = [_pair(opened, other, kept, None) for other, kept in audited.copies]
    pairs = near.pairs()
    cosines = np.einsum("ij,ij->i", audited.units[pairs[:, 0]], audited.units[pairs[:, 1]])
    worth = stays(opened, rows)
    for (one, two), cosine in zip(pairs.tolist(), cosines.tolist(), strict=True):
        goes, kept = (one, two) if worth[one] < worth[two] else (two, one)
        found.append(_pair(opened, int(rows[goes]), int(rows[kept]), min(1.0, cosine)))
    return sorted(found, key=lambda each: -each.number)


def _pair(opened: store.Store, goes: int, kept: int, cosine: float | None) -> Finding:
    splits = [split_of(opened, row) for row in (goes, kept)]
    labels = [label_of(opened, row) for row in (goes, kept)]
    across = splits[0] != splits[1] and all(splits)
    how = "the same bytes" if cosine is None else f"cosine {cosine:.3f}"
    where = f" in {splits[0]} and {splits[1]}" if across else ""
    unlike = f"; labels differ: {labels[0]} and {labels[1]}" if _differ(labels) else ""
    return Finding(
        kind=Kind.leak if across else Kind.duplicate,
        rows=(goes, kept),
        number=1.0 if cosine is None else cosine,
        reason=how + where + unlike,
        strict=True,
    )


def _differ(labels: list[str]) -> bool:
    return all(labels) and labels[0] != labels[1]


def group_leaks(opened: store.Store) -> list[Finding]:
    """Find groups with images in train and in val or test; the largest first."""
    rows = np.flatnonzero(opened.usable & (opened.splits > 0))
    groups = opened.groups(rows)
    if groups is None:
        return []
    sides: dict[bytes, dict[int, list[int]]] = {}
    for row, group in zip(rows.tolist(), groups, strict=True):
        if group:
            sides.setdefault(group, {}).setdefault(int(opened.splits[row]), []).append(row)
    train = store.SPLITS[Split.train]
    both = (each for each in sides.items() if train in each[1] and len(each[1]) > 1)
    return sorted(_groups(both, train), key=lambda each: -each.number)


def _groups(both: Iterable[tuple[bytes, dict[int, list[int]]]], train: int) -> Iterable[Finding]:
    for group, splits in both:
        held = [row for split, rows in splits.items() if split != train for row in rows]
        name = group.decode("utf-8", "backslashreplace")
        yield Finding(
            kind=Kind.group,
            rows=(splits[train][0], held[0]),
            number=len(held),
            reason=f"group {name}: {len(splits[train])} in train, {len(held)} in val or test",
        )
