"""Small pictures of the photos of a store, where these still are."""

from __future__ import annotations

import io
from contextlib import closing
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline import images, store
from pipeline.common.choices import Resize
from pipeline.common.errors import counted
from pipeline.flows.extraction import WORKERS
from pipeline.flows.originals import found_again, has_changed, location_of, with_places

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
    found_photos = found_again(first, opened.paths(rows))
    if isinstance(found_photos, str):
        return Thumbnails({}, (f"no photos: {found_photos}",))
    source, places = found_photos
    kept = with_places(first)
    wanted = [place for place in range(len(rows)) if place in places]
    stream = images.stream(
        source,
        [places[place] for place in wanted],
        size=_EDGE,
        resize=Resize(kept.space.resize),
        workers=WORKERS,
        policy=images.policy_of(kept.space.to_json()),
    )
    hashes = opened.hashes(rows)
    found: dict[int, bytes] = {}
    bad = spent = 0
    with closing(stream):
        for place, loaded in zip(wanted, stream, strict=False):
            changed = hashes is not None and has_changed(loaded, hashes[place])
            if loaded.pixels is None or changed:
                bad += 1
                continue
            data = _jpeg(loaded.pixels)
            spent += len(data)
            if spent > most_bytes:
                break
            found[int(rows[place])] = data
    where = images.printable(location_of(kept))
    left = {
        f"are gone from {where}": len(rows) - len(wanted),
        "have changed since their codes were computed, or cannot be read": bad,
        "have no picture here: a page must not grow too large": len(wanted) - bad - len(found),
    }
    notes = [f"{counted(n, 'photo')} of those to be shown {why}" for why, n in left.items() if n]
    return Thumbnails(found, tuple(notes))


def _jpeg(pixels: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=_QUALITY)
    return out.getvalue()
