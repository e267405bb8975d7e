"""Class folders: the name of a first-level folder is the class of all images below it."""

from __future__ import annotations

import os
from collections import Counter

import numpy as np
from numpy.typing import NDArray

from pipeline.common.names import Names

from . import _scan
from ._files import FileSource
from ._scan import boundary
from ._source import Given, indexed
from ._split_names import split_name
from ._text import decoded, printable


def read(root: str, *, follow_links: bool = False) -> FileSource | None:
    """Return the source, or None if no folder below `root` has an image."""
    if not os.path.isdir(root):
        return None
    inside, top = boundary(root, follow_links=follow_links), os.fsencode(root)
    found = scan(top, _scan.unwrapped(top, b"", inside=inside), inside=inside)
    if not found.images:
        found = scan(top, b"", inside=inside)  # the repeated name was that of a class
    if not found.images:
        return None
    classes, labels = found.labels()
    notes = found.notes
    if len(classes) == 1:
        only = printable(classes[0])
        notes.append(
            f"all images are in the one folder '{only}'; if it holds class folders itself, "
            f"name {printable(root)}/{only}"
        )
    splits, layout = _splits_inside(found, notes)
    return FileSource(
        layout=layout,
        location=root,
        classes=classes,
        paths=found.images,
        labels=labels,
        splits=splits,
        ignored=found.ignored,
        notes=tuple(notes),
        leaving=frozenset(found.leaving),
    )


def _splits_inside(found: Found, notes: list[str]) -> tuple[NDArray[np.uint8], str]:
    """Return the splits where each class folder has them in it: ``cat/train/1.jpg``."""
    given = (_split_below(path, found.depth) for path in found.images)
    splits = np.fromiter((split or Given.NONE for split in given), np.uint8, len(found.images))
    if splits.all() and len(np.unique(splits)) > 1:
        return splits, "class folders with split folders in each"
    if splits.any():
        notes.append(
            f"note: {np.count_nonzero(splits)} images are in folders named after splits inside of "
            "class folders; that is left out of account"
        )
    return np.zeros_like(splits), "class folders"


def _split_below(path: bytes, depth: int) -> Given | None:
    """Return the split that the folder in a class folder is named after."""
    parts = path.split(b"/")[depth:]
    said = split_name(decoded(parts[0])) if len(parts) > 1 else None
    return said.given if said is not None and not said.rest else None


class Found:
    """Images below class folders: paths, the class name of each, what was left out."""

    def __init__(self) -> None:
        self.images = Names.of(())
        self.leaving: list[bytes] = []
        self.counts: list[tuple[str, int]] = []  # class and number of images, folder by folder
        self.depth = 0  # in how many folders the content of a class folder lies
        self.ignored: Counter[str] = Counter()
        self.notes: list[str] = []

    def labels(self) -> tuple[tuple[str, ...], NDArray[np.int32]]:
        """Return the classes, and the label of each image."""
        folders = [(name, count) for name, count in self.counts if count]
        classes, labels = indexed([name for name, _ in folders])
        return classes, np.repeat(labels, [count for _, count in folders])


def scan(root: bytes, folder: bytes, *, inside: bytes | None) -> Found:
    """Walk the class folders of one folder; paths are relative to `root`."""
    found = Found()
    top = _scan.list_folder(os.path.join(root, folder), inside=inside)
    found.ignored += top.ignored
    found.depth = folder.count(b"/") + 1 + bool(folder)
    where = printable(folder) or "the top folder"
    if top.images:
        found.ignored["images beside class folders"] += len(top.images)
        found.notes.append(f"{len(top.images)} images in {where} are in no class folder: left out")
    parts: list[Names] = []
    for name in top.folders:
        listing = _scan.walk(root, _scan.join(folder, name), inside=inside)
        found.ignored += listing.ignored
        parts.append(listing.images)
        found.leaving += listing.leaving
        found.counts.append((decoded(name), len(listing.images)))
        if not listing.images:
            found.notes.append(f"the folder '{printable(name)}' in {where} has no images")
    found.images = Names.joined(parts)
    return found
