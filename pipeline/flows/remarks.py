"""What a user is told of a source, and of the images of a store, before trusting a score."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from pipeline import images, store
from pipeline.common.errors import counted
from pipeline.common.listener import Tell
from pipeline.flows import alike

# Of files that are no images name the most frequent kinds, of classes the first.
_KINDS_TOLD = 8
_CLASSES_TOLD = 5


def describe(found: images.Source, tell: Tell) -> None:
    """Say what a source is understood as, and what of it is left aside."""
    count = counted(len(found), "image")
    tell(f"found {count}, {_classes(found)}: {found.layout} in {found.location}")
    if found.ignored:
        common = Counter(found.ignored).most_common()
        kinds = ", ".join(f"{count} {kind}" for kind, count in common[:_KINDS_TOLD])
        others = sum(count for _, count in common[_KINDS_TOLD:])
        tell(f"ignored: {kinds}" + (f", {others} others" if others else ""))
    for note in found.notes:
        tell(note)
    for names in _nearly_one(found.classes):
        tell(
            f"warning: the classes {', '.join(map(repr, names))} differ in case or spaces only; if "
            "they are one, give them one name"
        )


def _nearly_one(classes: Sequence[str]) -> list[list[str]]:
    """Group the names that differ in case or spaces only."""
    groups: dict[str, list[str]] = {}
    for name in classes:
        groups.setdefault(" ".join(name.casefold().split()), []).append(name)
    return [names for names in groups.values() if len(names) > 1]


def _classes(found: images.Source) -> str:
    """Say how many classes there are, and of the first ones how many images."""
    if not found.classes:
        return "no labels"
    counts = np.bincount(found.labels[found.labels >= 0], minlength=len(found.classes))
    pairs = list(zip(found.classes, counts.tolist(), strict=True))[:_CLASSES_TOLD]
    shown = ", ".join(f"{images.printable(name)} {count}" for name, count in pairs)
    rest = ", ..." if len(found.classes) > _CLASSES_TOLD else ""
    return f"{counted(len(found.classes), 'class')} ({shown}{rest})"


def warnings_of(table: store.Table, *, gone: int = 0, before: str = "") -> list[str]:
    """
    Say what a user should know of the result before trusting a score.

    Parameters
    ----------
    table : Table
    gone : int, default 0
        How many images of the last run are not in it.
    before : str, optional
        Where that run found its images.

    Returns
    -------
    list of str
        A sentence each.
    """
    sentences = []
    if missing := table.classes_without_training():
        shown = ", ".join(f"'{name}'" for name in missing[:_CLASSES_TOLD])
        if len(missing) == 1:
            sentences.append(f"warning: class {shown} has no training image")
        else:
            sentences.append(
                f"warning: {len(missing)} of {len(table.classes)} classes have no training image: "
                f"{shown}{', ...' if len(missing) > _CLASSES_TOLD else ''}"
            )
    if gone:
        sentences.append(
            f"note: {counted(gone, 'image')} of this store's last run, on {before}, left its table "
            "(the codes stay; with --add the images stay, too)"
        )
    if twice := table.contradictions():
        sentences.append(
            f"warning: {counted(twice, 'image')} with the very same bytes under different labels"
        )
    if leaks := table.leaks():
        sentences.append(
            f"warning: the source has {counted(leaks, 'image')} of val or test byte for byte in "
            "train as well: scores on them are too good"
        )
    if leaks := table.grouped_leaks():
        sentences.append(
            f"warning: the source has {counted(leaks, 'image')} of val or test of groups that have "
            "images in train as well: scores on them are too good"
        )
    return sentences + alike.warnings_of(table)
