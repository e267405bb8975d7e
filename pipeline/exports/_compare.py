"""A file against the head that it was made of."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.exports._format import Run, Tolerance

_SECONDS = 2.0  # the longest that the time of one image is taken
_ROUNDS = 30


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """
    How far a file is from the head.

    Attributes
    ----------
    max_difference : float
        The largest between two probabilities.
    top1_agreement : float
        The share of images with the same best class.
    """

    max_difference: float
    top1_agreement: float

    def within(self, allowed: Tolerance) -> bool:
        """Whether it is close enough; NaN never is."""
        near = self.max_difference <= allowed.max_difference
        return near and self.top1_agreement >= allowed.top1_agreement


def compare(found: NDArray[np.floating], expected: NDArray[np.floating]) -> Agreement:
    """
    Compare probabilities.

    Parameters
    ----------
    found, expected : arrays of shape (n, classes)

    Returns
    -------
    Agreement
    """
    if found.shape != expected.shape:
        return Agreement(max_difference=float("nan"), top1_agreement=0.0)
    same = found.argmax(axis=1) == expected.argmax(axis=1)
    return Agreement(
        max_difference=float(np.abs(found - expected).max()), top1_agreement=float(same.mean())
    )


def latency(run: Run, one: NDArray[Any]) -> float:
    """Return the milliseconds that a batch takes: the median of some rounds after the first."""
    run(one)
    taken: list[float] = []
    while len(taken) < _ROUNDS and sum(taken) < _SECONDS:
        started = time.perf_counter()
        run(one)
        taken.append(time.perf_counter() - started)
    return 1000 * median(taken)
