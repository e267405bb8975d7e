"""An image at a glance: its shape, how bright it is, whether it is of one colour."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pipeline.common.choices import Resize

from ._decode import opened, square
from ._stream import is_nearly_constant

_SIZE = 64  # pixels


class Look(NamedTuple):
    """
    An image at a glance.

    Attributes
    ----------
    aspect : float
        Width by height, upright.
    brightness : float
        Mean of all pixels and channels, 0 to 255.
    nearly_constant : bool
        Whether its pixels are of one colour, but for noise.
    """

    aspect: float
    brightness: float
    nearly_constant: bool


def look(data: bytes) -> Look:
    """
    Look at the bytes of an image file.

    Raises
    ------
    Rejected
        If `decode` would reject them.
    """
    with opened(data, size=_SIZE) as upright:
        aspect = upright.width / max(1, upright.height)
        pixels = np.array(square(upright, _SIZE, Resize.squash))
    return Look(aspect, float(pixels.mean()), is_nearly_constant(pixels))
