"""Codes of images that are read, decoded and computed at the same time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing

import numpy as np
from numpy.typing import NDArray

from pipeline import backbones, images

BatchCodes = Mapping[str, NDArray[np.float32]]


def computed(
    stream: Iterable[images.Loaded], *, network: Callable[[], backbones.Computes]
) -> Iterator[tuple[images.Loaded, BatchCodes | None, bool]]:
    """
    Compute the codes of images as they are loaded.

    Parameters
    ----------
    stream : iterable of Loaded
        From `pipeline.images.stream`.
    network : callable
        As for `pipeline.backbones.compute`.

    Yields
    ------
    loaded : Loaded
        In the order in which they came; of several views, once all of them are computed.
    codes : mapping of str to float32 array, or None
        For each layer, of shape (...); of several views (views, ...).
    ends : bool
        Whether a batch of the network ends with this image.
    """
    pairs = (pair for loaded in stream for pair in _views_of(loaded))
    views: list[BatchCodes] = []
    with closing(backbones.compute(pairs, network=network)) as results:
        for (loaded, last), codes, ends in results:
            if codes is None or loaded.pixels is None or loaded.pixels.ndim == 3:
                yield loaded, codes, ends
                continue
            views.append(codes)
            if last:
                joined = {name: np.stack([view[name] for view in views]) for name in codes}
                yield loaded, joined, ends
                views = []


def _views_of(
    loaded: images.Loaded,
) -> Iterator[tuple[tuple[images.Loaded, bool], NDArray[np.uint8] | None]]:
    """Yield the views of one image, and with each whether it is the last."""
    pixels = loaded.pixels
    if pixels is None or pixels.ndim == 3:
        yield (loaded, True), pixels
        return
    for number, view in enumerate(pixels, start=1):
        yield (loaded, number == len(pixels)), view
