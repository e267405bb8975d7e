"""From scores to probabilities that mean what they say."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

# Exponents of slopes: of the least, which makes of the distance between the best and the worst
# score nearly nothing, and of the greatest, for which that of the best two is all that counts.
_SLOPES = (-3.0, 3.0)
# Scores that the one slope is learned from: of 1,000 classes those of 4,000 images.
SCORES = 1 << 22
# Scores come out of sums in float32; nearer to each other than this, they are equal.
_ROUNDING = 4 * float(np.finfo(np.float32).eps)


class HeldOut(NamedTuple):
    """
    What a head said of rows while they were held out, before it was fitted on them as well.

    Attributes
    ----------
    rows : int64 array of shape (m,)
        Of training and validation rows, the first counted first.
    scores : float64 array of shape (m, n_classes)
        As `Head.decision` gives them.
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float64]


class HeldOutScores:
    """
    The scores of enough held-out rows for `calibrate`, taken from all over.

    One number is learned from them: a few thousand rows do, and with many classes the scores of
    all would take gigabytes.

    Parameters
    ----------
    rows : int64 array
        The held-out rows.
    total, classes : int
        How many rows there are in all, held out or not, and how many classes.

    Attributes
    ----------
    rows : int64 array of shape (m,)
        Those that are kept: all, as long as that is no more than `SCORES` numbers.
    scores : float64 array of shape (m, classes)
    """

    def __init__(self, rows: NDArray[np.int64], *, total: int, classes: int) -> None:
        count = min(len(rows), max(1, SCORES // classes))
        self.rows = rows[np.arange(count) * len(rows) // max(1, count)]
        self.scores = np.zeros((count, classes))
        self._place = np.full(total, -1)
        self._place[self.rows] = np.arange(count)

    def has(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Say which of some rows are kept."""
        return np.asarray(self._place[rows] >= 0)

    def put(self, rows: NDArray[np.int64], scores: NDArray[np.float64]) -> None:
        """Keep the scores of those of some rows that are to be kept."""
        kept = self.has(rows)
        self.scores[self._place[rows[kept]]] = scores[kept]


def calibrate(scores: NDArray[np.float64], y: NDArray[np.int64], *, how: str) -> dict[str, Any]:
    """
    Find the slope for which ``softmax(slope * scores)`` explains the labels best.

    One number for all classes: the order of the classes, and with it the accuracy, stays as it
    is. For logits this is temperature scaling (C. Guo et al., On Calibration of Modern Neural
    Networks, 2017), for the margins of two classes the sigmoid of J. Platt (Probabilistic Outputs
    for Support Vector Machines, 1999) without offset, whose smoothed targets are taken over: they
    keep the slope finite where no image is wrong.

    Where there is nothing to learn, the slope is so small that every class gets about 1 / k: where
    the scores of all classes are equal up to rounding, or no more images are right than guessing
    gets right.

    Parameters
    ----------
    scores : float64 array of shape (n, k)
        Of images that the head has not been trained on.
    y : int64 array of shape (n,)
        Their labels.
    how : str
        Which images they are.

    Returns
    -------
    dict
        ``slope``, ``loss``, ``images`` and ``how``; loss is the mean log loss of the
        probabilities on these images, which is comparable between kinds of heads.
    """
    slope = _slope(scores, y)
    return {"slope": slope, "loss": _log_loss(slope, scores, y), "images": len(y), "how": how}


def judge(logits: NDArray[np.float64], y: NDArray[np.int64]) -> dict[str, float]:
    """
    Return accuracy, and loss after calibration.

    Descent makes a network ever surer of itself, which costs loss although its answers get better;
    the head that is saved is calibrated, and so is what is compared between epochs.

    Parameters
    ----------
    logits : float64 array of shape (n, k)
    y : int64 array of shape (n,)

    Returns
    -------
    dict of str to float
        ``val_loss``, NaN where a logit is no number, and ``val_accuracy``.
    """
    if not np.isfinite(logits).all():
        return {"val_loss": float("nan"), "val_accuracy": 0.0}
    accuracy = float((logits.argmax(axis=1) == y).mean())
    return {"val_loss": calibrate(logits, y, how="")["loss"], "val_accuracy": accuracy}


def _slope(scores: NDArray[np.float64], y: NDArray[np.int64]) -> float:
    from scipy.optimize import minimize_scalar

    n, k = scores.shape
    ordered = np.sort(scores, axis=1)
    best, second, worst = ordered[:, -1], ordered[:, -2], ordered[:, 0]
    flat = best - worst <= _ROUNDING * np.maximum(np.abs(best), np.abs(worst))
    if flat.all() or (scores.argmax(axis=1) == y).sum() <= n / k:
        return float(10.0 ** _SLOPES[0] / max(1.0, (best - second).max()))
    spread = float((best - worst).mean())
    apart = max(float((best - second).mean()), _ROUNDING * spread)
    truth = (n + 1) / (n + 2)
    targets = np.full((n, k), (1 - truth) / (k - 1))
    targets[np.arange(n), y] = truth
    centred = (scores - ordered[:, -1:]) / spread

    def loss(exponent: float) -> float:
        logits = 10.0**exponent * centred
        return float((np.logaddexp.reduce(logits, axis=1) - (targets * logits).sum(axis=1)).sum())

    bounds = _SLOPES[0], _SLOPES[1] + math.log10(spread / apart)
    exponent = minimize_scalar(loss, bounds=bounds, method="bounded").x
    return float(10.0**exponent / spread)


def _log_loss(slope: float, scores: NDArray[np.float64], y: NDArray[np.int64]) -> float:
    logits = slope * (scores - scores.max(axis=1, keepdims=True))
    own = logits[np.arange(len(y)), y]
    return float((np.logaddexp.reduce(logits, axis=1) - own).mean())
