"""Which images had a part in a head: those that fitted it, chose its settings, or calibrated it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from pipeline import heads, store
from pipeline.common.choices import HeadKind, OtherKind
from pipeline.common.errors import counted

CALIBRATED = "calibrated its scores"
_CHOSEN: dict[HeadKind | OtherKind, str] = {
    HeadKind.knn: "chose its k",
    HeadKind.mlp: "chose its epoch",
}


def judged_for(kind: HeadKind | OtherKind, *, chosen: bool, calibrated: bool) -> list[str]:
    """
    Say what validation images that a head was not fitted on were used for.

    Parameters
    ----------
    kind : HeadKind or OtherKind
    chosen : bool
        Whether C, k or the epoch were chosen by them.
    calibrated : bool
    """
    said = [_CHOSEN.get(kind, "chose its C")] if chosen else []
    return said + [CALIBRATED] * calibrated


def warnings_of(card: heads.Card, hashes: NDArray[np.uint64] | None, *, of: str) -> list[str]:
    """
    Say in which way a score on images is no test.

    Parameters
    ----------
    card : Card
        Of the head.
    hashes : uint64 array of shape (n,), or None
        Of the images, as `pipeline.store.Store.hashes` has them.
    of : str
        What they are called, such as ``"these 420 images"``.

    Returns
    -------
    list of str
        Empty where the images had no part in the head, or nobody knows.
    """
    if hashes is None or card.seen is None:
        return []
    said = []
    if fitted := int(np.isin(hashes, card.seen).sum()):
        said.append(
            f"warning: {fitted} of {of} took part in fitting the head: what it gets right of "
            "them is no test"
        )
    judged = 0 if card.judged is None else int(np.isin(hashes, card.judged).sum())
    parts = [str(part) for part in card.trained_on.get("judged", ())]
    chose = [part for part in parts if part != CALIBRATED]
    if judged and chose:
        also = f" and {CALIBRATED}" if CALIBRATED in parts else ""
        said.append(
            f"warning: {judged} of {of} {', '.join(chose)}{also}: what the head gets right of "
            "them may be a little too much"
        )
    elif judged and parts:
        said.append(
            f"note: {judged} of {of} {CALIBRATED}: what the head gets right of them is a test, how "
            "sure it is of them is none"
        )
    return said


def held_out_note(card: heads.Card, count: int) -> str:
    """Say that the scores are those from before the head was fitted on these images as well."""
    parts = [str(part) for part in card.trained_on.get("held_out_for", ())]
    used = f", and they {' and '.join(parts)}" if parts else ""
    return (
        f"note: {these(count)} took part in fitting in the end; their scores here are from before, "
        f"when they were held out ({card.trained_on.get('held_out', 'validation images')}{used})"
    )


def group_warning(
    card: heads.Card,
    opened: store.Store,
    rows: NDArray[np.int64],
    *,
    of: str,
    held_out: bool = False,
) -> str | None:
    """
    Say so if images of the same groups as these took part in fitting.

    Parameters
    ----------
    card : Card
        Of the head.
    opened : Store
    rows : int64 array of shape (n,)
        Of the images.
    of : str
        What they are called.
    held_out : bool, default False
        Whether what the head said of them is from before it was fitted on them too.

    Returns
    -------
    str or None
        None where there are no such groups, or nobody knows.
    """
    every = np.arange(len(opened.labels))
    groups, hashes = opened.groups(every), opened.hashes(every)
    if groups is None or hashes is None or card.seen is None:
        return None
    fitted = card.fitted_on(hashes)
    if held_out:
        fitted[rows] = False  # when they were scored
    names = {groups[row] for row in np.flatnonzero(fitted)} - {b""}
    count = sum(groups[row] in names and not fitted[row] for row in rows)
    if not count:
        return None
    return (
        f"warning: {count} of {of} are of groups of which other images took part in fitting: "
        "what the head gets right of them is too much"
    )


def these(count: int) -> str:
    """Return ``"these 420 images"``."""
    return f"these {counted(count, 'image')}" if count != 1 else "this 1 image"


def first_bytes(digests: Iterable[bytes]) -> NDArray[np.uint64]:
    """Shorten SHA-256 digests as cards have them."""
    return np.array([int.from_bytes(digest[:8], "big") for digest in digests], np.uint64)
