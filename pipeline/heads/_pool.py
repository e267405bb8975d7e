"""Maps of codes become vectors that a head can take."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.common.choices import Pool
from pipeline.common.errors import HeadError


def pool(codes: NDArray[Any], how: Pool | None = None) -> NDArray[Any]:
    """
    Turn the codes of each image into one vector.

    Parameters
    ----------
    codes : array of shape (n, d) or (n, h, w, c)
        Vectors pass unchanged whatever is asked, for there is nothing left to pool.
    how : Pool, optional
        `avg` or `max` over the h x w places, or `flat` for all h * w * c numbers; by default
        `avg`.

    Returns
    -------
    array of shape (n, d), (n, c) or (n, h * w * c)
        Of the dtype of the codes.

    Raises
    ------
    HeadError
        If the codes are neither vectors nor maps.
    """
    if codes.ndim == 2:
        return codes
    if codes.ndim != 4:
        raise HeadError(
            f"expected codes of shape (n, d) or (n, h, w, c), found {codes.shape}; "
            "choose another --layer"
        )
    if how is Pool.flat:
        return codes.reshape(len(codes), int(np.prod(codes.shape[1:])))
    if how is Pool.max:
        return np.asarray(codes.max(axis=(1, 2)))
    # float16 codes would overflow while being summed up.
    return np.asarray(codes.mean(axis=(1, 2), dtype=np.float32), dtype=codes.dtype)


def width(shape: Sequence[int], how: Pool | None = None) -> int:
    """Return how many numbers `pool` makes of one image's codes of shape (d,) or (h, w, c)."""
    return math.prod(shape) if len(shape) == 1 or how is Pool.flat else shape[-1]
