"""Other labels for the rows of a table."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from pipeline import images, store
from pipeline.common.errors import SourceError


def by_manifest(table: store.Table, given: images.Source) -> store.Table:
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


def strangers(table: store.Table, given: images.Source) -> tuple[int, int]:
    """Count the images that are not named, and the lines that name no image."""
    places = _places(table)
    found = [places[path] for path in given.paths if path in places]
    return len(table) - len(set(found)), len(given) - len(found)


def renamed(table: store.Table, rename: Mapping[str, str]) -> store.Table:
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
