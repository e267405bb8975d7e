"""The 1,797 handwritten digits that come with scikit-learn."""

from __future__ import annotations

import io
import os
from functools import partial

import numpy as np

from ._arrays import ArrayPart, ArrayRows, ArraySource, array_source
from ._source import Given

NAME = "digits"


def read(path: str) -> ArraySource | None:
    """Return the source, or None if `path` is not the word ``digits``, or a file has this name."""
    if path != NAME or os.path.lexists(path):
        return None
    from sklearn.datasets import load_digits

    bundled = load_digits()
    # Ink is counted from 0 to 16 in cells of 4 x 4 (UCI, "Optical Recognition of Handwritten
    # Digits").
    pixels = np.rint(bundled.images * (255 / 16)).astype(np.uint8)
    images = ArrayRows(NAME, pixels.shape, pixels.dtype, 0, partial(io.BytesIO, pixels.tobytes()))
    names = [str(digit) for digit in bundled.target]
    return array_source(
        layout="scikit-learn digits", location=NAME, parts=[ArrayPart(images, names, Given.NONE)]
    )
