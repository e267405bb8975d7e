"""Split folders: train, val and test, each with class folders or flat files of its own."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pipeline.common.choices import Folders
from pipeline.common.errors import SourceError
from pipeline.common.names import Names

from . import _class_folders, _flat, _scan
from ._files import FileSource
from ._source import Given, indexed
from ._split_names import is_plain, split_name
from ._text import decoded, printable


class _SplitRows(NamedTuple):
    """
    The rows of one split.

    Attributes
    ----------
    paths : Names
    names, counts : sequence of str or None, and of int
        Class names in the order of the paths, and how many paths in a row have each.
    leaving : list of bytes
        Paths of links to outside.
    """

    paths: Names
    names: Sequence[str | None]
    counts: Sequence[int]
    leaving: list[bytes]


class _Place(NamedTuple):
    """Where a split is: the source, its folder in it, and what links must not leave."""

    root: bytes
    folder: bytes
    inside: bytes | None


def read(
    root: str, *, follow_links: bool = False, how: Folders = Folders.auto
) -> FileSource | None:
    """
    Return the source, or None if the folders in `root` are no splits.

    Raises
    ------
    SourceError
        If the folders may be splits as well as classes, or are to be splits and none is named so.
    """
    if not os.path.isdir(root) or how is Folders.classes:
        return None
    inside = _scan.boundary(root, follow_links=follow_links)
    place = _Place(os.fsencode(root), b"", inside)
    top, folders = _chosen(place, how)
    if not folders and len(top.folders) == 1 and not top.images:
        # One folder around everything, as archives have.
        place = place._replace(folder=top.folders[0])
        top, folders = _chosen(place, how)
    if not folders:
        if how is Folders.splits:
            raise SourceError(
                f"expected folders named train, val or test in {printable(root)}, found "
                f"{', '.join(map(printable, top.folders[:5])) or 'none'}; rename them, or leave "
                "out --folders splits"
            )
        return None
    top = _scan.list_folder(os.path.join(place.root, place.folder), inside=inside)
    ignored, notes = Counter(top.ignored), _beside(top, folders)
    found: dict[bytes, _SplitRows] = {}
    # Train first: it decides which labels there are.
    for folder in sorted(folders, key=lambda name: (folders[name], name)):
        known = {name for rows in found.values() for name in rows.names if name is not None}
        within = _scan.unwrapped(
            place.root, _scan.join(place.folder, folder), inside=inside, idle=is_plain
        )
        found[folder] = _read_split(place._replace(folder=within), known, ignored, notes)
    rows = [found[folder] for folder in folders]
    counts = [count for part in rows for count in part.counts]
    pairs = zip((name for part in rows for name in part.names), counts, strict=True)
    several = [(name, count) for name, count in pairs if count]
    classes, labels = indexed([name for name, _ in several])
    splits = np.array([*folders.values()], np.uint8)
    if not several:
        return None
    return FileSource(
        layout="/".join(printable(name) for name in folders) + " folders",
        location=root,
        classes=classes,
        paths=Names.joined([part.paths for part in rows]),
        labels=np.repeat(labels, [count for _, count in several]),
        splits=np.repeat(splits, [len(part.paths) for part in rows]),
        ignored=ignored,
        notes=tuple(notes),
        leaving=frozenset(path for part in rows for path in part.leaving),
    )


def _chosen(place: _Place, how: Folders) -> tuple[_scan.Listing, dict[bytes, Given]]:
    """List a folder; return which of the folders in it are splits, if any are."""
    top = _scan.look(os.path.join(place.root, place.folder), inside=place.inside)
    named = {name: said for name in top.folders if (said := split_name(decoded(name)))}
    folders = {name: said.given for name, said in named.items()}
    if how is Folders.splits:
        return top, folders
    several = len(set(folders.values())) > 1
    nested = [_has_folders(place, name) for name in named]
    if not several:
        # One split alone is a folder around classes; its images have no split yet.
        alone = len(top.folders) == 1 and not top.images
        if alone or not named or not all(nested):
            return top, dict.fromkeys(folders, Given.NONE) if alone else {}
    others = [name for name in top.folders if name not in named and _has_images(place, name)]
    if not several and not _stand_out(place, list(named), others):
        return top, {}
    alike = len({said.rest for said in named.values()}) == 1
    if several and alike and (not others or any(nested)):
        return top, folders
    shown = ", ".join(printable(name) for name in (*named, *others)[:6])
    raise SourceError(
        f"expected folders that are splits or classes in {printable(place.root)}, found {shown}, "
        "which may be both; add --folders splits (others are left out) or --folders classes"
    )


def _stand_out(place: _Place, named: Sequence[bytes], others: Sequence[bytes]) -> bool:
    """Whether folders that are named like one split, and have folders, differ from the others."""
    if not others:
        return len(named) > 1  # train and train2
    if len(others) == len(named) == 1 and _folders(place, others[0]) == _folders(place, named[0]):
        return True  # train and entrainement
    return not any(_has_folders(place, name) for name in others)


def _has_folders(place: _Place, name: bytes) -> bool:
    return bool(_folders(place, name))


def _folders(place: _Place, name: bytes) -> list[bytes]:
    within = _scan.unwrapped(place.root, _scan.join(place.folder, name), inside=place.inside)
    return _scan.look(os.path.join(place.root, within), inside=place.inside).folders


def _has_images(place: _Place, name: bytes) -> bool:
    listing = _scan.walk(place.root, _scan.join(place.folder, name), inside=place.inside)
    return bool(listing.images)


def _beside(top: _scan.Listing, folders: dict[bytes, Given]) -> list[str]:
    """Say what stands beside the split folders and is left out."""
    notes = []
    if others := [printable(name) for name in top.folders if name not in folders]:
        notes.append(f"beside the split folders, left out: {', '.join(others[:5])}")
    if top.images:
        notes.append(f"{len(top.images)} images beside the split folders are left out")
    return notes


def _read_split(
    place: _Place, known: set[str], ignored: Counter[str], notes: list[str]
) -> _SplitRows:
    """Read one split folder: class folders, or flat files labelled in the name or not at all."""
    found = _class_folders.scan(place.root, place.folder, inside=place.inside)
    where = printable(place.folder)
    if not found.images:
        return _read_flat(place, known, ignored, notes)
    ignored += found.ignored
    notes += found.notes
    counts = [count for _, count in found.counts if count]
    names = [name for name, count in found.counts if count]
    strange = sorted(set(names) - known) if known else []
    if strange and len(set(names)) == 1:
        # Keras wants test images in one folder of any name; it is not a class.
        notes.append(
            f"{where}/{printable(strange[0])} is no class of the other splits: read as unlabelled"
        )
        return _SplitRows(found.images, [None], [len(found.images)], found.leaving)
    if strange:
        notes.append(f"only in {where}: {', '.join(map(printable, strange[:5]))}")
    return _SplitRows(found.images, names, counts, found.leaving)


def _read_flat(
    place: _Place, known: set[str], ignored: Counter[str], notes: list[str]
) -> _SplitRows:
    """Read the files of one split; what is no known label counts only if many files have it."""
    folder = place.folder
    top = _scan.list_folder(os.path.join(place.root, folder), inside=place.inside)
    ignored += top.ignored
    paths = Names.of(folder + b"/" + name for name in top.images)
    names: list[str | None]
    if known:
        same = {name: name for name in known}  # one object for all images of a class
        labels = (_flat.label_in_name(path) for path in paths)
        names = [None if name is None else same.get(name) for name in labels]
    else:
        names = _flat.labels_in_names(paths)
    if not paths:
        notes.append(f"{printable(folder)} has no images")
    elif note := _flat.unlabelled_note(names, paths):
        notes.append(note)
    leaving = [folder + b"/" + name for name in top.leaving]
    return _SplitRows(paths, names, [1] * len(paths), leaving)
