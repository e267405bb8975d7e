"""Some of the photos that a head's store was made of, where they still are."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline import heads, images, store
from pipeline.choices import Resize, Split
from pipeline.errors import PipelineError
from pipeline.space import Space


class Photos(NamedTuple):
    """Image files and what the decoder makes of them: uint8 (n, size, size, 3)."""

    files: list[bytes]
    pixels: NDArray[np.uint8]


def store_of(saved: heads.SavedHead) -> store.Store | None:
    """Open the store that a head was fitted on; None if it is gone."""
    location = saved.card.trained_on.get("store")
    try:
        return store.open_store(Path(location)) if location else None
    except PipelineError:
        return None


def held_out(opened: store.Store, count: int) -> NDArray[np.int64]:
    """Choose rows from all over a store, of those that were not trained on if these suffice."""
    others = np.flatnonzero(opened.usable & (opened.splits != store.SPLITS[Split.train]))
    enough = len(others) >= count
    return _spread(others if enough else np.flatnonzero(opened.usable), count)


def trained_on(opened: store.Store, count: int) -> NDArray[np.int64]:
    """Choose training rows from all over a store."""
    return _spread(
        np.flatnonzero(opened.usable & (opened.splits == store.SPLITS[Split.train])), count
    )


def _spread(rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Take up to so many, at equal distances."""
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
    """Find files by their paths; where there are none, look into the arrays of the source."""
    if not isinstance(opened, store.FolderStore):  # a packed file does not say where they were
        return
    location = str(opened.table.source.get("location", ""))
    files = [os.path.join(os.fsencode(location), path) for path in paths]
    files = [path for path in files if os.path.isfile(path)]
    with suppress(PipelineError):
        source = images.files(list(map(os.fsdecode, files))) if files else images.find(location)
        wanted = set(files or paths)
        rows = [row for row, path in enumerate(source.paths) if path in wanted]
        with closing(source.contents(rows)) as contents:
            yield from (load for _, load in contents)
