"""Which value of C is tried next, and how much a class counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.heads._fits import (
    F64,
    Tried,
)


def class_weights(
    asked: Mapping[Any, float] | str | None, y: NDArray[np.int64], classes: NDArray[Any]
) -> dict[int, float] | None:
    """
    Return what an image of each class counts, by its number.

    ``"balanced"`` is scikit-learn's: images / (classes x images of the class).
    """
    from sklearn.utils import compute_class_weight

    if asked is None:
        return None
    if isinstance(asked, Mapping):
        return {number: float(asked.get(name, 1)) for number, name in enumerate(classes.tolist())}
    numbers = np.arange(len(classes))
    return dict(enumerate(compute_class_weight(asked, classes=numbers, y=y).tolist()))


def own_class(scores: F64, y: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Say which scores (m, k) are those of a row's own class."""
    return np.asarray(y[:, None] == np.arange(scores.shape[1]))


def next_places(best: int, tried: Mapping[int, Tried], count: int, *, two: bool) -> list[int]:
    """Return the places beside the best that have not been tried; if asked, two where there are."""

    def untried(*places: int) -> list[int]:
        return [place for place in places if 0 <= place < count and place not in tried]

    beside = untried(best - 1, best + 1)
    if two and len(beside) == 1:
        return beside + untried(2 * beside[0] - best)
    return beside
