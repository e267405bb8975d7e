"""The photos that a store was made of, where they still are."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline import heads, images, store
from pipeline.common.choices import Resize, Split
from pipeline.common.errors import PipelineError, SourceError, SourceNotFound, StoreError, counted
from pipeline.common.space import Space
from pipeline.flows.extraction import WORKERS
from pipeline.flows.layers import open_stores

_AT_ONCE = 32  # photos


class Photos(NamedTuple):
    """Image files and what the decoder makes of them: uint8 (n, size, size, 3)."""

    files: list[bytes]
    pixels: NDArray[np.uint8]


def store_of(saved: heads.SavedHead, *, joined: bool = False) -> store.Store | None:
    """Open the store that a head was fitted on, or all of them; None if one is gone."""
    trained_on = saved.card.trained_on
    location, others = trained_on.get("store"), trained_on.get("with", ()) if joined else ()
    try:
        return open_stores(location, others) if location else None
    except PipelineError:
        return None


def held_out(opened: store.Store, count: int) -> NDArray[np.int64]:
    """Choose rows from all over a store, of those that were not trained on if these suffice."""
    others = np.flatnonzero(opened.usable & (opened.splits != store.SPLITS[Split.train]))
    enough = len(others) >= count
    return spread(others if enough else np.flatnonzero(opened.usable), count)


def trained_on(opened: store.Store, count: int) -> NDArray[np.int64]:
    """Choose training rows from all over a store."""
    return spread(
        np.flatnonzero(opened.usable & (opened.splits == store.SPLITS[Split.train])), count
    )


def spread(rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Take up to so many rows, at equal distances."""
    if len(rows) <= count:
        return rows
    return rows[np.linspace(0, len(rows) - 1, count).astype(np.int64)]


def read(
    opened: store.Store | None,
    choose: Callable[[store.Store, int], NDArray[np.int64]],
    count: int,
    space: Space,
) -> Photos | None:
    """
    Read and decode some images of a store.

    Parameters
    ----------
    opened : Store or None
    choose : callable
        `held_out` or `trained_on`.
    count : int
        How many, at the most.
    space : Space
        What says how they become pixels.

    Returns
    -------
    Photos or None
        Without those that are gone or damaged by now; None if no image is left.
    """
    if opened is None:
        return None
    found = list(_decoded(opened, choose(opened, count), space))
    if not found:
        return None
    files, pixels = zip(*found, strict=True)
    return Photos(list(files), np.stack(pixels))


def probe(space: Space) -> Photos:
    """Return the bundled probe images."""
    pixels = images.probe_pixels(size=space.size, resize=Resize(space.resize))
    return Photos(list(images.probe()), pixels)


def _decoded(
    opened: store.Store, rows: NDArray[np.int64], space: Space
) -> Iterator[tuple[bytes, NDArray[np.uint8]]]:
    for load in _contents(opened, opened.paths(rows)):
        with suppress(images.Unreadable, images.Rejected):
            data = load().data
            yield data, images.decode(data, size=space.size, resize=Resize(space.resize))


def _contents(opened: store.Store, paths: Sequence[bytes]) -> Iterator[images.Read]:
    """Find out how to read those images that are still there."""
    if not isinstance(opened, store.FolderStore):  # a packed file does not say where they were
        return
    with suppress(PipelineError):
        source, places = source_of(opened, paths)
        with closing(source.contents(sorted(places.values()))) as contents:
            yield from (load for _, load in contents)


def with_places(opened: store.Store) -> store.FolderStore:
    """
    Return a store that says where its photos are.

    Raises
    ------
    StoreError
        If it does not.
    """
    if not isinstance(opened, store.FolderStore):
        raise StoreError(
            f"expected a store that says where its photos are, found {opened.location}; name the "
            "folder that extract made"
        )
    return opened


def location_of(opened: store.FolderStore) -> str:
    """Return the folder that the paths of a store are relative to."""
    return str(opened.table.source.get("location", ""))


