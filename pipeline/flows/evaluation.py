"""A head scored on the rows of a split, with what must be known before the scores are trusted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline import heads, store
from pipeline.common.choices import Split
from pipeline.common.errors import HeadError
from pipeline.flows.influence import group_warning, held_out_note, these, warnings_of
from pipeline.flows.layers import left_out_of
from pipeline.flows.scoring import align, check_space, decisions_of, score
from pipeline.report import Report, ScoredRows


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """
    What a head says of the rows of a split.

    Attributes
    ----------
    saved : SavedHead
    opened : Store
    split : Split
    rows : int64 array of shape (n,)
        Of the store.
    views : int
        Over how many views of each image the scores were averaged.
    report : Report
    scored : ScoredRows
    notes : tuple of str
        What must be known before the scores are trusted.
    held_out : bool
        Whether the scores are those kept from when the images were held out.
    """

    saved: heads.SavedHead
    opened: store.Store
    split: Split
    rows: NDArray[np.int64]
    views: int
    report: Report
    scored: ScoredRows
    notes: tuple[str, ...]
    held_out: bool

    @property
    def title(self) -> str:
        """What was scored on what."""
        name = self.saved.directory.name
        return f"{name} on {self.split.value} of {self.opened.location.name}"


def scoring_of(
    saved: heads.SavedHead, opened: store.Store, split: Split, *, views: bool
) -> Scoring:
    """
    Score a head on a split of a store.

    Raises
    ------
    HeadError
        If the split has no labelled images.
    SpaceMismatch
        If the head was fitted on codes of another space.
    """
    check_space(saved, opened)
    if views and opened.views == 1:
        raise HeadError(
            f"expected a store with several views of each image, found one view in "
            f"{opened.location}; drop --views, or extract with --views 4 into another store"
        )
    rows = _rows(opened, split)
    hashes = opened.hashes(rows)
    kept = None if hashes is None or views else saved.card.scores_of(hashes)
    of = these(len(rows))
    if kept is None:
        notes = warnings_of(saved.card, hashes, of=of)
    else:
        notes = [held_out_note(saved.card, len(rows))]
    grouped = group_warning(saved.card, opened, rows, of=of, held_out=kept is not None)
    notes += [] if grouped is None else [grouped]
    notes += left_out_of(opened)
    classes, truth, unknown = align(saved.card.classes, opened, rows)
    decisions = decisions_of(saved, opened, rows, kept, views=views)
    result, scored = score(saved, decisions, truth, classes=classes)
    return Scoring(
        saved=saved,
        opened=opened,
        split=split,
        rows=rows,
        views=opened.views if views else 1,
        report=result,
        scored=scored,
        notes=(*notes, *unknown),
        held_out=kept is not None,
    )


def _rows(opened: store.Store, split: Split) -> NDArray[np.int64]:
    """Return which rows are scored."""
    rows = store.rows_of(opened, split)
    if not len(rows):
        counts = {other.value: len(store.rows_of(opened, other)) for other in Split}
        there = ", ".join(f"{name} {count}" for name, count in counts.items() if count)
        raise HeadError(
            f"expected labelled images in split '{split.value}' of {opened.location}, found "
            f"{there or 'none at all'}; choose one of these with --split, or extract with "
            f"--{split.value} 0.2 (where the source has splits of its own: with images in that one)"
        )
    return rows
