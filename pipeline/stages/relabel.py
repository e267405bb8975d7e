"""Other labels for a store's images, without their photos and without a forward pass."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline import images, store
from pipeline.common.errors import SourceError, StoreError, StoreIncomplete, counted
from pipeline.flows.relabelling import by_manifest, renamed, strangers


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

    Examples
    --------
    >>> import pipeline
    >>> names = {"blue": "cold", "green": "cold", "red": "warm"}
    >>> pipeline.relabel("artifacts/features/photos", rename=names).classes
    {'cold': 40, 'warm': 20}
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
        changed = table if given is None else by_manifest(table, given)
        counts = (0, 0) if given is None else strangers(table, given)
        if rename:
            changed = renamed(changed, rename)
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
