"""Other labels for a store's images, without their photos and without a forward pass."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pipeline import images, store
from pipeline.common.errors import SourceError, StoreError, StoreIncomplete, counted


@dataclass(frozen=True, kw_only=True)
class Relabelling:
    """
    What `relabel` did.

    Attributes
    ----------
    store : str
    images : int
        Images in the table.
    changed : int
        Those whose class or split is another one now.
    not_named : int
        Images that no line of the manifest names: they stay as they were.
    not_found : int
        Lines that name no image of the store.
    classes : dict of str to int
        Usable images of each class, now.
    splits : dict of str to int
        Usable images of each split, now.
    warnings : tuple of str
        Such as groups on both sides of a split.
    """

    store: str
    images: int
    changed: int
    not_named: int
    not_found: int
    classes: dict[str, int]
    splits: dict[str, int]
    warnings: tuple[str, ...]


def relabel(
    store_path: str | Path,
    manifest: object = None,
    *,
    rename: Mapping[str, str] | None = None,
    columns: str | Mapping[str, str] | None = None,
) -> Relabelling:
    """
    Give a store's images other labels, by a manifest or by renaming classes.

    Codes stay as they are. Heads that were fitted before know their classes by name and are still
    what they were. `extract` takes the labels from its source again.

    Parameters
    ----------
    store_path : str or Path
        The store.
    manifest : str, Path, data frame or mapping, optional
        With the columns ``path,label[,split,group]``; a path is as the store has it, or absolute.
        An empty label takes the label away; a split moves the image there. Without a column of
        splits every image stays in its split.
    rename : mapping of str to str, optional
        Old names of classes and new ones; two classes of one new name become one. Comes after the
        manifest.
    columns : str or mapping of str to str, optional
        Names of the manifest's columns.

    Returns
    -------
    Relabelling

    Raises
    ------
    SourceError
        If the manifest cannot be understood or names no image of the store, or there is no class
        to rename.
    StoreError
        If it is a packed file.
    StoreLocked, StoreDamaged, StoreIncomplete
        If another process writes to the store, it is not what was written, or is not finished.
    """
    rename = {_plain(old): _plain(new) for old, new in (rename or {}).items()}
    if manifest is None and not rename:
        raise SourceError("expected a manifest or classes to rename, found neither; give one")
    if Path(store_path).is_file():
        raise StoreError(
            f"expected a store, the folder that extract made, found the file {store_path}; "
            "relabel the store and pack it again"
        )
    given = None if manifest is None else images.named(manifest, columns=columns)
    with store.Writer(Path(store_path)) as writer:
        table = writer.table
        if writer.header is None or table is None:
            raise StoreIncomplete(
                f"expected a store with a table, found none in {store_path}; extract into it first"
            )
        changed = table if given is None else _by_manifest(table, given)
        counts = (0, 0) if given is None else _strangers(table, given)
        if rename:
            changed = _renamed(changed, rename)
        writer.relabel(changed)
    return Relabelling(
        store=str(store_path),
        images=len(table),
        changed=sum(a != b for a, b in zip(_sides(table), _sides(changed), strict=True)),
        not_named=counts[0],
        not_found=counts[1],
        classes=changed.class_counts(),
        splits=changed.split_counts(),
        warnings=tuple(_warnings(changed)),
    )


def _plain(name: str) -> str:
    """Spell a name as class names are spelled."""
    return unicodedata.normalize("NFC", name).strip()


def _by_manifest(table: store.Table, given: images.Source) -> store.Table:
    """Apply a manifest to the images that it names."""
    places = _places(table)
    names: list[str | None] = [
        None if label < 0 else table.classes[label] for label in table.labels
    ]
    splits = table.splits.copy()
    groups = None if given.groups is None else list(table.groups or [b""] * len(table))
    hits = 0
    for row, path in enumerate(given.paths):
        place = places.get(path)
        if place is None:
            continue
        hits += 1
        label = int(given.labels[row])
        names[place] = None if label < 0 else given.classes[label]
        splits[place] = given.splits[row] or splits[place]
        if groups is not None and given.groups is not None:
            groups[place] = given.groups[row]
    if not hits:
        raise SourceError(
            f"expected paths as the store has them, such as {images.printable(table.paths[0])}, "
            f"found {images.printable(given.paths[0])} and {len(given) - 1} others; correct the "
            "paths"
        )
    classes, labels = images.indexed(names)
    return replace(
        table,
        classes=classes,
        labels=labels,
        splits=splits,
        groups=table.groups if groups is None else groups,
    )


def _places(table: store.Table) -> dict[bytes, int]:
    """Find rows by their paths: as they are, and absolute."""
    base = os.fsencode(str(table.source.get("location", "")))
    places = {os.path.join(base, path): row for row, path in enumerate(table.paths)}
    return places | {path: row for row, path in enumerate(table.paths)}


def _strangers(table: store.Table, given: images.Source) -> tuple[int, int]:
    """Count the images that are not named, and the lines that name no image."""
    places = _places(table)
    found = [places[path] for path in given.paths if path in places]
    return len(table) - len(set(found)), len(given) - len(found)


def _renamed(table: store.Table, rename: Mapping[str, str]) -> store.Table:
    """Rename classes; those that get one name become one."""
    unknown = [name for name in rename if name not in table.classes]
    if unknown:
        raise SourceError(
            f"expected classes to rename among {', '.join(map(repr, table.classes[:8]))}, found "
            f"{unknown[0]!r}; correct the name"
        )
    names = [rename.get(name, name) for name in table.classes]
    if not all(names):
        raise SourceError("expected a new name for each class, found an empty one; give one")
    classes, numbers = images.indexed(names)
    labels = np.where(table.labels < 0, -1, numbers[table.labels]).astype(np.int32)
    return replace(table, classes=classes, labels=labels)


def _sides(table: store.Table) -> list[tuple[str | None, int]]:
    """Return the class and the split of each row."""
    return [
        (None if label < 0 else table.classes[label], int(split))
        for label, split in zip(table.labels, table.splits, strict=True)
    ]


def _warnings(table: store.Table) -> list[str]:
    said = [
        f"warning: class '{name}' has no training image"
        for name in table.classes_without_training()
    ]
    if leaks := table.grouped_leaks():
        said.append(
            f"warning: {counted(leaks, 'image')} of val or test of groups that have images in "
            "train as well: scores on them are too good"
        )
    return said
