"""Class folders: the name of a first-level folder is the class of all images below it."""

from __future__ import annotations

import os
from collections import Counter

import numpy as np

from . import _scan
from ._files import FileSource
from ._scan import boundary
from ._source import indexed
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
    classes, labels = indexed(found.names)
    notes = found.notes
    if len(classes) == 1:
        only = printable(classes[0])
        notes.append(
            f"all images are in the one folder '{only}'; if it holds class folders itself, "
            f"name {printable(root)}/{only}"
        )
    return FileSource(
        layout="class folders",
        location=root,
        classes=classes,
        paths=found.images,
        labels=labels,
        splits=np.zeros(len(labels), np.uint8),
        ignored=found.ignored,
        notes=tuple(notes),
        leaving=frozenset(found.leaving),
    )


class Found:
    """Images below class folders: paths, the class name of each, what was left out."""

    def __init__(self) -> None:
        self.images: list[bytes] = []
        self.leaving: list[bytes] = []
        self.names: list[str] = []
        self.ignored: Counter[str] = Counter()
        self.notes: list[str] = []


def scan(root: bytes, folder: bytes, *, inside: bytes | None) -> Found:
    """Walk the class folders of one folder; paths are relative to `root`."""
    found = Found()
    top = _scan.list_folder(os.path.join(root, folder), inside=inside)
    found.ignored += top.ignored
    where = printable(folder) or "the top folder"
    if top.images:
        found.ignored["images beside class folders"] += len(top.images)
        found.notes.append(f"{len(top.images)} images in {where} are in no class folder: left out")
    for name in top.folders:
        listing = _scan.walk(root, _scan.join(folder, name), inside=inside)
        found.ignored += listing.ignored
        found.images += listing.images
        found.leaving += listing.leaving
        found.names += [decoded(name)] * len(listing.images)
        if not listing.images:
            found.notes.append(f"the folder '{printable(name)}' in {where} has no images")
    return found
