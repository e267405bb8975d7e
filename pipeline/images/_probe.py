"""The bundled images by whose codes a space is recognised."""

from __future__ import annotations

from importlib import resources

import numpy as np
from numpy.typing import NDArray

from pipeline.common.choices import Resize

from ._decode import decode


def probe() -> tuple[bytes, ...]:
    """
    Return the bundled probe images.

    Returns
    -------
    tuple of bytes
        Eight image files, always the same in the same order: five photos, one of them grey; one
        that is upright only by its EXIF orientation; one with transparency; one of 16 bits.
    """
    folder = resources.files(__package__) / "probe"
    images = [file for file in folder.iterdir() if not file.name.endswith(".md")]
    return tuple(file.read_bytes() for file in sorted(images, key=lambda file: file.name))


def probe_pixels(*, size: int, resize: Resize) -> NDArray[np.uint8]:
    """
    Return the decoded probe images.

    Parameters
    ----------
    size, resize
        As for `decode`.

    Returns
    -------
    ndarray of uint8, shape (8, size, size, 3)
        In the order of `probe`.
    """
    return np.stack([decode(data, size=size, resize=resize) for data in probe()])
