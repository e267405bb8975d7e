"""How many images would reach a desired accuracy, by a power law through a learning curve."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pipeline.report._curve import CurvePoint

_LEAST_POINTS = 4  # one more than the law has numbers
FURTHEST = 10  # times the images that there are: beyond, a law of a few points says nothing
_REFITS = 100
_STEEPEST = 2.0


@dataclass(frozen=True, kw_only=True)
class PowerLaw:
    """
    The error of a head that learned from n of N images: ``a * (n / N) ** -b + c``.

    C. Cortes et al., Learning Curves: Asymptotic Values and Rate of Convergence, 1993.

    Attributes
    ----------
    a, b, c : float
        `c` is the error that stays, however many images there are.
    images : int
        N, all that there were.
    """

    a: float
    b: float
    c: float
    images: int

    def accuracy(self, images: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the accuracy with so many images."""
        return np.asarray(1 - self.c - self.a * (images / self.images) ** -self.b)

    def needed(self, accuracy: float) -> float:
        """Return how many images reach an accuracy; infinity where none do."""
        left = 1 - accuracy - self.c
        if left <= 0 or self.b <= 0:
            return math.inf
        power = math.log(self.a / left) / self.b if self.a > 0 else 0.0
        return self.images * math.exp(power) if power < 500 else math.inf


@dataclass(frozen=True, kw_only=True)
class Desired:
    """
    What a learning curve says of an accuracy that is wanted.

    Attributes
    ----------
    accuracy : float
    images : int or None
        How many training images in all reach it; None where that cannot be said.
    interval : tuple of (int or None, int or None), or None
        In which `images` lies in 80 % of fits to points that differ as chance would have it; None
        at an end that is further than ten times the images that there are.
    law : PowerLaw or None
        None where the points have no such law, or already reach it.
    sentence : str
        The same in words.
    """

    accuracy: float
    images: int | None
    interval: tuple[int | None, int | None] | None
    law: PowerLaw | None
    sentence: str


def reach(points: Sequence[CurvePoint], desired: float, *, val_images: int) -> Desired:
    """
    Say how many images would reach an accuracy.

    Parameters
    ----------
    points : sequence of CurvePoint
        Few images first, all images last.
    desired : float
        Above 0 and below 1.
    val_images : int
        How many images were validated on.

    Returns
    -------
    Desired
    """
    last = points[-1]
    there = [point for point in points if point.val_accuracy >= desired]
    if last.val_accuracy >= desired:
        sentence = f"{desired:g} is reached with {there[0].images:,} images"
        return _desired(desired, sentence, images=there[0].images)
    sizes = np.array([point.images for point in points], np.float64)
    errors = np.array([1 - point.val_accuracy for point in points])
    spread = _spread(points, errors, val_images)
    law = None if len(points) < _LEAST_POINTS else _fit(sizes, errors, spread)
    if law is None:
        sentence = f"how many images would reach {desired:g} cannot be said of these points"
        return _desired(desired, sentence)
    random = np.random.default_rng(0)
    refits = [_fit(sizes, random.normal(errors, spread), spread) for _ in range(_REFITS)]
    needed = [other.needed(desired) for other in refits if other is not None]
    most = FURTHEST * last.images
    low, high = np.quantile(needed, [0.1, 0.9], method="nearest") if needed else (most, math.inf)
    interval = (_rounded(low, most), _rounded(high, most))
    images = _rounded(law.needed(desired), most)
    sentence = _sentence(law, desired, images, interval)
    return _desired(desired, sentence, images=images, interval=interval, law=law)


def _desired(
    accuracy: float,
    sentence: str,
    *,
    images: int | None = None,
    interval: tuple[int | None, int | None] | None = None,
    law: PowerLaw | None = None,
) -> Desired:
    return Desired(accuracy=accuracy, images=images, interval=interval, law=law, sentence=sentence)


def _spread(
    points: Sequence[CurvePoint], errors: NDArray[np.float64], val_images: int
) -> NDArray[np.float64]:
    """Return by how much the errors vary: by the images validated on, and by the seeds."""
    # As if one image more were wrong and one more right: no error is known to be 0.
    share = (errors * val_images + 1) / (val_images + 2)
    seeds = np.array([(point.val_deviation or 0.0) / math.sqrt(point.seeds) for point in points])
    return np.asarray(np.sqrt(share * (1 - share) / val_images + seeds**2))


def _fit(
    sizes: NDArray[np.float64], errors: NDArray[np.float64], spread: NDArray[np.float64]
) -> PowerLaw | None:
    from scipy.optimize import curve_fit

    most = sizes[-1]
    first = max(float(errors[-1]), 1e-3)
    try:
        (a, b, c), _ = curve_fit(
            lambda n, a, b, c: a * (n / most) ** -b + c,
            sizes,
            errors,
            p0=(first / 2, 0.5, first / 2),
            sigma=spread,
            bounds=([0, 0, 0], [1, _STEEPEST, 1]),
        )
    except RuntimeError:  # it did not come to an end
        return None
    return PowerLaw(a=float(a), b=float(b), c=float(c), images=int(most))


def _rounded(images: float, most: int) -> int | None:
    """Round to two digits; nobody knows more."""
    if images > most:
        return None
    return int(float(f"{images:.1e}"))


def _sentence(
    law: PowerLaw, desired: float, images: int | None, interval: tuple[int | None, int | None]
) -> str:
    low, high = interval
    further = f"more than {FURTHEST * law.images:,}"
    between = f"80 % interval {further if low is None else f'{low:,}'} to " + (
        further if high is None else f"{high:,}"
    )
    if images is not None:
        said = f"by a power law {desired:g} would take about {images:,} images, not {law.images:,}"
        return f"{said} ({between})"
    if 1 - law.c <= desired:
        said = (
            f"by a power law accuracy levels off at {1 - law.c:.3f}, below the desired {desired:g}"
        )
    else:
        said = f"by a power law {desired:g} would take {further} images, too far to say"
    return said if low is None else f"{said}, though {low:,} could be enough ({between})"
