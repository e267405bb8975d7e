"""Whether what a head's file says is what a head can say."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.common.errors import HeadDamaged
from pipeline.heads._head import Head

_SAMPLE_ROWS = 4


def finite(plain: Any) -> bool:
    """Whether there is no NaN and no infinity, which Python's JSON reads and nobody writes."""
    if isinstance(plain, Mapping):
        return all(map(finite, plain.values()))
    if isinstance(plain, list):
        return all(map(finite, plain))
    return not isinstance(plain, float) or math.isfinite(plain)


def history_of(plain: Any) -> dict[str, list[float]] | None:
    """Take curves only as lists of numbers, one for each epoch."""
    if plain is None:
        return None
    for name, values in plain.items():
        if not all(_is_number(value) for value in values):
            raise ValueError(f"the history of {name} has values that are no numbers")
    if len({len(values) for values in plain.values()}) > 1:
        raise ValueError("histories of different length")
    return {str(name): list(values) for name, values in plain.items()}


def validation_of(plain: Any) -> dict[str, Any] | None:
    """Take the score of held-out images only as it is written."""
    if plain is None:
        return None
    known = _is_number(plain["accuracy"]) and isinstance(plain["how"], str)
    if not known or not isinstance(plain["images"], int):
        raise ValueError("a validation that is none")
    return dict(plain)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def calibration_of(plain: Any) -> dict[str, Any] | None:
    """Take a calibration only with a slope that keeps the order of the classes."""
    if plain is None:
        return None
    slope = plain["slope"]
    if not isinstance(slope, float) or not 0 < slope < math.inf:
        raise ValueError(f"expected a slope above 0, found {slope!r}")
    return dict(plain)


def check_same_head(head: Head, again: Head) -> None:
    """Raise HeadDamaged unless a head that was read back has the same numbers and decides alike."""
    _compare_arrays(head.arrays(), again.arrays())
    codes = np.random.default_rng(0).random((_SAMPLE_ROWS, head.n_features_in_), dtype=np.float32)
    if not np.array_equal(head.decision(codes), again.decision(codes)):
        raise differs()


def _compare_arrays(mine: Mapping[str, NDArray[Any]], theirs: Mapping[str, NDArray[Any]]) -> None:
    """Raise HeadDamaged unless both have the same bytes."""
    same = mine.keys() == theirs.keys() and all(
        mine[name].dtype == theirs[name].dtype and mine[name].tobytes() == theirs[name].tobytes()
        for name in mine
    )
    if not same:
        raise differs()


def differs() -> HeadDamaged:
    return HeadDamaged(
        "the head read back differs from the one written; check the disk and save again"
    )
