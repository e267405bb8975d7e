"""What an audit finds: rows of a store, how bad it is, and why they are named."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from pipeline import store
from pipeline.common.choices import Split


class Kind(str, Enum):
    """What can be wrong, in the order in which it is told."""

    leak = "duplicate across splits"
    group = "group across splits"
    label = "likely wrong label"
    duplicate = "duplicate"
    constant = "nearly constant"
    outlier = "outlier"
    small = "small class"
    alike = "classes too alike"
    giveaway = "giveaway"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """
    One thing that is wrong.

    Attributes
    ----------
    kind : Kind
    rows : tuple of int
        Of the store; none where it is about classes.
    number : float
        What the findings of a kind are ranked by: cosine, probability, or a share.
    reason : str
    strict : bool
        Whether it is sure enough to leave a row out without looking.
    """

    kind: Kind
    rows: tuple[int, ...] = ()
    number: float
    reason: str
    strict: bool = False


@dataclass(frozen=True, kw_only=True)
class Named:
    """
    A finding with what the store says of its rows.

    Attributes
    ----------
    kind : str
    paths, labels, splits : tuple of str
        Of each row; where the store has no path, its number; empty where it has no label or split.
    number : float
    reason : str
    """

    kind: str
    paths: tuple[str, ...]
    labels: tuple[str, ...]
    splits: tuple[str, ...]
    number: float
    reason: str


def named(opened: store.Store, findings: Sequence[Finding]) -> tuple[Named, ...]:
    """Say of findings which images they are about."""
    return tuple(_named(opened, each) for each in findings)


def _named(opened: store.Store, finding: Finding) -> Named:
    rows: Any = list(finding.rows)
    return Named(
        kind=finding.kind.value,
        paths=tuple(
            os.fsdecode(path) or f"row {row}"
            for path, row in zip(opened.paths(rows), rows, strict=True)
        ),
        labels=tuple(label_of(opened, row) for row in rows),
        splits=tuple(split_of(opened, row) for row in rows),
        number=round(finding.number, 5),
        reason=finding.reason,
    )


def label_of(opened: store.Store, row: int) -> str:
    """Return the class of a row; empty where it has none."""
    label = int(opened.labels[row])
    return opened.classes[label] if label >= 0 else ""


def split_of(opened: store.Store, row: int) -> str:
    """Return the split of a row; empty where it is in none."""
    number = int(opened.splits[row])
    return next((each.value for each in Split if store.SPLITS[each] == number), "")
