"""Heads as stages use them: with fine-tuned layers in place, and what goes into these."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline import backbones, heads, images, store
from pipeline.choices import Resize
from pipeline.errors import BackboneError, HeadDamaged, SourceError, StoreError
from pipeline.space import Space
from pipeline.stages._run import WORKERS

_AT_ONCE = 32  # photos


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
    codes : float32 array of shape (m, ...), or (m, views, ...)
    """
    if card.layer != backbones.INPUT:
        yield from opened.blocks(card.layer, rows, views=views)
        return
    photos = Photos(opened, rows)
    for positions, pixels in photos.blocks(views=views_of(photos.space) if views else None):
        yield positions, pixels.astype(np.float32)


def views_of(space: Space) -> images.Views:
    """Return the views that a store has of each image."""
    return images.parse_views(space.views, augment=space.augment or None, seed=space.augment_seed)


class Photos:
    """
    The photos that some rows of a store were computed from, where they still are.

    Parameters
    ----------
    opened : Store
    rows : int64 array of shape (n,)

    Raises
    ------
    StoreError
        If the store does not say where its photos are.
    SourceError
        If some are no longer there.
    """

    def __init__(self, opened: store.Store, rows: NDArray[np.int64]) -> None:
        if not isinstance(opened, store.FolderStore):
            raise StoreError(
                f"expected a store that says where its photos are, found {opened.location}; "
                "name the folder that extract made"
            )
        self.space = opened.space
        self._opened, self._rows = opened, rows
        self._source, self._places = _source(opened, rows)

    def blocks(
        self, *, views: images.Views | None = None, rng: np.random.Generator | None = None
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint8]]]:
        """
        Decode every photo once.

        Parameters
        ----------
        views : Views, optional
            Of each photo; by default the photo itself.
        rng : Generator, optional
            Puts the photos in random order.

        Yields
        ------
        positions : int64 array of shape (m,)
        pixels : uint8 array of shape (m, size, size, 3), or (m, views, size, size, 3)

        Raises
        ------
        SourceError
            If a photo has changed since its codes were computed, or cannot be read.
        """
        count = len(self._rows)
        order = np.arange(count) if rng is None else rng.permutation(count)
        stream = images.stream(
            self._source,
            self._places[order].tolist(),
            size=self.space.size,
            resize=Resize(self.space.resize),
            workers=WORKERS,
            known=lambda digest: False,
            views=views or images.ONE_VIEW,
        )
        with closing(stream):
            for start in range(0, count, _AT_ONCE):
                positions = order[start : start + _AT_ONCE]
                loaded = list(islice(stream, len(positions)))
                self._check(positions, loaded)
                yield (
                    positions,
                    np.stack([each.pixels for each in loaded if each.pixels is not None]),
                )

    def _check(self, positions: NDArray[np.int64], loaded: list[images.Loaded]) -> None:
        kept = self._opened.hashes(self._rows[positions])
        for place, each in enumerate(loaded):
            reason = each.reason
            if each.sha256 is not None and kept is not None:
                now = int.from_bytes(each.sha256[:8], "big")
                reason = reason or ("it has changed" if now != int(kept[place]) else None)
            if reason is not None:
                path = os.fsdecode(self._source.paths[each.row])
                raise SourceError(
                    f"expected the photos of {self._opened.location} as they were, found {path}: "
                    f"{reason}; extract again"
                )


def _source(
    opened: store.FolderStore, rows: NDArray[np.int64]
) -> tuple[images.Source, NDArray[np.int64]]:
    """Find the images of some rows again: as files, or else inside the arrays of a source."""
    location = str(opened.table.source.get("location", ""))
    paths = opened.paths(rows)
    files = [os.path.join(os.fsencode(location), path) for path in paths]
    if files and os.path.lexists(files[0]):
        return images.files([os.fsdecode(path) for path in files]), np.arange(len(rows))
    source = images.find(location)
    places = {path: place for place, path in enumerate(source.paths)}
    missing = [path for path in paths if path not in places]
    if missing:
        raise SourceError(
            f"expected the photos of {opened.location} in {location}, found no "
            f"{os.fsdecode(missing[0])}; put them back, or extract again"
        )
    return source, np.array([places[path] for path in paths], np.int64)
