"""How certain answers are, and how often they are right."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

BINS = 15


def accuracy_by_share(
    right: NDArray[np.bool_], order: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """
    Return the accuracy on the images that are answered, where the least certain are refused.

    Parameters
    ----------
    right : bool array of shape (n,)
    order : float array of shape (n,)
        How certain the answers are; of equal ones all are taken for as often right as these are.

    Returns
    -------
    shares : float64 array of shape (n,)
        Of the images that are answered: 1 / n, 2 / n, ..., 1.
    accuracies : float64 array of shape (n,)
    """
    places = np.argsort(-order, kind="stable")
    _, ties, counts = np.unique(-order[places], return_inverse=True, return_counts=True)
    share_right = np.bincount(ties, weights=right[places]) / counts
    answered = np.arange(1, len(right) + 1)
    return answered / len(right), np.cumsum(share_right[ties]) / answered


def calibration_error(y_true: ArrayLike, probabilities: ArrayLike) -> float:
    """
    Return the expected calibration error.

    Images are sorted into 15 bins of equal width by their highest probability; in each, that
    probability and the accuracy are averaged, and their distances are averaged over all images
    (M. P. Naeini, G. F. Cooper and M. Hauskrecht, Obtaining Well Calibrated Probabilities Using
    Bayesian Binning, 2015; 15 bins as in C. Guo et al., On Calibration of Modern Neural Networks,
    2017).

    Parameters
    ----------
    y_true : array-like of int, shape (n,)
    probabilities : array-like of shape (n, k)

    Returns
    -------
    float
        From 0 to 1. Of few images it is above 0 by chance alone.
    """
    true = np.asarray(y_true)
    return float(np.abs(gaps(true, np.asarray(probabilities))).sum() / len(true))


def gaps(true: NDArray[Any], probabilities: NDArray[Any]) -> NDArray[np.float64]:
    """Sum up in each bin what the best probability lacks to being right."""
    sure, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == true
    return np.bincount(bins_of(sure), weights=right - sure, minlength=BINS).astype(np.float64)


def bins_of(sure: NDArray[Any]) -> NDArray[np.int64]:
    """Say in which of 15 bins of equal width the best probabilities of images are."""
    return np.minimum((sure * BINS).astype(np.int64), BINS - 1)
