"""Split folders: train, val and test, each with class folders or flat files of its own."""

from __future__ import annotations

import os
from collections import Counter
from typing import NamedTuple

import numpy as np

from . import _class_folders, _flat, _scan
from ._files import FileSource
from ._source import Given, indexed
from ._text import decoded, printable

_NAMES = {
    "train": Given.TRAIN,
    "training": Given.TRAIN,
    "val": Given.VAL,
    "valid": Given.VAL,
    "validation": Given.VAL,
    "test": Given.TEST,
    "testing": Given.TEST,
}


class _Rows(NamedTuple):
    """The rows of one split: paths and class names, and which of them are links to outside."""

    paths: list[bytes]
    names: list[str | None]
    leaving: list[bytes]


class _Place(NamedTuple):
    """Where a split is: the source, its folder in it, and what links must not leave."""

    root: bytes
    folder: bytes
    inside: bytes | None


def read(root: str, *, follow_links: bool = False) -> FileSource | None:
    """Return the source, or None if `root` has no train folder with another split beside it."""
    if not os.path.isdir(root):
        return None
    inside = _scan.boundary(root, follow_links=follow_links)
    top = _scan.list_folder(os.fsencode(root), inside=inside)
    folders = {name: _NAMES[text] for name in top.folders if (text := _lower(name)) in _NAMES}
    if Given.TRAIN not in folders.values() or len(set(folders.values())) < 2:
        return None
    ignored, notes = Counter(top.ignored), _beside(top, folders)
    found: dict[bytes, _Rows] = {}
    # Train first: it decides which labels there are.
    for folder in sorted(folders, key=lambda name: (folders[name], name)):
        known = {name for rows in found.values() for name in rows.names if name is not None}
        found[folder] = _read_split(
            _Place(os.fsencode(root), folder, inside), known, ignored, notes
        )
    rows = [found[folder] for folder in folders]
    classes, labels = indexed([name for part in rows for name in part.names])
    splits = [given for folder, given in folders.items() for _ in found[folder].paths]
    if not splits:
        return None
    return FileSource(
        layout="/".join(printable(name) for name in folders) + " folders",
        location=root,
        classes=classes,
        paths=[path for part in rows for path in part.paths],
        labels=labels,
        splits=np.array(splits, np.uint8),
        ignored=ignored,
        notes=tuple(notes),
        leaving=frozenset(path for part in rows for path in part.leaving),
    )


def _lower(name: bytes) -> str:
    return decoded(name).lower()


def _beside(top: _scan.Listing, folders: dict[bytes, Given]) -> list[str]:
    """Say what stands beside the split folders and is left out."""
    notes = []
    if others := [printable(name) for name in top.folders if name not in folders]:
        notes.append(f"beside the split folders, left out: {', '.join(others[:5])}")
    if top.images:
        notes.append(f"{len(top.images)} images beside the split folders are left out")
    return notes


def _read_split(place: _Place, known: set[str], ignored: Counter[str], notes: list[str]) -> _Rows:
    """Read one split folder: class folders, or flat files labelled in the name or not at all."""
    found = _class_folders.scan(place.root, place.folder, inside=place.inside)
    where = printable(place.folder)
    if not found.images:
        return _read_flat(place, known, ignored, notes)
    ignored += found.ignored
    notes += found.notes
    strange = sorted(set(found.names) - known) if known else []
    if strange and len(set(found.names)) == 1:
        # Keras wants test images in one folder of any name; it is not a class.
        notes.append(
            f"{where}/{printable(strange[0])} is no class of the other splits: read as unlabelled"
        )
        return _Rows(found.images, [None] * len(found.images), found.leaving)
    if strange:
        notes.append(f"only in {where}: {', '.join(map(printable, strange[:5]))}")
    return _Rows(found.images, list(found.names), found.leaving)


def _read_flat(place: _Place, known: set[str], ignored: Counter[str], notes: list[str]) -> _Rows:
    """Read the files of one split; what is no known label counts only if many files have it."""
    folder = place.folder
    top = _scan.list_folder(os.path.join(place.root, folder), inside=place.inside)
    ignored += top.ignored
    paths = [folder + b"/" + name for name in top.images]
    if known:
        found = [_flat.label_in_name(path) for path in paths]
        names = [name if name in known else None for name in found]
    else:
        names = _flat.labels_in_names(paths)
    if not paths:
        notes.append(f"{printable(folder)} has no images")
    elif note := _flat.unlabelled_note(names, paths):
        notes.append(note)
    return _Rows(paths, names, [folder + b"/" + name for name in top.leaving])
