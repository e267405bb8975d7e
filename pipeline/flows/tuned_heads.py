"""Heads as stages use them: with fine-tuned layers in place, and what goes into these."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline import backbones, heads, images, store
from pipeline.common.errors import BackboneError, HeadDamaged, HeadError
from pipeline.common.space import Space
from pipeline.flows.originals import Originals


def load(path: str | Path) -> heads.SavedHead:
    """
    Load a head, and rebuild the layers that were fine-tuned with it.

    Raises
    ------
    HeadError
        As `pipeline.heads.load`.
    """
    saved = heads.load(Path(path))
    card = saved.card
    if saved.tuned is None:
        return saved
    try:
        if card.space is None or card.tuned_to is None:
            raise BackboneError("expected to know the backbone")
        tail = backbones.rebuild_tail(
            backbones.find(card.space.backbone),
            start=card.layer,
            stop=card.tuned_to,
            size=card.space.size,
            arrays=saved.tuned,
        )
    except BackboneError as error:
        raise HeadDamaged(
            f"the fine-tuned layers of {path} do not fit their backbone ({error}); fine-tune again"
        ) from error
    return replace(saved, above=tail)


def blocks(
    card: heads.Card, opened: store.Store, rows: NDArray[np.int64], *, views: bool
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """
    Read what a head takes of some rows of a store, piece by piece.

    Yields
    ------
    positions : int64 array of shape (m,)
        Places in `rows`.
    codes : float32 array of shape (m, *card.taken), or (m, views, *card.taken)
    """
    if card.layer != backbones.INPUT:
        for positions, codes in opened.together(card.layers, rows, views=views):
            yield positions, card.take(codes)
        return
    originals = Originals(opened, rows)
    for positions, pixels in originals.blocks(views=views_of(originals.space) if views else None):
        yield positions, pixels.astype(np.float32)


def vectors(
    saved: heads.SavedHead, opened: store.Store, rows: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return what the head itself sees of some rows: float32 (n, d)."""
    found = np.empty((len(rows), saved.head.n_features_in_), np.float32)
    for positions, codes in blocks(saved.card, opened, rows, views=False):
        found[positions] = saved.vectors(codes)
    return found


def mean_of_views(values: NDArray[np.float64], images: int) -> NDArray[np.float64]:
    """Average what is known of each view, scores (n, k) or numbers (n,), over those of an image."""
    return np.asarray(values.reshape(images, -1, *values.shape[1:]).mean(axis=1))


def views_of(space: Space) -> images.Views:
    """Return the views that a store has of each image."""
    return images.parse_views(space.views, augment=space.augment or None, seed=space.augment_seed)


def all_views(saved: heads.SavedHead) -> images.Views:
    """
    Return the views of the store that a head was fitted on.

    Raises
    ------
    HeadError
        If there is but one.
    """
    space = saved.card.space
    if space is None or space.views == 1:
        raise HeadError(
            f"expected a head fitted on several views of each image, found {saved.directory}, "
            "fitted on one; drop --views, or fit on a store made with `pipeline extract --views 4`"
        )
    return views_of(space)
