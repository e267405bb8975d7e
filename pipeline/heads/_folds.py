"""Which rows are held out to choose settings and to calibrate."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from pipeline.heads._codes import Rows
from pipeline.heads._fits import Trials

FOLDS = 3


def held_out_rows(
    train: Rows,
    val: Rows | None,
    *,
    seed: int,
    folds: int = FOLDS,
    groups: NDArray[np.generic] | None = None,
) -> Trials | None:
    """
    Hold out the validation rows, or without any each training row once.

    Parameters
    ----------
    train, val : Rows
    seed : int
        Of the folds.
    folds : int
        How many; fewer where a class has fewer images or groups.
    groups : array of shape (n,), optional
        Training rows of one group are in one fold.

    Returns
    -------
    Trials or None
        Of training and validation rows, in this order; None where a class is in one place only.
    """
    if val is not None:
        return Trials(np.repeat([-1, 0], [len(train), len(val)]), "validation images")
    smallest = int(np.bincount(train.y).min())
    for count in range(min(folds, smallest), 1, -1):
        held_out = _split(train.y, count, seed, groups)
        if held_out is not None:
            together = "" if groups is None else ", groups kept together"
            return Trials(held_out, f"{count}-fold cross-validation{together}")
    return None


def _split(
    y: NDArray[np.int64], count: int, seed: int, groups: NDArray[np.generic] | None
) -> NDArray[np.int64] | None:
    """Number the fold of each row; None where the others of a fold lack a class."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    if groups is not None and len(np.unique(groups)) < count:
        return None
    kind = StratifiedKFold if groups is None else StratifiedGroupKFold
    splits = kind(count, shuffle=True, random_state=seed)
    held_out = np.full(len(y), -1)
    with warnings.catch_warnings():  # of classes with fewer groups than folds
        warnings.simplefilter("ignore")
        for fold, (_, rows) in enumerate(splits.split(np.zeros((len(y), 1)), y, groups)):
            held_out[rows] = fold
    classes = np.unique(y)
    learned = [np.isin(classes, y[held_out != fold]).all() for fold in range(count)]
    held = np.bincount(held_out, minlength=count) > 0
    return held_out if all(learned) and held.all() else None
