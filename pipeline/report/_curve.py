"""Accuracies by number of images become a reading: bias, variance, and what would help."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.report._power_law import Desired, reach

# What counts as a gain: half a point at least, and more than chance makes of so many images.
_LEAST_GAIN = 0.005
# So few wrong images say nothing of why.
_FEW_WRONG = 3


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """
    Heads that learned from so many images.

    Attributes
    ----------
    images_per_class : int
        At the most; a class that has fewer gives all.
    images : int
        In all.
    seeds : int
        Heads that the means are over.
    train_accuracy, val_accuracy : float
        Means, on the images learned from and on those of the validation split.
    val_deviation : float or None
        Over the seeds; None for a single one.
    """

    images_per_class: int
    images: int
    seeds: int
    train_accuracy: float
    val_accuracy: float
    val_deviation: float | None


@dataclass(frozen=True, kw_only=True)
class CurveReading:
    """
    What a learning curve says.

    Attributes
    ----------
    train_error, val_error : float
        With all images.
    gain_per_doubling : float
        By which validation accuracy rose with the last doubling of the images.
    more_images_would_help : bool
    verdict : str
        ``"bias"`` where most of the validation error is there in training too, ``"variance"``
        where it is not, ``"none"`` where hardly an image is wrong.
    sentence : str
        The same in words.
    desired : Desired or None
        What it takes to reach an accuracy, where one was named.
    """

    train_error: float
    val_error: float
    gain_per_doubling: float
    more_images_would_help: bool
    verdict: str
    sentence: str
    desired: Desired | None = None


def read_curve(
    points: Sequence[CurvePoint], *, val_images: int, desired: float | None = None
) -> CurveReading:
    """
    Read a learning curve as A. Ng does (Machine Learning Yearning, 2018, chapters 20 to 31).

    The error on training images is taken for bias, what validation images add to it for variance.
    The gain of a doubling is the slope of validation accuracy over the logarithm of the number of
    images, from the last point with at most half of all images.

    Parameters
    ----------
    points : sequence of CurvePoint
        Few images first, all images last.
    val_images : int
        How many images were validated on.
    desired : float, optional
        An accuracy above 0 and below 1 that is wanted.

    Returns
    -------
    CurveReading
    """
    last = points[-1]
    halves = [point for point in points if 2 * point.images <= last.images]
    before = halves[-1] if halves else points[0]
    doublings = math.log2(last.images / before.images) if last.images > before.images else 1.0
    gain = (last.val_accuracy - before.val_accuracy) / doublings
    # Both points were scored on the same images, so that chance is less than twice that of one.
    chance = math.sqrt(last.val_accuracy * (1 - last.val_accuracy) / val_images) / 2
    helps = gain > max(_LEAST_GAIN, chance)
    train_error, val_error = 1 - last.train_accuracy, 1 - last.val_accuracy
    if val_error * val_images < _FEW_WRONG:
        verdict = "none"
    else:
        verdict = "bias" if train_error > val_error - train_error else "variance"
    sentence = _sentence(verdict, helps, gain)
    aim = None if desired is None else reach(points, desired, val_images=val_images)
    return CurveReading(
        train_error=train_error,
        val_error=val_error,
        gain_per_doubling=gain,
        more_images_would_help=helps,
        verdict=verdict,
        sentence=sentence if aim is None else f"{sentence}; {aim.sentence}",
        desired=aim,
    )


def _sentence(verdict: str, helps: bool, gain: float) -> str:
    rises = f"the last doubling of the images brought {100 * gain:+.1f} points"
    if verdict == "none":
        fit = "hardly an image of the validation split is wrong, too few to say why"
    elif verdict == "bias":
        fit = (
            "mostly bias: the head does not fit its own training images; try another layer or "
            "backbone, an mlp, or a larger C"
        )
    else:
        fit = "mostly variance: the head fits its training images much better than others"
    images = "more images would help" if helps else "more images of this kind would help little"
    return f"{fit}; {rises}: {images}"
