"""Small pictures of the photos of a store, where these still are."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from contextlib import closing
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline import images, store
from pipeline.common.choices import Resize
from pipeline.common.errors import PipelineError, counted
from pipeline.flows.extraction import WORKERS
from pipeline.flows.originals import source_of

_EDGE = 96  # pixels
_QUALITY = 70


class Thumbnails(NamedTuple):
    """
    Small pictures of some rows.

    Attributes
    ----------
    images : dict of int to bytes
        JPEG files by row of the store.
    notes : tuple of str
        Why there are none of some rows.
    """

    images: dict[int, bytes]
    notes: tuple[str, ...]


def thumbnails(opened: store.Store, rows: NDArray[np.int64], *, most_bytes: int) -> Thumbnails:
    """
    Read photos again and make them small, as the network saw them.

    Parameters
    ----------
    opened : Store
    rows : int64 array of shape (n,)
        Those that matter most first.
    most_bytes : int
        Of all small pictures; the last rows have none then.

    Returns
    -------
    Thumbnails
        Without photos that are gone, have changed, or cannot be read.
    """
    first = opened.stores[0]
    if not isinstance(first, store.FolderStore):
        return Thumbnails({}, ("no photos: a packed file does not say where they are",))
    paths = opened.paths(rows)
    try:
        source, places = source_of(first, paths)
    except PipelineError:
        source, places = None, {}
    if source is None or not places:
        return Thumbnails({}, (f"no photos: they are gone from {_location(first)}",))
    resize = Resize(first.space.resize) if first.header is not None else Resize.crop
    wanted = [place for place in range(len(rows)) if place in places]
    stream = images.stream(
        source,
        [places[place] for place in wanted],
        size=_EDGE,
        resize=resize,
        workers=WORKERS,
        known=lambda digest: False,
    )
    hashes = opened.hashes(rows)
    found: dict[int, bytes] = {}
    changed = spent = 0
    with closing(stream):
        for place, loaded in zip(wanted, stream, strict=False):
            if loaded.pixels is None or _has_changed(loaded, hashes, place):
                changed += 1
                continue
            data = _jpeg(loaded.pixels)
            spent += len(data)
            if spent > most_bytes:
                break
            found[int(rows[place])] = data
    return Thumbnails(found, tuple(_notes(len(rows) - len(wanted), changed, _location(first))))


def _has_changed(loaded: images.Loaded, hashes: NDArray[np.uint64] | None, place: int) -> bool:
    if loaded.sha256 is None or hashes is None:
        return False
    return int.from_bytes(loaded.sha256[:8], "big") != int(hashes[place])


def _notes(gone: int, changed: int, location: str) -> Sequence[str]:
    notes = []
    if gone:
        notes.append(f"{counted(gone, 'photo')} of those to be shown are gone from {location}")
    if changed:
        notes.append(f"{counted(changed, 'photo')} have changed since their codes were computed")
    return notes


def _location(opened: store.FolderStore) -> str:
    return images.printable(os.fsdecode(str(opened.table.source.get("location", ""))))


def _jpeg(pixels: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=_QUALITY)
    return out.getvalue()
