"""Which rows are held out to choose settings and to calibrate."""

from __future__ import annotations

import numpy as np

from pipeline.heads._codes import Rows
from pipeline.heads._fits import Trials

FOLDS = 3


def held_out_rows(train: Rows, val: Rows | None, seed: int) -> Trials | None:
    """
    Hold out the validation rows, or without any each training row once.

    Returns
    -------
    Trials or None
        Of training and validation rows, in this order; None where a class has a single image.
    """
    if val is not None:
        return Trials(np.repeat([-1, 0], [len(train), len(val)]), "validation images")
    from sklearn.model_selection import StratifiedKFold

    smallest = int(np.bincount(train.y).min())
    if smallest < 2:
        return None
    count = min(FOLDS, smallest)
    folds = StratifiedKFold(count, shuffle=True, random_state=seed)
    held_out = np.empty(len(train), np.int64)
    for fold, (_, rows) in enumerate(folds.split(np.zeros((len(train), 1)), train.y)):
        held_out[rows] = fold
    return Trials(held_out, f"{count}-fold cross-validation")