def found_again(
    opened: store.Store, paths: Sequence[bytes]
) -> tuple[images.Source, dict[int, int]] | str:
    """
    Find the photos of a store; where there are none, say why.

    Returns
    -------
    tuple of (Source, dict of int to int), or str
        As `source_of` gives them; or the reason.
    """
    if not isinstance(opened, store.FolderStore):
        return "a packed file does not say where they are"
    with suppress(PipelineError):
        source, places = source_of(opened, paths)
        if places:
            return source, places
    return f"they are gone from {images.printable(os.fsdecode(location_of(opened)))}"


def has_changed(loaded: images.Loaded, kept: int) -> bool:
    """Whether a photo is not the one whose hash, shortened to a number, a store has kept."""
    return loaded.sha256 is not None and int.from_bytes(loaded.sha256[:8], "big") != int(kept)


def source_of(
    opened: store.FolderStore, paths: Sequence[bytes]
) -> tuple[images.Source, dict[int, int]]:
    """
    Find files by their paths; where there are none, look into the arrays of the source.

    Returns
    -------
    Source
    dict of int to int
        Row of the source for each place in `paths` whose image is there.
    """
    location = location_of(opened)
    files = [os.path.join(os.fsencode(location), path) for path in paths]
    there = [place for place, path in enumerate(files) if os.path.isfile(path)]
    if there:
        source: images.Source = images.files([os.fsdecode(files[place]) for place in there])
        return source, {place: row for row, place in enumerate(there)}
    source = images.find(location)
    rows = {path: row for row, path in enumerate(source.paths)}
    return source, {place: rows[path] for place, path in enumerate(paths) if path in rows}


class Originals:
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
        kept = with_places(opened)
        self.space = kept.space
        self._opened, self._rows = opened, rows
        paths = opened.paths(rows)
        try:
            self._source, places = source_of(kept, paths)
        except SourceNotFound:
            places = {}
        missing = [path for row, path in enumerate(paths) if row not in places]
        if missing:
            raise SourceNotFound(
                f"expected the photos of {opened.location} where they were, found that "
                f"{counted(len(missing), 'photo')} of {len(paths)} are gone, such as "
                f"{os.fsdecode(missing[0])}; put them back, or extract again"
            )
        self._places = np.array([places[row] for row in range(len(paths))], np.int64)

    def blocks(
        self,
        wanted: NDArray[np.int64] | None = None,
        *,
        views: images.Views | None = None,
        rng: np.random.Generator | None = None,
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint8]]]:
        """
        Decode every photo once.

        Parameters
        ----------
        wanted : int64 array of shape (n,), optional
            Places in the rows; all by default.
        views : Views, optional
            Of each photo; by default the photo itself.
        rng : Generator, optional
            Puts the photos in random order.

        Yields
        ------
        positions : int64 array of shape (m,)
            Places in `wanted`.
        pixels : uint8 array of shape (m, size, size, 3), or (m, views, size, size, 3)

        Raises
        ------
        SourceError
            If a photo has changed since its codes were computed, or cannot be read.
        """
        wanted = np.arange(len(self._rows)) if wanted is None else wanted
        count = len(wanted)
        order = np.arange(count) if rng is None else rng.permutation(count)
        stream = images.stream(
            self._source,
            self._places[wanted[order]].tolist(),
            size=self.space.size,
            resize=Resize(self.space.resize),
            workers=WORKERS,
            views=views or images.ONE_VIEW,
            policy=images.policy_of(self.space.to_json()),
        )
        with closing(stream):
            for start in range(0, count, _AT_ONCE):
                positions = order[start : start + _AT_ONCE]
                loaded = list(islice(stream, len(positions)))
                self._check(wanted[positions], loaded)
                yield (
                    positions,
                    np.stack([each.pixels for each in loaded if each.pixels is not None]),
                )

    def _check(self, places: NDArray[np.int64], loaded: list[images.Loaded]) -> None:
        kept = self._opened.hashes(self._rows[places])
        for place, each in enumerate(loaded):
            changed = kept is not None and has_changed(each, kept[place])
            reason = each.reason or ("it has changed" if changed else None)
            if reason is not None:
                path = os.fsdecode(self._source.paths[each.row])
                raise SourceError(
                    f"expected the photos of {self._opened.location} as they were, found {path}: "
                    f"{reason}; extract again"
                )
