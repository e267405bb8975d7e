"""A manifest of a store's images without those that an audit is sure about."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline import store
from pipeline.common.errors import OutputError, StoreError
from pipeline.common.files import replacing
from pipeline.flows.findings import Finding, Kind, label_of, split_of
from pipeline.flows.originals import location_of, with_places

_WORDS = {
    Kind.leak: "duplicates across splits",
    Kind.duplicate: "duplicates",
    Kind.label: "likely wrong labels",
    Kind.constant: "nearly constant images",
}


def left_out(findings: Sequence[Finding]) -> dict[int, Kind]:
    """
    Choose rows that are better left out.

    Of a pair of which one is left out already, the other stays.

    Returns
    -------
    dict of int to Kind
        Why, by row.
    """
    gone: dict[int, Kind] = {}
    for kind in _WORDS:
        for each in findings:
            if each.kind is kind and each.strict and not any(row in gone for row in each.rows):
                gone[each.rows[0]] = kind
    return gone


def counts_of(gone: dict[int, Kind]) -> dict[str, int]:
    """Say how many rows are left out for each reason."""
    numbers = Counter(gone.values())
    return {words: numbers[kind] for kind, words in _WORDS.items() if numbers[kind]}


def check_fixable(opened: store.Store, path: Path) -> None:
    """
    See that a manifest of a store's photos can be written.

    Raises
    ------
    StoreError
        If the store is not one of image files.
    OutputError
        If the file would not be known as a manifest.
    """
    if path.suffix.lower() != ".csv":
        raise OutputError(f"expected a name that ends in .csv, found {path}; rename it")
    location = location_of(with_places(opened))
    paths = opened.paths(np.flatnonzero(opened.usable))
    if not any(os.path.isfile(os.path.join(os.fsencode(location), path)) for path in paths):
        raise StoreError(
            f"expected image files in {location or 'a folder'}, found none of those of "
            f"{opened.location}; put them back, or leave out --fix"
        )


def write_manifest(path: Path, opened: store.Store, gone: dict[int, Kind]) -> int:
    """
    Write absolute paths, labels, splits, and groups if there are any, as `extract` takes them.

    Parameters
    ----------
    path : Path
    opened : Store
        One that `check_fixable` lets pass.
    gone : dict of int to Kind
        Rows that are left out.

    Returns
    -------
    int
        How many images it names.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    rows = [row for row in np.flatnonzero(opened.usable).tolist() if row not in gone]
    location = os.path.abspath(os.fsencode(location_of(with_places(opened))))
    paths = opened.paths(np.array(rows, np.int64))
    groups = opened.groups(np.array(rows, np.int64))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "label", "split", *(["group"] if groups is not None else [])])
    for place, row in enumerate(rows):
        file = os.fsdecode(os.path.join(location, paths[place]))
        group = [] if groups is None else [os.fsdecode(groups[place])]
        writer.writerow([file, label_of(opened, row), split_of(opened, row), *group])
    with replacing(path) as out:
        out.write(text.getvalue().encode("utf-8", "surrogateescape"))
    return len(rows)
