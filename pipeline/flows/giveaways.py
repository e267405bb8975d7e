"""What tells the class of an image without its content: the file's format, size, shape, light."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline import images, store
from pipeline.common.errors import counted
from pipeline.common.listener import Progress
from pipeline.flows.extraction import WORKERS
from pipeline.flows.findings import Finding, Kind
from pipeline.flows.originals import found_again

MOST_LOOKED_AT = 2000  # photos that are opened
_AT_ONCE = 64
_FOLDS = 5
_LEAST = 10  # images of a class
_MOST = 20_000  # rows that a tree learns from
_TELLING = 0.2  # of the way from guessing to knowing


class Looks(NamedTuple):
    """
    What photos look like, by row of the store, and why some were not opened.

    Attributes
    ----------
    found : dict of int to Look
    notes : tuple of str
    """

    found: dict[int, images.Look]
    notes: tuple[str, ...]


def looks(opened: store.Store, rows: NDArray[np.int64], progress: Progress) -> Looks:
    """
    Open some photos of a store, where these still are.

    Parameters
    ----------
    opened : Store
    rows : int64 array of shape (n,)
    progress : callable
        Called with the photos done and the photos there are.

    Returns
    -------
    Looks
    """
    photos = found_again(opened, opened.paths(rows))
    if isinstance(photos, str):
        return Looks({}, (f"photos were not opened: {photos}",))
    source, places = photos
    row_of = {at: int(rows[place]) for place, at in places.items()}
    found: dict[int, images.Look] = {}
    done = 0
    with closing(source.contents(sorted(row_of))) as contents, ThreadPoolExecutor(WORKERS) as pool:
        while some := list(islice(contents, _AT_ONCE)):
            for (at, _), seen in zip(
                some, pool.map(_look, [load for _, load in some]), strict=True
            ):
                if seen is not None:
                    found[row_of[at]] = seen
            progress(done := done + len(some), len(row_of))
    notes = []
    if (others := int(opened.usable.sum()) - len(rows)) > 0:
        notes.append(
            f"{len(rows)} photos were opened, {others} were not: whether these are of one colour, "
            "and how bright they are, is not known"
        )
    if gone := len(rows) - len(places):
        notes.append(f"{counted(gone, 'photo')} are gone")
    return Looks(found, tuple(notes))


def _look(load: images.Read) -> images.Look | None:
    try:
        return images.look(load().data)
    except (images.Unreadable, images.Rejected):
        return None


def constant(seen: Mapping[int, images.Look]) -> list[Finding]:
    """Find photos of one colour."""
    return [
        Finding(
            kind=Kind.constant,
            rows=(row,),
            number=each.brightness,
            reason=f"of one colour, brightness {each.brightness:.0f} of 255",
            strict=True,
        )
        for row, each in sorted(seen.items())
        if each.nearly_constant
    ]


def giveaways(opened: store.Store, seen: Mapping[int, images.Look]) -> list[Finding]:
    """
    Find what tells the class without the content.

    Returns
    -------
    list of Finding
        Numbers are balanced accuracies of a small tree on folds that it had not seen.
    """
    found = []
    for what, rows, values in _features(opened, seen):
        finding = _told(opened, what, rows, values)
        if finding is not None:
            found.append(finding)
    return sorted(found, key=lambda each: -each.number)


def _features(
    opened: store.Store, seen: Mapping[int, images.Look]
) -> Iterator[tuple[str, NDArray[np.int64], NDArray[np.float64]]]:
    """Yield of each feature its name, rows that have it, and values of shape (n, columns)."""
    labelled = np.flatnonzero(opened.usable & (opened.labels >= 0))
    step = -(-len(labelled) // _MOST) or 1
    rows = labelled[::step]
    endings = np.array([os.path.splitext(path)[1].lower() for path in opened.paths(rows)], object)
    names = sorted(set(endings) - {b""})
    if len(names) > 1:
        columns = [np.array([ending == name for ending in endings]) for name in names[:32]]
        yield "the file's extension", rows, np.stack(columns, axis=1).astype(np.float64)
    if isinstance(opened, store.FolderStore):
        sizes = opened.table.stat[rows, 0].astype(np.float64)
        if (known := sizes > 0).any():
            yield "the file's size", rows[known], sizes[known, None]
    looked = np.array([row for row in seen if opened.labels[row] >= 0], np.int64)
    for what in ("aspect", "brightness"):
        values = np.array([[getattr(seen[row], what)] for row in looked.tolist()])
        name = "the image's aspect ratio" if what == "aspect" else "the image's brightness"
        yield name, looked, values


def _told(
    opened: store.Store, what: str, rows: NDArray[np.int64], values: NDArray[np.float64]
) -> Finding | None:
    """Fit trees on one feature; None where they know little more than guessing does."""
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.tree import DecisionTreeClassifier

    labels = opened.labels[rows]
    counts = np.bincount(labels[labels >= 0], minlength=len(opened.classes))
    kept = np.flatnonzero(counts >= _LEAST)
    there = np.isin(labels, kept)
    k = len(kept)
    if k < 2 or not np.ptp(values[there], axis=0).any():
        return None
    y = labels[there]
    # As many answers as there are classes; of two to four a tree of depth two has them.
    tree = DecisionTreeClassifier(
        max_leaf_nodes=max(4, k), min_samples_leaf=5, class_weight="balanced", random_state=0
    )
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=0)
    answers = cross_val_predict(tree, values[there], y, cv=folds)
    recalls = np.array([(answers[y == label] == label).mean() for label in kept])
    accuracy, chance = float(recalls.mean()), 1 / k
    if accuracy - chance < _TELLING * (1 - chance):
        return None
    best = int(recalls.argmax())
    return Finding(
        kind=Kind.giveaway,
        number=accuracy,
        reason=(
            f"{what} alone tells the class: balanced accuracy {accuracy:.2f}, {chance:.2f} by "
            f"chance; best {opened.classes[kept[best]]} ({recalls[best]:.2f} found)"
        ),
    )
