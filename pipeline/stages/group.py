"""Images of a store in groups of like codes, with a contact sheet of each."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from pipeline import store
from pipeline._version import __version__
from pipeline.common.errors import StoreError, counted
from pipeline.common.files import check_place, command_line, make_folder, write_durably, write_json
from pipeline.common.listener import SILENT, Listener
from pipeline.flows import places
from pipeline.flows.group_page import classes_of, notes_of, page_of
from pipeline.flows.group_table import (
    ABOUT,
    FILE,
    check_table,
    names_of,
    naming_commands,
    write_table,
)
from pipeline.flows.grouping import Groups, check_number, grouped
from pipeline.flows.layers import choose_parts, named

_PAGE = "groups.html"


@dataclass(frozen=True, kw_only=True)
class Group:
    """
    A group.

    Attributes
    ----------
    name : str
        ``group-01`` is the largest.
    size : int
    typical : str
        The image nearest to its centre.
    classes : dict of str to int
        How many of its images have which label, the most frequent first.
    """

    name: str
    size: int
    typical: str
    classes: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class Grouping:
    """
    What `group` found.

    Attributes
    ----------
    store, out : str
        What was looked at, and where the result is.
    page, csv : str
        The page with the photos, and the table with the group of each image.
    images : int
        With codes.
    labelled : int
        Of these, how many have a label.
    groups : tuple of Group
        The largest first.
    silhouettes : dict of int to float
        Of each number of groups that was tried: how much nearer images are to their own group than
        to the next one, at most 1.
    notes : tuple of str
        What was cut short or is not there.
    """

    store: str
    out: str
    page: str
    csv: str
    images: int
    labelled: int
    groups: tuple[Group, ...]
    silhouettes: dict[int, float]
    notes: tuple[str, ...]


def group(
    store_path: str | Path,
    *,
    groups: int | None = None,
    layer: str | Sequence[str] | None = None,
    out: str | Path | None = None,
    seed: int = 0,
    listener: Listener = SILENT,
) -> Grouping:
    """
    Put images into groups of like codes, whether they have labels or not.

    Writes ``groups.html``, a contact sheet of each group; ``groups.csv`` with the columns ``path``,
    ``label`` (the group) and ``distance`` (from its centre: 0 to 2), which `relabel` and `extract`
    take; and ``groups.json``. Groups are those of k-means on 32 principal components of the codes'
    directions.

    Parameters
    ----------
    store_path : str or Path
        A store or a packed file.
    groups : int, optional
        How many; by default the number with the best silhouette, of at most 30.
    layer : str or sequence of str, optional
        Which codes; by default the first layer.
    out : str or Path, optional
        The folder of the result; by default ``artifacts/reports/<store>-groups``.
    seed : int, default 0
        Of the first centres.
    listener : Listener, optional
        Hears sentences for the user, and how many images are done.

    Returns
    -------
    Grouping

    Raises
    ------
    StoreError
        If the store is unfinished, damaged, lacks a layer, or has fewer images than groups.
    OutputError
        If the result cannot be written, or somebody has changed the table that it would replace.

    Examples
    --------
    >>> import pipeline
    >>> found = pipeline.group("artifacts/features/photos", groups=3)
    >>> sum(each.size for each in found.groups) == found.images
    True
    """
    if not isinstance(store_path, str | Path):
        raise StoreError("expected one store, found several; group each by itself")
    opened = store.open_store(Path(store_path))
    check_number(opened, groups)
    parts = choose_parts(opened, layer, None)
    folder = places.groups_of(opened) if out is None else Path(out)
    make_folder(folder)
    check_place(folder / _PAGE)
    check_table(folder)
    listener.tell(f"grouping {counted(int(opened.usable.sum()), 'image')} of {opened.location}")
    found = grouped(opened, parts, number=groups, seed=seed, listener=listener)
    facts = {
        "command": command_line(["pipeline", "group", str(store_path)]),
        "codes": named(parts),
        "number of groups": "as asked" if groups else _chosen(found),
        "version": __version__,
    }
    shown = page_of(
        opened,
        found,
        notes=notes_of(opened, found),
        commands=naming_commands(store_path, folder, opened),
        facts=facts,
    )
    result = Grouping(
        store=str(store_path),
        out=str(folder),
        page=str(folder / _PAGE),
        csv=str(folder / FILE),
        images=len(found.rows),
        labelled=int((opened.labels[found.rows] >= 0).sum()),
        groups=_groups(opened, found),
        silhouettes=found.tried,
        notes=shown.notes,
    )
    (folder / FILE).unlink(missing_ok=True)  # it is ours; what follows may be cut short
    digest = write_table(folder, opened, found)
    write_json(folder / ABOUT, asdict(result) | {"sha256": digest})
    write_durably(folder / _PAGE, shown.html().encode())
    return result


def _groups(opened: store.Store, found: Groups) -> tuple[Group, ...]:
    """Say of each group what it is."""
    first = np.array([found.members(number)[0] for number in range(len(found.sizes))])
    return tuple(
        Group(
            name=name,
            size=size,
            typical=os.fsdecode(path) or f"row {row}",
            classes=classes_of(opened, found, number),
        )
        for number, (name, size, row, path) in enumerate(
            zip(names_of(found), found.sizes, first, opened.paths(first), strict=True)
        )
    )


def _chosen(found: Groups) -> str:
    """Say how the number of groups was chosen."""
    if not found.tried:
        return "one: there are too few images to tell several"
    tried = ", ".join(f"{number}: {score:.3f}" for number, score in found.tried.items())
    return f"by its silhouette ({tried})"
