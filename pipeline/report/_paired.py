"""How much better one head is than another on the same images."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import ArrayLike

_Z = 1.959963984540054  # of the normal distribution, for 95 % on both sides


@dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """
    The difference between two accuracies on the same images.

    Attributes
    ----------
    value : float
        Of the second less the first.
    interval : tuple of float
        Where it lies with 95 % confidence.
    gained, lost : int
        Images that only the second answers right, and that only the first does.
    images : int
    """

    value: float
    interval: tuple[float, float]
    gained: int
    lost: int
    images: int

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves 0 out."""
        low, high = self.interval
        return low > 0 or high < 0


def paired_difference(first: ArrayLike, second: ArrayLike) -> PairedDifference:
    """
    Compare the answers of two heads to the same images.

    The interval is that of A. Agresti and Y. Min, Simple improved confidence intervals for
    comparing matched proportions, Statistics in Medicine 24, 2005: Wald's, with half an image
    more in each of the four cells. Images that both answer alike say nothing about the
    difference, which is why it is narrower than the intervals of the two accuracies.

    Parameters
    ----------
    first, second : array-like of bool, shape (n,)
        Whether each answers an image right; n must not be 0.

    Returns
    -------
    PairedDifference

    Raises
    ------
    ValueError
        If there is no image, or one has more answers than the other.
    """
    before, after = np.asarray(first, bool), np.asarray(second, bool)
    if before.shape != after.shape or before.ndim != 1 or not len(before):
        raise ValueError(
            f"expected answers to the same images, found {before.shape} and {after.shape}"
        )
    images = len(before)
    gained, lost = int((after & ~before).sum()), int((before & ~after).sum())
    more, fewer, total = gained + 0.5, lost + 0.5, images + 2
    middle = (more - fewer) / total
    half = _Z * sqrt(more + fewer - (more - fewer) ** 2 / total) / total
    return PairedDifference(
        value=(gained - lost) / images,
        interval=(max(-1.0, middle - half), min(1.0, middle + half)),
        gained=gained,
        lost=lost,
        images=images,
    )
