"""What the page of groups shows: the most and the least typical photos of each."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline import report, store
from pipeline.common.errors import counted
from pipeline.flows.findings import label_of, split_of
from pipeline.flows.group_table import names_of
from pipeline.flows.grouping import Groups
from pipeline.flows.thumbnails import thumbnails

_TYPICAL, _UNUSUAL = 18, 6
_MOST_CLASSES = 5
_MOST_BYTES = 10 << 20  # of small pictures


def page_of(
    opened: store.Store,
    groups: Groups,
    *,
    notes: Sequence[str],
    commands: Sequence[str],
    facts: Mapping[str, str],
) -> report.GroupsPage:
    """
    Gather what the page says.

    Parameters
    ----------
    opened : Store
    groups : Groups
    notes : sequence of str
        What was cut short.
    commands : sequence of str
        What names the groups.
    facts : mapping of str to str
        How they were made.

    Returns
    -------
    GroupsPage
    """
    chosen = [_chosen(groups.members(group)) for group in range(len(groups.sizes))]
    small = thumbnails(opened, _in_turn(chosen), most_bytes=_MOST_BYTES)

    def photos(rows: NDArray[np.int64]) -> tuple[report.AuditPhoto, ...]:
        return tuple(
            report.AuditPhoto(
                path=os.fsdecode(path) or f"row {row}",
                label=label_of(opened, row),
                split=split_of(opened, row),
                jpeg=small.images.get(row),
            )
            for row, path in zip(rows.tolist(), opened.paths(rows), strict=True)
        )

    sheets = zip(names_of(groups), groups.sizes, chosen, strict=True)
    return report.GroupsPage(
        title=f"Groups of {store.name_of(opened)}",
        images=len(groups.rows),
        groups=tuple(
            report.GroupSheet(
                name=name,
                size=size,
                classes=dict(list(classes_of(opened, groups, group).items())[:_MOST_CLASSES]),
                typical=photos(typical),
                unusual=photos(unusual),
            )
            for group, (name, size, (typical, unusual)) in enumerate(sheets)
        ),
        notes=(*notes, *small.notes),
        commands=tuple(commands),
        facts=dict(facts),
    )


def notes_of(opened: store.Store, groups: Groups) -> list[str]:
    """Say what was cut short or is not there."""
    notes = list(groups.notes)
    if left := len(opened.usable) - len(groups.rows):
        notes.append(f"without codes, and in no group: {counted(left, 'image')}")
    if not any(opened.paths(groups.rows[:1])):
        notes.append("the store has no paths: groups.csv has the numbers of rows")
    return notes


def classes_of(opened: store.Store, groups: Groups, group: int) -> dict[str, int]:
    """Say how many images of a group have which label, the most frequent first."""
    labels = opened.labels[groups.rows[groups.of == group]]
    counts = np.bincount(labels[labels >= 0], minlength=len(opened.classes))
    order = np.argsort(-counts, kind="stable")
    return {opened.classes[label]: int(counts[label]) for label in order if counts[label]}


def _chosen(members: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Take the rows nearest to the centre, and those farthest from it, farthest first."""
    far = members[_TYPICAL:][::-1][:_UNUSUAL]
    return members[:_TYPICAL], far


def _in_turn(chosen: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]]) -> NDArray[np.int64]:
    """Put the first photo of each group first: on a page too large no group goes without."""
    each = [np.concatenate(both) for both in chosen]
    turns = np.concatenate([np.arange(len(rows)) for rows in each])
    return np.concatenate(each)[np.argsort(turns, kind="stable")]
