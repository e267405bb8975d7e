"""Flat files: the label stands in the name, before a number (``cat.123.jpg``, ``dog001.jpg``)."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from . import _formats, _scan
from ._files import FileSource
from ._source import indexed
from ._text import decoded, printable

_EXTENSION = re.compile(rb"[A-Za-z0-9]*")
_NAME = re.compile(r"(.*?)[\s._(-]*[0-9]+\)?", re.DOTALL)
# A label that ends so is a camera's date or serial number (IMG_20240131_120000.jpg), not a class.
_SERIAL = re.compile(r".*[0-9]{6}", re.DOTALL)


def read(root: str, *, follow_links: bool = False) -> FileSource | None:
    """Return the source, or None if there are no images right in `root`."""
    if not os.path.isdir(root):
        return None
    inside = _scan.boundary(root, follow_links=follow_links)
    top = _scan.list_folder(os.fsencode(root), inside=inside)
    if not top.images:
        return None
    names = labels_in_names(top.images)
    classes, labels = indexed(names)
    notes = [unlabelled_note(names, top.images)]
    if classes:
        common = Counter(name for name in names if name is not None).most_common(5)
        shown = ", ".join(f"{printable(name)} {number}" for name, number in common)
        notes.append(f"labels are taken from the file names: {shown}")
    if top.folders:
        notes.append(f"{len(top.folders)} folders without images beside the files: left out")
    return FileSource(
        layout="flat files, label in the name" if classes else "flat files, unlabelled",
        location=root,
        classes=classes,
        paths=top.images,
        labels=labels,
        splits=np.zeros(len(labels), np.uint8),
        ignored=top.ignored,
        notes=tuple(note for note in notes if note),
        leaving=frozenset(top.leaving),
    )


def labels_in_names(paths: Sequence[bytes]) -> list[str | None]:
    """
    Return the label in each file's name, if these names can be believed to be labelled.

    They are when most of them have a label, there are two labels or more, and two images or more
    to a label; otherwise all are None.
    """
    same: dict[str | None, str | None] = {}  # one object for all images of a class
    names = [same.setdefault(name, name) for name in map(label_in_name, paths)]
    labelled, classes = len(names) - names.count(None), len(same.keys() - {None})
    believed = classes >= 2 and labelled >= 2 * classes and labelled > len(names) / 2
    return names if believed else [None] * len(names)


def label_in_name(path: bytes) -> str | None:
    """Return what stands before the number at the end of a file's name; None for nothing."""
    match = _NAME.fullmatch(_stem(path.rpartition(b"/")[2]))
    if match is None or not match[1] or _SERIAL.fullmatch(match[1]):
        return None
    return match[1]


def _stem(name: bytes) -> str:
    """Return what stands before the extension of an image, and what a download put behind it."""
    parts = name.split(b".")
    for place in range(len(parts) - 1, 0, -1):
        if _formats.has_image_extension(b"x." + _EXTENSION.match(parts[place])[0]):  # type: ignore[index]
            return decoded(b".".join(parts[:place]))
    return decoded(name)


def unlabelled_note(names: Sequence[str | None], paths: Sequence[bytes]) -> str:
    """Say how many files have no label; nothing when all have one."""
    if None not in names:
        return ""
    first = paths[names.index(None)]
    return f"{names.count(None)} files without a label in the name, such as {printable(first)}"
